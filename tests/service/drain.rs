//! From SIGTERM to exit: how long it takes, and with which status it ends.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::CONFIG;
use crate::support::client::{self, Connection};
use crate::support::fake_journald::FakeJournald;
use crate::support::fake_systemd::FakeSystemd;
use crate::support::held::Held;
use crate::support::hostile::Hostiles;
use crate::support::service::Service;

/// How long after its window it may take to be gone. It aims at less than half a second, but this machine may be busy,
/// and what gets stuck stays so for ever.
const GRACE: Duration = Duration::from_secs(8);

/// A window that no test waits for.
fn with_window(window: &str) -> String {
    let slow = "[[route]]\npath = \"/slow\"\nrespond = { body = \"slow\\n\", delay = \"1500ms\" }\n";
    let health = "[[route]]\npath = \"/healthz\"\nhealth = {}\n";
    format!("{}\n{slow}{health}", CONFIG.replace("window = \"1s\"", &format!("window = \"{window}\"")))
}

/// A service of which a client waits for an answer that never comes.
async fn with_request(systemd: &FakeSystemd, config: &str) -> (Service, Hostiles) {
    let service = systemd.start(config);
    let mut clients = Hostiles::of(systemd.http());
    clients.waits("/never").await.unwrap();
    until_running(systemd, &service).await;
    (service, clients)
}

/// Waits until a request runs.
async fn until_running(systemd: &FakeSystemd, service: &Service) {
    // Two workers accept, and either may be late.
    loop {
        let before = service.said().lines().count();
        client::get(systemd.http(), "/hello").await.unwrap();
        service.signal(Signal::USR1);
        let lines = service.wait_for_lines("", before + 1);
        if lines.iter().any(|line| line.contains(", 1 request. Since the start ")) {
            return;
        }
    }
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_cut_at_the_end_of_the_window() {
    let systemd = FakeSystemd::with_http();
    let (mut service, _clients) = with_request(&systemd, CONFIG).await;
    let began = Instant::now();
    service.signal(Signal::TERM);
    assert_eq!(service.wait_for_exit().code(), Some(1));
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(1) + GRACE, "{took:?}");
    let line = service.wait_for_line(" Drained, ");
    assert!(line.contains(" WARN Drained, but 1 request was cut on /never (1): settled in 5"), "{line}");
    service.wait_for_line(" INFO SIGTERM: draining 1 request and ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_finishes_in_the_window_is_answered() {
    let systemd = FakeSystemd::with_http();
    let mut service = systemd.start(&with_window("1min"));
    let address = systemd.http();
    let mut slow = JoinSet::new();
    slow.spawn(async move { client::get(address, "/slow").await });
    until_running(&systemd, &service).await;

    service.signal(Signal::INT);
    service.wait_for("STOPPING=1");

    // From the first moment on. And the drain settles, so that there is an answer.
    let health = client::get(systemd.http(), "/healthz").await.unwrap();
    assert_eq!((health.status.as_u16(), health.text()), (503, "draining\n"));
    assert_eq!(client::get(systemd.http(), "/hello").await.unwrap().text(), "hello\n");
    assert_eq!(slow.join_next().await.unwrap().unwrap().unwrap().text(), "slow\n");
    assert_eq!(service.wait_for_exit().code(), Some(0));
    let line = service.wait_for_line(" Drained: settled in ");
    assert!(line.contains(" INFO ") && line.contains(" finished, none cut, "), "{line}");
}

#[tokio::test]
async fn health_turns_with_the_drain() {
    let systemd = FakeSystemd::with_http();
    let _service = systemd.start(&with_window("1min"));
    let health = client::get(systemd.http(), "/healthz").await.unwrap();
    assert_eq!((health.status.as_u16(), health.text()), (200, "ok\n"));
}

#[tokio::test]
async fn every_further_wish_to_end_is_the_hammer() {
    for (first, second, name) in [
        (Signal::TERM, Signal::TERM, "SIGTERM"),
        (Signal::INT, Signal::INT, "SIGINT"),
        (Signal::TERM, Signal::INT, "SIGINT"),
        (Signal::TERM, Signal::USR2, "SIGUSR2"),
    ] {
        let systemd = FakeSystemd::with_http();
        let (mut service, _clients) = with_request(&systemd, &with_window("1h")).await;
        service.signal(first);
        service.wait_for("STOPPING=1");
        service.signal(second);
        assert_eq!(service.wait_for_exit().code(), Some(1), "{name}");
        service.wait_for_line(&format!(" WARN {name}: the drain is cut short, what still runs is cut"));
        service.wait_for_line(" WARN Drained, but 1 request was cut on /never (1): ");
    }
}

#[tokio::test]
async fn the_hammer_needs_no_drain_before_it() {
    let systemd = FakeSystemd::with_http();
    let (mut service, _clients) = with_request(&systemd, &with_window("1h")).await;
    service.signal(Signal::USR2);
    assert_eq!(service.wait_for_exit().code(), Some(1));

    let mut idle = systemd.start(&with_window("1h"));
    let mut client = Connection::open(systemd.http()).await.unwrap();
    client.get("/hello").await.unwrap();
    idle.signal(Signal::USR2);
    assert_eq!(idle.wait_for_exit().code(), Some(0), "nothing was cut");
}

/// Whether the second one comes early enough to be one with the first is the kernel's to say.
#[tokio::test]
async fn two_at_the_same_moment_are_one_or_two() {
    let systemd = FakeSystemd::with_http();
    for _ in 0..8 {
        let (mut service, _clients) = with_request(&systemd, &with_window("300ms")).await;
        let began = Instant::now();
        service.signal(Signal::TERM);
        service.signal(Signal::TERM);
        assert_eq!(service.wait_for_exit().code(), Some(1));
        assert!(began.elapsed() < Duration::from_millis(300) + GRACE, "{:?}", began.elapsed());
    }
}

/// Until it hears signals, SIGTERM just ends it, which is no failure to systemd either.
#[test]
fn a_signal_while_it_starts_ends_it_in_good_order() {
    let systemd = FakeSystemd::with_http();
    for delay in 0..40 {
        let mut service = systemd.service(CONFIG).spawn();
        std::thread::sleep(Duration::from_micros(delay * 300));
        service.signal(Signal::TERM);
        let status = service.wait_for_exit();
        let killed = std::os::unix::process::ExitStatusExt::signal(&status);
        assert!(status.code() == Some(0) || killed == Some(Signal::TERM.as_raw()), "{status:?} {}", service.story());
    }
}

#[tokio::test]
async fn a_stuck_worker_does_not_hold_up_the_end() {
    let systemd = FakeSystemd::with_http();
    let (mut service, _clients) = with_request(&systemd, &format!("workers = 1\n{CONFIG}")).await;
    let _held = Held::thread(service.pid(), "worker-0");
    let began = Instant::now();
    service.signal(Signal::TERM);
    assert_eq!(service.wait_for_exit().code(), Some(1));
    assert!(began.elapsed() < Duration::from_secs(1) + GRACE, "{:?}", began.elapsed());
    // It can't say which.
    service.wait_for_line(" WARN Drained, but 1 request was cut on (unknown) (1): ");
}

/// And nobody listens to its last words either.
#[tokio::test]
async fn nothing_that_is_stuck_holds_up_the_end() {
    let (systemd, journald) = (FakeSystemd::with_http(), FakeJournald::asleep());
    let launch = systemd.service(CONFIG).journald(&journald).watchdog(Duration::from_millis(4)).slow_to_read();
    let mut service = launch.spawn();
    let mut client = Connection::open(systemd.http()).await.unwrap();
    client.get("/hello").await.unwrap();
    let _held = Held::thread(service.pid(), "worker-0");
    let began = Instant::now();
    service.signal(Signal::TERM);
    service.wait_for_exit();
    assert!(began.elapsed() < Duration::from_secs(1) + GRACE, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_main_thread_that_is_stuck_does_not_hold_up_the_end() {
    let systemd = FakeSystemd::with_http();
    let (mut service, _clients) = with_request(&systemd, CONFIG).await;
    let began = Instant::now();
    service.signal(Signal::TERM);
    service.wait_for_line(" INFO SIGTERM: draining ");
    service.wait_for("STOPPING=1");
    let _held = Held::thread(service.pid(), "outlive");
    assert_eq!(service.wait_for_exit().code(), Some(1));
    assert!(began.elapsed() < Duration::from_secs(1) + GRACE, "{:?}", began.elapsed());
}
