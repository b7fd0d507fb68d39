//! What journald gets, and what becomes of it when journald is slow, away, or gone.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use http_body_util::Empty;
use hyper::{Method, Request};
use outlive::entries;
use outlive::journal::message_id;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::CONFIG;
use crate::support::client::{self, Connection};
use crate::support::fake_journald::FakeJournald;
use crate::support::fake_systemd::FakeSystemd;
use crate::support::journal::Entry;

/// What every entry has, some of it from tracing-journald.
const ALWAYS: [&str; 6] = ["CODE_FILE", "CODE_LINE", "MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "TARGET"];

fn all_requests() -> String {
    format!("[log]\naccess = \"all\"\n{CONFIG}")
}

fn is_request(entry: &Entry) -> bool {
    entry.get("MESSAGE_ID") == Some(entries::message_id::REQUEST)
}

#[tokio::test]
async fn a_request_has_fields_of_its_own() {
    let (systemd, journald) = (FakeSystemd::with_http().unix("local"), FakeJournald::new());
    let service = systemd.service(&all_requests()).journald(&journald).start();
    let mut client = Connection::open(systemd.http()).await.unwrap();
    let request = Request::builder().method(Method::PUT).uri("/hello?secret=1").header("Host", "localhost");
    let request = request.header("X-Request-Id", "abc-123").body(Empty::new()).unwrap();
    assert_eq!(client.send(request).await.unwrap().text(), "hello\n");

    let entry = journald.wait_for("the request", is_request);
    let mut names: BTreeSet<_> = entry.names().collect();
    assert!(ALWAYS.iter().all(|name| names.remove(name)), "{entry:#?}");
    let expected = [
        "MESSAGE_ID",
        "METHOD",
        "PATH",
        "ROUTE",
        "STATUS",
        "DURATION_USEC",
        "BYTES",
        "PEER",
        "REQUEST_ID",
        "LISTENER",
        "OUTCOME",
    ];
    assert_eq!(names, expected.into());
    let peer = client.local().to_string();
    for (name, value) in [
        ("METHOD", "PUT"),
        ("PATH", "/hello"),
        ("ROUTE", "/hello"),
        ("STATUS", "200"),
        ("BYTES", "6"),
        ("PEER", &peer),
        ("REQUEST_ID", "abc-123"),
        ("LISTENER", "http"),
        ("OUTCOME", "complete"),
        ("PRIORITY", "6"),
        ("SYSLOG_IDENTIFIER", "outlive"),
    ] {
        assert_eq!(entry.field(name), value, "{name}");
    }
    assert!(entry.number("DURATION_USEC") < 10_000_000);
    let message = entry.field("MESSAGE");
    assert!(message.starts_with(&format!("{peer} PUT /hello: 200, 6 bytes in ")), "{message}");

    let local = UnixStream::connect(systemd.path("local")).await.unwrap();
    Connection::over(local).await.unwrap().get("/nowhere").await.unwrap();
    let entry = journald.wait_for("the other request", |entry| entry.get("PATH") == Some("/nowhere"));
    assert_eq!((entry.field("PEER"), entry.field("LISTENER"), entry.get("ROUTE")), ("unix", "local", None));
    assert_eq!(entry.field("STATUS"), "404");
    assert_eq!(service.said(), "", "it is all in the journal");
}

#[tokio::test]
async fn a_life_has_an_id_for_each_turn() {
    let (systemd, journald) = (FakeSystemd::with_http(), FakeJournald::new());
    let mut service = systemd.service(CONFIG).journald(&journald).start();
    let ready = journald.wait_for_id(message_id::READY);
    assert_eq!(ready.number("GENERATION"), 1);
    assert_eq!(ready.field("LISTENERS"), format!("{} (http)", systemd.http()));
    assert_eq!(ready.field("CONFIGURATION"), systemd.path("outlive.toml").to_str().unwrap());
    assert!(ready.number("DURATION_USEC") > 0 && ready.number("WORKERS") > 0);

    client::get(systemd.http(), "/hello").await.unwrap();
    service.signal(Signal::USR1);
    let snapshot = journald.wait_for_id(message_id::SNAPSHOT);
    assert_eq!((snapshot.number("ACCEPTED"), snapshot.number("ANSWERED")), (1, 1));
    assert!(snapshot.number("UPTIME_USEC") > 0);

    let mut waits = TcpStream::connect(systemd.http()).await.unwrap();
    waits.write_all(b"GET /never HTTP/1.1\r\nHost: t\r\n\r\n").await.unwrap();
    service.wait_for("STATUS=Serving 2 routes: 1 connection, 1 request");
    service.signal(Signal::TERM);
    assert_eq!(service.wait_for_exit().code(), Some(1));
    let began = journald.wait_for_id(message_id::DRAIN_BEGAN);
    assert_eq!((began.field("CAUSE"), began.number("WINDOW_USEC")), ("SIGTERM", 1_000_000));
    assert_eq!((began.number("REQUESTS"), began.number("CONNECTIONS")), (1, 1));
    let cut = journald.wait_for("the request", is_request);
    assert_eq!((cut.field("OUTCOME"), cut.field("ROUTE"), cut.get("STATUS")), ("cut", "/never", None));
    assert_eq!(cut.field("PRIORITY"), "4");
    let ended = journald.wait_for_id(message_id::REQUESTS_CUT);
    assert_eq!((ended.number("CUT"), ended.field("CUT_ROUTES")), (1, "/never (1)"));
    assert!(ended.number("SETTLE_USEC") >= 500_000, "{ended:?}");
    assert!(ended.number("SETTLE_USEC") + ended.number("CLOSE_USEC") >= 1_000_000, "{ended:?}");
    assert_eq!(ended.number("FINISHED"), 0);

    // The next process.
    let _service = systemd.service(CONFIG).journald(&journald).start();
    journald.wait_for("the next one", |entry| entry.get("GENERATION") == Some("2"));
    assert_eq!(service.said(), "");
}

#[test]
fn a_failed_start_is_there_in_full() {
    let (systemd, journald) = (FakeSystemd::with_http(), FakeJournald::new());
    let mut service = systemd.service("[drain]\nwindwo = \"1s\"\nsetle = \"1s\"\n").journald(&journald).spawn();
    assert_eq!(service.wait_for_exit().code(), Some(78));
    let entry = journald.wait_for_id(message_id::START_FAILED);
    assert_eq!(entry.field("PRIORITY"), "3");
    let message = entry.field("MESSAGE");
    for part in ["outlive.toml:2:1", "did you mean `window`?", "outlive.toml:3:1", "did you mean `settle`?"] {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert_eq!(service.said(), "");
}

/// Sends requests in bundles, and says how long the longest bundle took.
async fn send(systemd: &FakeSystemd, bundles: usize) -> Duration {
    let answer = client::get(systemd.http(), "/hello").await.unwrap();
    assert_eq!(answer.text(), "hello\n");
    let mut stream = TcpStream::connect(systemd.http()).await.unwrap();
    let mut longest = Duration::ZERO;
    for _ in 0..bundles {
        let began = Instant::now();
        stream.write_all("GET /hello HTTP/1.1\r\nHost: t\r\n\r\n".repeat(BUNDLE).as_bytes()).await.unwrap();
        let mut answers = Vec::new();
        while answers.windows(6).filter(|bytes| bytes == b"hello\n").count() < BUNDLE {
            assert!(stream.read_buf(&mut answers).await.unwrap() > 0, "closed");
        }
        longest = longest.max(began.elapsed());
    }
    longest
}

const BUNDLE: usize = 100;

#[tokio::test]
async fn one_that_does_not_read_holds_nobody_up_and_drops_are_counted() {
    // More than it keeps: 8192.
    const BUNDLES: usize = 100;
    let (systemd, mut journald) = (FakeSystemd::with_http(), FakeJournald::asleep());
    let service = systemd.service(&all_requests()).journald(&journald).start();
    let longest = send(&systemd, BUNDLES).await;
    assert!(longest < Duration::from_secs(8), "{BUNDLE} requests took {longest:?}");
    service.signal(Signal::USR1);

    journald.wake();

    // There was room for what isn't a request, and in the end nothing is missing that isn't counted.
    journald.wait_for_id(message_id::SNAPSHOT);
    let sent = u64::try_from(BUNDLES * BUNDLE).unwrap() + 1;
    let dropped = journald.wait_until("all entries", |entries| {
        let requests = entries.iter().filter(|entry| is_request(entry)).count() as u64;
        let reports = entries.iter().filter(|entry| entry.get("MESSAGE_ID") == Some(message_id::ENTRIES_DROPPED));
        let dropped: u64 = reports.map(|entry| entry.number("COUNT")).sum();
        (requests + dropped == sent).then_some(dropped)
    });
    assert!(dropped >= sent - 8192, "{dropped}");
    let report = journald.wait_for_id(message_id::ENTRIES_DROPPED);
    assert_eq!(report.field("PRIORITY"), "4");
    assert!(report.field("MESSAGE").ends_with(" log entries were dropped because journald was too slow"));
}

#[tokio::test]
async fn one_that_does_not_read_does_not_hold_up_the_end() {
    let (systemd, journald) = (FakeSystemd::with_http(), FakeJournald::asleep());
    let mut service = systemd.service(&all_requests()).journald(&journald).start();
    send(&systemd, 1).await;
    let began = Instant::now();
    service.signal(Signal::TERM);
    assert_eq!(service.wait_for_exit().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[tokio::test]
async fn entries_wait_while_journald_is_away() {
    let (systemd, mut journald) = (FakeSystemd::with_http(), FakeJournald::new());
    let mut service = systemd.service(&all_requests()).journald(&journald).start();
    send(&systemd, 1).await;
    journald
        .wait_until("all entries", |all| (all.iter().filter(|e| is_request(e)).count() == BUNDLE + 1).then_some(()));
    journald.stop();
    let longest = send(&systemd, 1).await;
    assert!(longest < Duration::from_secs(8), "{longest:?}");
    journald.start();
    let all = 2 * (BUNDLE + 1);
    journald
        .wait_until("all entries", |entries| (entries.iter().filter(|e| is_request(e)).count() == all).then_some(()));
    service.signal(Signal::TERM);
    assert_eq!(service.wait_for_exit().code(), Some(0));
    journald.wait_for_id(message_id::DRAIN_ENDED);
}

#[tokio::test]
async fn without_a_journald_there_are_lines() {
    let (systemd, mut journald) = (FakeSystemd::with_http(), FakeJournald::new());
    journald.stop();
    let service = systemd.service(CONFIG).journald(&journald).start();
    service.wait_for_line("outlive: journald cannot be reached, logging lines instead: No such file or directory");
    service.wait_for_line(" INFO Serving 2 routes on ");
}
