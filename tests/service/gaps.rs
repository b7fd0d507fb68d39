//! The gaps of the crates that this project is named for, each shown by the crate alone and then closed by the service.
//!
//! Each test runs twice: in the service's place, where it calls the crate, and outside, where it looks at that process.

use std::env;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use listenfd::ListenFd;
use outlive::journal::message_id;
use rustix::io::Errno;
use sd_notify::NotifyState;
use tracing::{info, subscriber::with_default};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::CONFIG;
use crate::support::fake_journald::FakeJournald;
use crate::support::fake_systemd::{FakeSystemd, Launch, is_service};
use crate::support::wait::SOON;

/// Starts this test in the service's place, and waits for its good end.
#[track_caller]
fn succeeds(launch: Launch<'_>) {
    let mut service = launch.spawn();
    assert!(service.wait_for_exit().success(), "{}", service.story());
}

#[test]
fn listenfd_takes_a_connection_for_a_listener_and_leaves_the_names() {
    if is_service() {
        let mut passed = ListenFd::from_env();
        let taken = passed.take_tcp_listener(1).unwrap().unwrap();
        assert_eq!(taken.accept().unwrap_err().raw_os_error(), Some(Errno::INVAL.raw_os_error()));
        assert_eq!(env::var("LISTEN_FDNAMES").unwrap(), "http:web");
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let systemd = FakeSystemd::with_http().descriptor("web", connection.into());
    let test = "gaps::listenfd_takes_a_connection_for_a_listener_and_leaves_the_names";
    succeeds(systemd.service(CONFIG).test(test));

    let mut service = systemd.service(CONFIG).spawn();
    assert_eq!(service.wait_for_exit().code(), Some(1));
    service.wait_for_line("descriptor 4 (\"web\") is a connected socket");
    // That the names don't stay is seen by `activation::a_child_inherits_none_of_it`.
}

#[test]
fn sd_notify_sends_to_no_abstract_socket() {
    if is_service() {
        assert!(env::var("NOTIFY_SOCKET").unwrap().starts_with('@'));
        let sent = sd_notify::notify(&[NotifyState::Ready]);
        assert_eq!(sent.unwrap_err().kind(), std::io::ErrorKind::NotFound);
        return;
    }
    let systemd = FakeSystemd::with_http();
    succeeds(systemd.service(CONFIG).abstract_notify_socket().test("gaps::sd_notify_sends_to_no_abstract_socket"));

    let service = systemd.service(CONFIG).abstract_notify_socket().spawn();
    service.wait_for("READY=1");
}

#[test]
fn tracing_journald_renames_fields_and_priorities() {
    if is_service() {
        with_default(tracing_subscriber::registry().with(tracing_journald::layer().unwrap()), || {
            info!(MESSAGE_ID = message_id::READY, "as it comes");
        });
        return;
    }
    let (systemd, journald) = (FakeSystemd::with_http(), FakeJournald::new());
    succeeds(systemd.service(CONFIG).journald(&journald).test("gaps::tracing_journald_renames_fields_and_priorities"));
    let entry = journald.wait_for("that of the test", |entry| entry.get("MESSAGE") == Some("as it comes"));
    assert_eq!((entry.get("MESSAGE_ID"), entry.get("F_MESSAGE_ID")), (None, Some(message_id::READY)));
    assert_eq!(entry.field("PRIORITY"), "5", "notice");

    let _service = systemd.service(CONFIG).journald(&journald).start();
    let entry = journald.wait_for_id(message_id::READY);
    assert_eq!(entry.field("PRIORITY"), "6", "info");
    assert!(entry.names().all(|name| !name.starts_with("F_")), "{entry:?}");
}

#[test]
fn tracing_journald_drops_without_a_word_what_it_cannot_send() {
    if is_service() {
        let (socket, away) = ("/run/systemd/journal/socket", "/run/systemd/journal/away");
        with_default(tracing_subscriber::registry().with(tracing_journald::layer().unwrap()), || {
            info!("before");
            fs::rename(socket, away).unwrap();
            info!("meanwhile");
            fs::rename(away, socket).unwrap();
            info!("after");
        });
        return;
    }
    let (systemd, journald) = (FakeSystemd::with_http(), FakeJournald::new());
    let test = "gaps::tracing_journald_drops_without_a_word_what_it_cannot_send";
    let mut service = systemd.service(CONFIG).journald(&journald).test(test).spawn();
    assert!(service.wait_for_exit().success(), "{}", service.story());
    journald.wait_for("the last", |entry| entry.get("MESSAGE") == Some("after"));
    let messages =
        journald.entries(|all| all.iter().map(|entry| entry.field("MESSAGE").to_owned()).collect::<Vec<_>>());
    assert_eq!(messages, ["before", "after"]);
    // That the service loses nothing: `journald::entries_wait_while_journald_is_away`.
}

#[test]
fn tracing_journald_waits_for_a_journald_that_does_not_read() {
    static SENT: AtomicU32 = AtomicU32::new(0);
    if is_service() {
        let subscriber = tracing_subscriber::registry().with(tracing_journald::layer().unwrap());
        thread::spawn(|| {
            with_default(subscriber, || {
                loop {
                    info!("another one");
                    SENT.fetch_add(1, Ordering::Relaxed);
                }
            });
        });
        let began = Instant::now();
        let (mut last, mut since) = (0, Instant::now());
        // An entry takes some microseconds.
        while since.elapsed() < Duration::from_millis(500) {
            assert!(began.elapsed() < SOON, "it goes on and on");
            let sent = SENT.load(Ordering::Relaxed);
            if sent != last {
                (last, since) = (sent, Instant::now());
            }
            thread::yield_now();
        }
        return;
    }
    let (systemd, journald) = (FakeSystemd::with_http(), FakeJournald::asleep());
    let test = "gaps::tracing_journald_waits_for_a_journald_that_does_not_read";
    succeeds(systemd.service(CONFIG).journald(&journald).test(test));
    // That the service doesn't: `journald::one_that_does_not_read_holds_nobody_up`.
}
