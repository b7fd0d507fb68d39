//! The program as systemd runs it, without systemd: what it makes of the sockets it is passed, and what it notifies of.

mod support;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::client::{self, Connection};
use support::fake_systemd::FakeSystemd;
use support::hostile::Hostiles;

/// Routes to ask for, and a window that tests have the patience for.
const CONFIG: &str = r#"
[drain]
window = "1s"

[[route]]
path = "/hello"
respond = { body = "hello\n" }

[[route]]
path = "/never"
respond = { body = "never\n", delay = "1h" }
"#;

#[tokio::test]
async fn it_is_ready_when_it_accepts_and_says_so_when_it_stops() {
    let systemd = FakeSystemd::with_http();
    let mut service = systemd.start(CONFIG);
    assert_eq!(client::get(systemd.http(), "/hello").await.unwrap().text(), "hello\n");

    service.signal(Signal::TERM);

    service.wait_for("STOPPING=1");
    assert_eq!(service.wait_for_exit().code(), Some(0));
    service.notifications(|sent| {
        assert!(sent.iter().all(|message| message.sender == Some(service.pid())), "{sent:?}");
    });
}

#[tokio::test]
async fn it_serves_on_every_socket_that_it_is_passed() {
    let systemd = FakeSystemd::with_http().tcp("http", "127.0.0.1:0").tcp("six", "[::1]:0").unix("local");
    let _service = systemd.start(CONFIG);
    for address in systemd.addresses() {
        assert_eq!(client::get(address, "/hello").await.unwrap().text(), "hello\n", "{address}");
    }
    let local = tokio::net::UnixStream::connect(systemd.path("local")).await.unwrap();
    assert_eq!(Connection::over(local).await.unwrap().get("/hello").await.unwrap().text(), "hello\n");
}

#[test]
fn a_descriptor_that_is_no_listening_socket_is_named() {
    let systemd = FakeSystemd::with_http().udp("dns");
    let mut service = systemd.service(CONFIG).spawn();
    assert_eq!(service.wait_for_exit().code(), Some(1));
    let status = service.wait_until("STATUS=", |sent| Some(sent.iter().find_map(|m| m.get("STATUS"))?.to_owned()));
    for said in ["descriptor 4", "dns"] {
        assert!(status.contains(said), "{said:?} in {status:?}");
    }
    service.wait_for("ERRNO=22");
}

#[test]
fn a_bad_configuration_ends_it_with_78_and_says_where() {
    let systemd = FakeSystemd::with_http();
    let mut service = systemd.service("[drain]\nwindwo = \"1s\"\n").spawn();
    assert_eq!(service.wait_for_exit().code(), Some(78));
    service.wait_for_line("outlive.toml:2");
    service.wait_for("ERRNO=22");
}

#[tokio::test]
async fn notifications_reach_an_abstract_socket() {
    let systemd = FakeSystemd::with_http();
    let service = systemd.service(CONFIG).abstract_notify_socket().start();
    service.wait_for("READY=1");
}

/// More notifications than fit into the socket's queue, while requests are answered and the service ends.
#[tokio::test]
async fn a_systemd_that_does_not_read_holds_nobody_up() {
    let systemd = FakeSystemd::with_http();
    let mut service = systemd.service(CONFIG).watchdog(Duration::from_millis(4)).slow_to_read().spawn();
    let mut client = Connection::open(systemd.http()).await.unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        client.get("/hello").await.unwrap();
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    }
    service.signal(Signal::TERM);
    assert_eq!(service.wait_for_exit_within(Duration::from_secs(5)).code(), Some(0));
}

#[test]
fn the_watchdog_is_fed_at_half_its_time() {
    let systemd = FakeSystemd::with_http();
    let service = systemd.service(CONFIG).watchdog(Duration::from_millis(400)).start();
    let fed = service.wait_until("five signs of life", |sent| {
        let fed: Vec<_> = sent.iter().filter(|message| message.get("WATCHDOG") == Some("1")).map(|m| m.at).collect();
        (fed.len() >= 5).then_some(fed)
    });
    for pair in fed.windows(2) {
        assert!(pair[1] - pair[0] < Duration::from_millis(400), "{:?}", pair[1] - pair[0]);
    }
    let whole = fed[4] - fed[0];
    assert!(whole >= Duration::from_millis(600), "no more often than it has to be: {whole:?}");
}

#[tokio::test]
async fn the_next_process_answers_who_waits_in_the_backlog() {
    let systemd = FakeSystemd::with_http();
    let mut first = systemd.start(CONFIG);
    first.signal(Signal::TERM);
    assert_eq!(first.wait_for_exit().code(), Some(0));
    let waiting = tokio::spawn(client::get(systemd.http(), "/hello"));

    let _second = systemd.start(CONFIG);

    assert_eq!(waiting.await.unwrap().unwrap().text(), "hello\n");
}

#[tokio::test]
async fn hostile_clients_do_not_keep_it() {
    let systemd = FakeSystemd::with_http();
    let mut service = systemd.start(CONFIG);
    let mut clients = Hostiles::of(systemd.http());
    clients.drips_head().await.unwrap();
    clients.drips_body("/hello").await.unwrap();
    clients.waits("/never").await.unwrap();
    // Those before it have been accepted.
    client::get(systemd.http(), "/hello").await.unwrap();

    service.signal(Signal::TERM);
    let asked = Instant::now();

    let status =
        tokio::task::spawn_blocking(move || service.wait_for_exit_within(Duration::from_secs(3))).await.unwrap();
    assert_eq!(status.code(), Some(1), "a request was cut");
    assert!(asked.elapsed() >= Duration::from_secs(1), "it had its window: {:?}", asked.elapsed());
}
