//! What can be served: axum's Router, tower services, hyper services, functions, and several of them.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::{get, post};
use http::Request;
use outlive::{Body, Server};

use crate::support::client::Connection;
use crate::support::fake_systemd::{FakeSystemd, is_service};
use crate::{end, program};

async fn hello(_: Request<Body>) -> &'static str {
    "hello\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function() {
    if is_service() {
        Server::new().journal().serve(hello).await.unwrap();
        return;
    }
    let systemd = FakeSystemd::with_http();
    let service = program(&systemd, "apps::a_function");
    let mut client = Connection::open(systemd.http()).await.unwrap();
    assert_eq!(client.get("/").await.unwrap().text(), "hello\n");
    end(service);
}

/// Handlers as they are for `axum::serve`, with the peer's address.
#[tokio::test]
async fn axum() {
    if is_service() {
        let who = |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() };
        let router = Router::new().route("/who", get(who)).route("/echo", post(|body: String| async { body }));
        let server = Server::new().extension(|connection| connection.peer.address().map(ConnectInfo));
        server.serve(router).await.unwrap();
        return;
    }
    let systemd = FakeSystemd::with_http();
    let service = program(&systemd, "apps::axum");
    let mut client = Connection::open(systemd.http()).await.unwrap();
    assert_eq!(client.get("/who").await.unwrap().text(), client.local().to_string());
    assert_eq!(client.get("/nowhere").await.unwrap().status, 404);
    end(service);
}
