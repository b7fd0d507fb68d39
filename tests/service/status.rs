//! STATUS=: what it says, and how often.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::support::client::Connection;
use crate::support::fake_systemd::FakeSystemd;
use crate::support::hostile::Hostiles;

/// Twelve routes, of which one doesn't answer.
fn config() -> String {
    let mut config = "[limits]\nrequest_timeout = \"2h\"\n[drain]\nwindow = \"27s\"\n".to_owned();
    for number in 0..12 {
        let delay = if number == 0 { "1h" } else { "0s" };
        config += &format!("[[route]]\npath = \"/{number}\"\nrespond = {{ delay = \"{delay}\" }}\n");
    }
    config
}

#[tokio::test]
async fn it_says_what_goes_on() {
    let systemd = FakeSystemd::with_http();
    let mut service = systemd.start(&config());
    service.wait_for("STATUS=Serving 12 routes: 0 connections, 0 requests");
    let mut clients = Hostiles::of(systemd.http());
    clients.waits("/0").await.unwrap();
    service.wait_for("STATUS=Serving 12 routes: 1 connection, 1 request");
    clients.waits("/0").await.unwrap();
    let mut idle = Connection::open(systemd.http()).await.unwrap();
    idle.get("/1").await.unwrap();
    service.wait_for("STATUS=Serving 12 routes: 3 connections, 2 requests");

    service.signal(Signal::TERM);
    service.wait_for("STATUS=Draining: 2 requests left, 1 s of 27 s");
    service.signal(Signal::USR2);
    assert_eq!(service.wait_for_exit().code(), Some(1));
    service.notifications(|sent| {
        let stopping = sent.iter().find(|message| message.get("STOPPING").is_some()).unwrap();
        assert_eq!(stopping.lines, ["STOPPING=1", "STATUS=Draining: 2 requests left, 0 s of 27 s"]);
        let last = sent.last().unwrap().get("STATUS").unwrap();
        assert!(last.starts_with("Drained in 1.") && last.ends_with(" s, 2 requests cut"), "{last}");
    });
}

#[tokio::test]
async fn it_says_nothing_twice_and_not_more_than_once_a_second() {
    let systemd = FakeSystemd::with_http();
    let service = systemd.start(&config());
    let began = Instant::now();
    let mut open = Vec::new();
    while began.elapsed() < Duration::from_millis(3500) {
        open.push(TcpStream::connect(systemd.http()).await.unwrap());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // From here on nothing changes.
    let all = format!("STATUS=Serving 12 routes: {} connections, 0 requests", open.len());
    service.wait_for(&all);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    service.notifications(|sent| {
        let said: Vec<_> = sent.iter().filter_map(|message| message.get("STATUS")).collect();
        assert!(said.windows(2).all(|pair| pair[0] != pair[1]), "{said:#?}");
        // The first came with READY=1; then one a second, in which the connections came, and one that has them all.
        assert!((4..=6).contains(&said.len()), "{said:#?}");
    });
}
