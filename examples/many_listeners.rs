//! Several services on several listeners, each known by its name: an application for everyone, and another one for those
//! who look after it.
//!
//! ```sh
//! cargo run --example many_listeners
//! curl http://127.0.0.1:8080/             # everyone's
//! curl http://127.0.0.1:8081/healthz      # 200, and 503 from the first moment of a drain
//! curl http://127.0.0.1:8081/counters
//! ```
//!
//! `ADDR` and `ADMIN` say where to listen; `ADMIN=unix:/run/user/1000/admin` makes a Unix socket of the second one. Under
//! systemd, `ListenStream=` in two socket units does, with `FileDescriptorName=http` and `FileDescriptorName=admin`.

use std::env;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use outlive::{Body, Draining, Ended, Error, Gauges, Server};

#[tokio::main]
async fn main() -> Result<Ended, Error> {
    let server = Server::new().journal();
    let admin = admin(server.draining(), server.gauges());
    server
        .bind("http", address("ADDR", "127.0.0.1:8080"))
        .bind("admin", address("ADMIN", "127.0.0.1:8081"))
        .app("admin", admin) // requests that come in there
        .serve(everyone) // all others
        .await
}

fn address(variable: &str, default: &str) -> String {
    env::var(variable).unwrap_or_else(|_| default.to_owned())
}

/// A function is enough for a service.
async fn everyone(request: http::Request<Body>) -> String {
    let listener = request.body().connection().map(|connection| connection.listener.to_string());
    format!("hello: you came in by {:?}\n", listener.unwrap_or_default())
}

/// axum's `Router` is one, too, and so is any tower or hyper service.
fn admin(draining: Draining, gauges: Arc<Gauges>) -> Router {
    let health = async move || match draining.is_draining() {
        false => (StatusCode::OK, "serving\n"),
        true => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    };
    let counters = async move || {
        let (generation, connections, requests) = (gauges.generation(), gauges.connections(), gauges.requests());
        format!("generation {generation}, {connections} connections, {requests} requests run\n")
    };
    Router::new().route("/healthz", get(health)).route("/counters", get(counters))
}
