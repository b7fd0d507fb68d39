//! What can be left out.

use outlive::Server;
use rustix::process::Signal;

use crate::support::client::Connection;
use crate::support::fake_systemd::{FakeSystemd, is_service};
use crate::support::wait::{SOON, until};
use crate::{exit, hello, program};

#[tokio::test]
async fn without_notify() {
    if is_service() {
        exit(Server::new().journal().without_notify().serve(hello).await);
    }
    let systemd = FakeSystemd::with_http();
    let mut service = systemd.service("").test("without::without_notify").spawn();
    service.wait_for_line(" Serving ");
    service.signal(Signal::TERM);
    assert_eq!(service.wait_for_exit().code(), Some(0), "{}", service.story());
    service.notifications(|sent| assert!(sent.is_empty(), "{sent:?}"));
}

#[tokio::test]
async fn without_handover() {
    if is_service() {
        exit(Server::new().without_handover().serve(hello).await);
    }
    let systemd = FakeSystemd::with_http().keeping(16);
    let mut service = program(&systemd, "without::without_handover");
    let mut client = Connection::open(systemd.http()).await.unwrap();
    assert_eq!(client.get("/").await.unwrap().text(), "hello\n");
    service.signal(Signal::TERM);
    assert_eq!(service.wait_for_exit().code(), Some(0), "{}", service.story());
    assert!(systemd.store.names().is_empty(), "{:?}", systemd.store.names());
    assert!(client.get("/").await.is_err(), "it was closed");
}

/// With it, the next process goes on with the connection.
#[tokio::test]
async fn with_handover() {
    if is_service() {
        exit(Server::new().serve(crate::pid).await);
    }
    let systemd = FakeSystemd::with_http().keeping(16);
    let mut service = program(&systemd, "without::with_handover");
    let mut client = Connection::open(systemd.http()).await.unwrap();
    assert_eq!(client.get("/").await.unwrap().text(), service.pid().to_string());
    service.signal(Signal::TERM);
    assert_eq!(service.wait_for_exit().code(), Some(0), "{}", service.story());
    let next = program(&systemd, "without::with_handover");
    assert_eq!(client.get("/").await.unwrap().text(), next.pid().to_string());
    crate::end(next);
}

#[tokio::test]
async fn without_control_socket() {
    if is_service() {
        exit(Server::new().without_control_socket().serve(hello).await);
    }
    let systemd = FakeSystemd::with_http();
    let service = program(&systemd, "without::without_control_socket");
    assert!(!systemd.path("run/control").exists());
    crate::end(service);
}

#[tokio::test]
async fn with_a_control_socket_elsewhere() {
    if is_service() {
        let place = std::env::var_os("CONTROL").unwrap();
        exit(Server::new().control_socket(place).serve(hello).await);
    }
    let systemd = FakeSystemd::with_http();
    let place = systemd.path("elsewhere");
    let test = "without::with_a_control_socket_elsewhere";
    let service = systemd.service("").test(test).env("CONTROL", place.to_str().unwrap()).start();
    until(SOON, "the socket", || if place.exists() { Ok(()) } else { Err(String::new()) });
    crate::end(service);
}
