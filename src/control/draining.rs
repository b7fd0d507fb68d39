//! What handlers and tasks can know of a drain, and how they can ask for one.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::server::drain::Window;

/// Whether the process is about to end, and how long is left: for streams that should end, and for whoever wants a
/// drain to begin. Clones are of the same server.
///
/// A drain begins with SIGTERM, SIGINT or [`begin`](Self::begin), or when another process has taken over after a
/// reload. Requests that run are waited for, so a stream without an end (server-sent events, long polls) should watch
/// for it:
///
/// ```
/// # use std::time::Duration;
/// async fn ticks(draining: outlive::Draining) -> Vec<u32> {
///     let mut ticks = Vec::new();
///     for tick in 0.. {
///         tokio::select! {
///             () = draining.begun() => break,
///             () = tokio::time::sleep(Duration::from_millis(1)) => ticks.push(tick),
///         }
///     }
///     ticks
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let server = outlive::Server::new();
/// let draining = server.draining();
/// assert!(!draining.is_draining() && draining.left().is_none());
/// drop(server); // nobody serves any more
/// ticks(draining).await;
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Draining {
    begun: watch::Receiver<Option<Begun>>,
    wishes: mpsc::UnboundedSender<&'static str>,
}

impl Draining {
    /// Waits until the drain begins; at once if it has. The future borrows nothing: a stream or a task can keep it.
    pub fn begun(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let mut begun = self.begun.clone();
        async move {
            // Without the server nobody will ever serve: that is the end, too.
            let _ = begun.wait_for(Option::is_some).await;
        }
    }

    /// Whether the drain has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.begun.borrow().is_some()
    }

    /// How long is left until what still runs is cut. `None`: no drain has begun, or it may take as long as it needs
    /// (`TimeoutStopSec=infinity`).
    ///
    /// It can change while the drain goes on, by what systemd says or by another signal.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        let begun = self.begun.borrow();
        let Begun { at, window } = begun.as_ref()?;
        window.borrow().map(|window| window.saturating_sub(at.elapsed()))
    }

    /// Begins a drain, as SIGTERM does; the second call cuts it short, as a second SIGTERM does.
    pub fn begin(&self) {
        let _ = self.wishes.send("the program"); // a server that is gone needn't drain
    }
}

#[derive(Debug)]
struct Begun {
    at: Instant,
    window: watch::Receiver<Window>,
}

/// The other side of [`Draining`].
#[derive(Debug)]
pub(crate) struct DrainTeller {
    begun: watch::Sender<Option<Begun>>,
    sender: mpsc::UnboundedSender<&'static str>,
    wishes: Option<mpsc::UnboundedReceiver<&'static str>>,
}

impl DrainTeller {
    pub(crate) fn new() -> Self {
        let (sender, wishes) = mpsc::unbounded_channel();
        Self { begun: watch::channel(None).0, sender, wishes: Some(wishes) }
    }

    pub(crate) fn draining(&self) -> Draining {
        Draining { begun: self.begun.subscribe(), wishes: self.sender.clone() }
    }

    /// What the program asks for, once.
    pub(super) fn wishes(&mut self) -> Option<mpsc::UnboundedReceiver<&'static str>> {
        self.wishes.take()
    }

    /// Tells everyone that the drain begins.
    pub(super) fn begin(&self, window: watch::Receiver<Window>) {
        self.begun.send_replace(Some(Begun { at: Instant::now(), window }));
    }
}
