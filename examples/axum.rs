//! An axum application that outlives its restarts: with state, addresses of peers, a stream that ends when a drain
//! begins, and a background task that is waited for.
//!
//! ```sh
//! cargo run --example axum
//! curl -N http://127.0.0.1:8080/ticks     # in another terminal: a tick every second
//! ```
//!
//! Press ctrl-C in the first terminal while the ticks come: the stream says good-bye, the task counts once more, and the
//! exit status is 0. `ADDR` says where to listen. Under systemd, with `FileDescriptorStoreMax=`, connections go on in the
//! next process: `examples/user_unit` has the units.

use std::convert::Infallible;
use std::env;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::response::IntoResponse;
use axum::routing::get;
use futures_util::{StreamExt as _, stream};
use outlive::{Draining, Ended, Error, Server};
use tokio::time::sleep;

/// What handlers share. It is this process's own: what must go on in the next one belongs in a file or a database.
#[derive(Clone)]
struct App {
    visits: Arc<AtomicU64>,
    draining: Draining,
}

#[tokio::main]
async fn main() -> Result<Ended, Error> {
    let server = Server::new().journal();
    let app = App { visits: Arc::default(), draining: server.draining() };
    // A drain waits for this task, as it does for requests.
    server.tasks().spawn(count(app.clone()));

    let address = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let router = Router::new().route("/", get(hello)).route("/ticks", get(ticks)).with_state(app);
    server
        .bind("http", address) // or what systemd passes under that name
        .extension(|connection| connection.peer.address().map(ConnectInfo))
        .serve(router)
        .await
}

async fn hello(State(app): State<App>, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> String {
    let visits = app.visits.fetch_add(1, Ordering::Relaxed) + 1;
    format!("hello, {peer}: this is visit {visits}\n")
}

/// A stream without an end of its own. A drain would have to cut it at the end of its window, so it watches for one.
async fn ticks(State(app): State<App>) -> impl IntoResponse {
    let ticks = stream::unfold(0_u64, |tick| async move {
        sleep(Duration::from_secs(1)).await;
        Some((format!("tick {tick}\n"), tick + 1))
    });
    let good_bye = stream::iter(["good-bye: come again\n".to_owned()]);
    Body::from_stream(ticks.take_until(app.draining.begun()).chain(good_bye).map(Ok::<_, Infallible>))
}

/// Counts visits every ten seconds, and once more at the end.
async fn count(app: App) {
    loop {
        let over = tokio::select! {
            () = app.draining.begun() => true,
            () = sleep(Duration::from_secs(10)) => false,
        };
        println!("{} visits so far", app.visits.load(Ordering::Relaxed));
        if over {
            return;
        }
    }
}
