//! Clients that would keep it from ending, if it let them.

use std::fs::File;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::fake_systemd::FakeSystemd;
use crate::support::hostile::Hostiles;
use crate::support::service::Service;

/// How many services at a time.
const SERVICES: usize = 20;

/// How long after its window each may take to be gone: twenty of them want to compute at the same moment.
const GRACE: Duration = Duration::from_secs(8);

fn config(systemd: &FakeSystemd, window: &str) -> String {
    File::create(systemd.path("large")).unwrap().set_len(64 << 20).unwrap();
    format!(
        r#"
        workers = 2
        [limits]
        request_timeout = "2h"
        [drain]
        window = "{window}"
        [[route]]
        path = "/never"
        respond = {{ delay = "1h" }}
        [[route]]
        path = "/body"
        respond = {{ body = "the request's body is not read\n" }}
        [[route]]
        path = "/files/{{*file}}"
        files = "{}"
        "#,
        systemd.path("").display()
    )
}

/// Starts services, sets clients on them, tells them all to end, and waits for that.
async fn drain_all(
    window: &str,
    beleaguer: impl AsyncFn(&mut Hostiles),
) -> Vec<(std::process::ExitStatus, Duration, Service)> {
    let mut all = Vec::new();
    for _ in 0..SERVICES {
        let systemd = FakeSystemd::with_http();
        let service = systemd.start(&config(&systemd, window));
        let mut clients = Hostiles::of(systemd.http());
        beleaguer(&mut clients).await;
        all.push((systemd, service, clients));
    }
    let ends: Vec<_> = all
        .into_iter()
        .map(|(systemd, mut service, clients)| {
            let began = Instant::now();
            service.signal(Signal::TERM);
            let wait = thread::spawn(move || {
                let status = service.wait_for_exit();
                let took = began.elapsed();
                drop(systemd);
                (status, took, service)
            });
            (wait, clients)
        })
        .collect();
    // Their clients go on in this task meanwhile.
    tokio::task::spawn_blocking(|| ends.into_iter().map(|(wait, _clients)| wait.join().unwrap()).collect())
        .await
        .unwrap()
}

#[tokio::test]
async fn it_leaves_in_time_whatever_they_do() {
    let ended = drain_all("1s", async |clients| {
        clients.never_reads("/files/large").await.unwrap();
        clients.drips_head().await.unwrap();
        clients.drips_body("/body").await.unwrap();
        clients.stops_in_the_head().await.unwrap();
        clients.stops_in_the_preface().await.unwrap();
        clients.never_answers_http2().await.unwrap();
        clients.asks_http2_for("/never").await.unwrap();
        clients.waits("/never").await.unwrap();
    })
    .await;
    for (status, took, service) in ended {
        assert_eq!(status.code(), Some(1), "{}", service.story());
        assert!(took >= Duration::from_secs(1), "it had its window: {took:?}");
        assert!(took < Duration::from_secs(1) + GRACE, "{took:?} {}", service.story());
        let line = service.wait_for_line(" Drained, but ");
        assert!(line.contains(" 4 requests were cut on /body (1), /files/{*file} (1), /never (2): "), "{line}");
    }
}

/// Those of which no request runs have a second, or so, to make one.
#[tokio::test]
async fn who_asks_for_nothing_does_not_cost_the_window() {
    let ended = drain_all("1h", async |clients| {
        clients.drips_head().await.unwrap();
        clients.stops_in_the_head().await.unwrap();
        clients.stops_in_the_preface().await.unwrap();
        clients.never_answers_http2().await.unwrap();
    })
    .await;
    for (status, took, service) in ended {
        assert_eq!(status.code(), Some(0), "{}", service.story());
        assert!(took < Duration::from_secs(3) + GRACE, "{took:?} {}", service.story());
    }
}
