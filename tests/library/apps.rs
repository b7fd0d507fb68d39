//! What can be served: axum's Router, tower services, hyper services, functions, and several of them.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::{get as getting, post};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use outlive::{Body, Server};
use tokio::net::UnixStream;
use tokio::runtime::{Handle, RuntimeFlavor};
use tower::ServiceBuilder;

use crate::support::client::Connection;
use crate::support::fake_systemd::{FakeSystemd, is_service};
use crate::{end, exit, get, hello, program};

#[tokio::test(flavor = "multi_thread")]
async fn a_function() {
    if is_service() {
        exit(Server::new().journal().serve(hello).await);
    }
    let systemd = FakeSystemd::with_http();
    let service = program(&systemd, "apps::a_function");
    assert_eq!(get(systemd.http(), "/").await, "hello\n");
    end(service);
}

/// Handlers as they are for `axum::serve`, with the peer's address.
#[tokio::test]
async fn axum() {
    if is_service() {
        let who = |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() };
        let router = Router::new().route("/who", getting(who)).route("/echo", post(|body: String| async { body }));
        let server = Server::new().extension(|connection| connection.peer.address().map(ConnectInfo));
        exit(server.serve(router).await);
    }
    let systemd = FakeSystemd::with_http();
    let service = program(&systemd, "apps::axum");
    let mut client = Connection::open(systemd.http()).await.unwrap();
    assert_eq!(client.get("/who").await.unwrap().text(), client.local().to_string());
    assert_eq!(client.get("/nowhere").await.unwrap().status, 404);
    end(service);
}

/// A service that isn't always ready isn't called then, and gets to everyone in the end.
#[tokio::test]
async fn a_tower_service_that_is_not_always_ready() {
    if is_service() {
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let service = ServiceBuilder::new().concurrency_limit(1).service_fn(move |_: Request<Body>| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(10)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                Ok::<_, Infallible>(Response::new(most.load(Ordering::SeqCst).to_string()))
            }
        });
        exit(Server::new().serve(service).await);
    }
    let systemd = FakeSystemd::with_http();
    let service = program(&systemd, "apps::a_tower_service_that_is_not_always_ready");
    let address = systemd.http();
    let clients: Vec<_> = (0..20).map(|_| tokio::spawn(async move { get(address, "/").await })).collect();
    for client in clients {
        assert_eq!(client.await.unwrap(), "1");
    }
    end(service);
}

#[tokio::test]
async fn a_hyper_service() {
    if is_service() {
        let echo = service_fn(|request: Request<Body>| async {
            let body = request.into_body().collect().await?.to_bytes();
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Response::new(Full::new(body)))
        });
        exit(Server::new().serve(echo).await);
    }
    let systemd = FakeSystemd::with_http();
    let service = program(&systemd, "apps::a_hyper_service");
    assert_eq!(get(systemd.http(), "/").await, "");
    end(service);
}

#[tokio::test]
async fn one_for_each_listener() {
    if is_service() {
        let admin = async |request: Request<Body>| {
            let connection = request.body().connection().unwrap().clone();
            format!("admin on {} from {}", connection.listener, connection.peer)
        };
        let server = Server::new().bind("other", "127.0.0.1:0").app("admin", admin);
        exit(server.journal().serve(Router::new().route("/", getting(|| async { "site" }))).await);
    }
    let systemd = FakeSystemd::with_http().unix("admin");
    let service = program(&systemd, "apps::one_for_each_listener");
    for site in [systemd.http(), service.address("other")] {
        assert_eq!(get(site, "/").await, "site");
    }
    let admin = UnixStream::connect(systemd.path("admin")).await.unwrap();
    let answer = Connection::over(admin).await.unwrap().get("/").await.unwrap();
    assert_eq!(answer.text(), "admin on admin from unix");
    end(service);
}

/// Fails in the way that it is asked for.
async fn fails(request: Request<Body>) -> io::Result<Response<Full<Bytes>>> {
    match request.uri().path() {
        "/panic" => panic!("as asked"),
        "/error" => Err(io::Error::other("the database is gone")),
        _ => Ok(Response::new(Full::from("well"))),
    }
}

async fn failures_are_500_and_logged(test: &str) {
    let systemd = FakeSystemd::with_http();
    let service = program(&systemd, test);
    let mut client = Connection::open(systemd.http()).await.unwrap();
    for path in ["/panic", "/error"] {
        assert_eq!(client.get(path).await.unwrap().status, 500, "{path}");
    }
    assert_eq!(client.get("/").await.unwrap().text(), "well");
    service.wait_for_line("GET /error failed: the database is gone; its request got a 500");
    let line = service.wait_for_line("GET /panic panicked at tests/library/apps.rs:");
    assert!(line.contains("as asked"), "{line}");
    end(service);
}

#[tokio::test]
async fn failures() {
    if is_service() {
        exit(Server::new().journal().serve(fails).await);
    }
    failures_are_500_and_logged("apps::failures").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_on_another_runtime() {
    if is_service() {
        exit(Server::new().journal().serve_with(Handle::current(), fails).await);
    }
    failures_are_500_and_logged("apps::failures_on_another_runtime").await;
}

/// Says on which kind of runtime it runs.
async fn flavor(_: Request<Body>) -> &'static str {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => "a worker's",
        _ => "the program's",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_run_on_a_worker() {
    if is_service() {
        exit(Server::new().serve(flavor).await);
    }
    let systemd = FakeSystemd::with_http();
    let service = program(&systemd, "apps::handlers_run_on_a_worker");
    assert_eq!(get(systemd.http(), "/").await, "a worker's");
    end(service);
}

#[tokio::test(flavor = "multi_thread")]
async fn or_on_the_programs_own_runtime() {
    if is_service() {
        exit(Server::new().serve_with(Handle::current(), flavor).await);
    }
    let systemd = FakeSystemd::with_http();
    let service = program(&systemd, "apps::or_on_the_programs_own_runtime");
    assert_eq!(get(systemd.http(), "/").await, "the program's");
    end(service);
}

/// Without a runtime around it.
#[test]
fn run() {
    if is_service() {
        exit(Server::new().run(hello));
    }
    let systemd = FakeSystemd::with_http();
    let service = program(&systemd, "apps::run");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(runtime.block_on(get(systemd.http(), "/")), "hello\n");
    end(service);
}
