//! A server in the test's own process, spoken to over real sockets.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outlive::server::app::App;
use outlive::server::drain::{Plan, Way};
use outlive::server::gauges::Gauges;
use outlive::server::limits::Limits;
use outlive::server::listener::Listener;
use outlive::server::upgrade::Handlers;
use outlive::server::{Options, Server};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// Nothing takes that long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What most tests need.
pub fn options(workers: usize) -> Options {
    Options {
        workers: NonZeroUsize::new(workers).unwrap(),
        max_connections: 1000,
        limits: Limits::default(),
        gauges: Arc::new(Gauges::new(1, workers)),
        observer: None,
        handlers: Handlers::default(),
    }
}

/// Serves an application on a free port, and says where.
pub async fn serve(app: impl App + Send, options: Options) -> (Server, SocketAddr) {
    let listener = Listener::tcp("http", SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = listener.address.parse().unwrap();
    (Server::start(app, vec![listener], options).await.unwrap(), address)
}

/// A drain that nobody cuts short and that hands nothing over.
pub fn plan(window: Duration) -> Plan {
    Plan {
        cause: "test",
        began: Instant::now(),
        window: watch::channel(Some(window)).1,
        settle: None,
        hammer: mpsc::unbounded_channel().1,
        way: Way::Closed,
        succeeded: false,
        closed: None,
        pending: Vec::new(),
        last_exit: None,
    }
}

/// Waits until `condition` holds for the server's numbers.
pub async fn until(server: &Server, condition: impl Fn(&Gauges) -> bool) {
    timeout(PATIENCE, async {
        while !condition(server.gauges()) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the numbers never got there");
}

/// Waits until the server ends a connection in good order, without another byte.
pub async fn closed(connection: &mut (impl AsyncRead + Unpin)) {
    let read = timeout(PATIENCE, connection.read(&mut [0])).await.expect("still open").expect("no reset");
    assert_eq!(read, 0, "the server sent something instead of closing");
}
