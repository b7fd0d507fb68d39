//! For comparison only: what `examples/axum.rs` answers on `/`, in the way that is usual without this library. axum's own
//! server with its graceful shutdown, listenfd for the socket that systemd holds open meanwhile, sd-notify to say when it
//! is ready.
//!
//! `tests/system/axum.rs` restarts both under load and counts what each of them loses.

use std::env;
use std::io::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::routing::get;
use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let router = Router::new().route("/", get(hello)).with_state(Arc::default());
    let listener = match ListenFd::from_env().take_tcp_listener(0)? {
        Some(listener) => {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)?
        }
        None => TcpListener::bind(env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:8080".to_owned())).await?,
    };
    let mut term = signal(SignalKind::terminate())?;
    let end = async move {
        term.recv().await;
    };
    sd_notify::notify(&[NotifyState::Ready])?;
    axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).with_graceful_shutdown(end).await
}

async fn hello(State(visits): State<Arc<AtomicU64>>, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> String {
    let visits = visits.fetch_add(1, Ordering::Relaxed) + 1;
    format!("hello, {peer}: this is visit {visits}\n")
}
