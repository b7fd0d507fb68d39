//! What handlers and background tasks know of a drain.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get as getting;
use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use outlive::{Drain, Draining, Server};
use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::support::fake_systemd::{FakeSystemd, is_service};
use crate::support::wait::SOON;
use crate::{exit, get, hello, program};

/// Says "tick" at once, and how long is left when the drain begins.
fn ticks(draining: Draining) -> Body {
    Body::from_stream(stream::unfold(0, move |step| {
        let draining = draining.clone();
        async move {
            let text = match step {
                0 => "tick\n".to_owned(),
                1 => {
                    draining.begun().await;
                    let left = draining.left().unwrap();
                    format!("{} {}\n", draining.is_draining(), left > Duration::from_secs(15))
                }
                _ => return None,
            };
            Some((Ok::<_, Infallible>(text), step + 1))
        }
    }))
}

#[tokio::test]
async fn a_stream_ends_when_the_drain_begins() {
    if is_service() {
        let server = Server::new().drain(Drain::window(Duration::from_secs(20)));
        let draining = server.draining();
        exit(server.serve(Router::new().route("/", getting(move || async move { ticks(draining) }))).await);
    }
    let systemd = FakeSystemd::with_http();
    let mut service = program(&systemd, "draining::a_stream_ends_when_the_drain_begins");
    let stream = TcpStream::connect(systemd.http()).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/").header("host", "test").body(Empty::<Bytes>::new()).unwrap();
    let mut body = sender.send_request(request).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "tick\n");
    service.signal(Signal::TERM);
    assert_eq!(body.collect().await.unwrap().to_bytes(), "true true\n");
    assert_eq!(service.wait_for_exit().code(), Some(0), "{}", service.story());
}

/// A task of a handler's, which answers at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_background_tasks() {
    if is_service() {
        let server = Server::new();
        let tasks = server.tasks();
        let draining = server.draining();
        let later = move |_: Request<outlive::Body>| {
            let draining = draining.clone();
            tasks.spawn(async move {
                draining.begun().await;
                tokio::time::sleep(Duration::from_millis(300)).await;
                eprintln!("the mail is sent");
            });
            async { "you will get a mail" }
        };
        exit(server.serve(later).await);
    }
    let systemd = FakeSystemd::with_http();
    let mut service = program(&systemd, "draining::a_drain_waits_for_background_tasks");
    assert_eq!(get(systemd.http(), "/").await, "you will get a mail");
    service.signal(Signal::TERM);
    assert_eq!(service.wait_for_exit().code(), Some(0), "{}", service.story());
    assert!(service.said().contains("the mail is sent"), "{}", service.said());
}

#[tokio::test]
async fn but_no_longer_than_the_window() {
    if is_service() {
        let server = Server::new().drain(Drain::window(Duration::from_millis(500)));
        let _endless = server.tasks().begin();
        exit(server.journal().serve(hello).await);
    }
    let systemd = FakeSystemd::with_http();
    let mut service = program(&systemd, "draining::but_no_longer_than_the_window");
    service.signal(Signal::TERM);
    assert_eq!(service.wait_for_exit().code(), Some(1), "{}", service.story());
    service.wait_for_line("1 background task still ran at the end");
}

/// Whoever drops the future wants no server any more.
#[tokio::test]
async fn dropping_the_future_ends_the_server() {
    let (ready, is_ready) = oneshot::channel();
    let server = Server::new().bind("http", "127.0.0.1:0").without_control_socket();
    let gauges = server.gauges();
    let draining = server.draining();
    let server = server.when_ready(move || ready.send(()).unwrap());
    tokio::select! {
        ended = server.serve(hello) => panic!("{ended:?}"),
        _ = is_ready => {}
    }
    tokio::time::timeout(SOON, draining.begun()).await.unwrap();
    assert_eq!(gauges.connections(), 0);
}
