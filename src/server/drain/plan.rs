//! What a drain is told: how long it may take, and where its connections can go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use crate::handover::Carrier;
use crate::server::Server;
use crate::server::last_exit::LastExit;
use crate::systemd::unit::StopTimeout;

/// The window where nothing sets a limit from outside: a terminal, a container's main process.
pub const WINDOW_ALONE: Duration = Duration::from_secs(30);

/// The window under systemd as long as `TimeoutStopSec=` isn't known: less than what the shipped unit says.
pub const WINDOW_UNKNOWN: Duration = Duration::from_secs(25);

/// How long after the window the process ends in any case, whatever it is stuck in: longer than naming and cutting take.
const LAST_EXIT: Duration = Duration::from_millis(450);

/// How much sooner than SIGKILL the window must end at least: later than the last exit.
const LEAST_MARGIN: Duration = Duration::from_millis(600);

/// How long a drain may take: `None` is for as long as it needs.
pub type Window = Option<Duration>;

/// The window that a unit's time to stop leaves: a tenth less, but no more than five seconds less, so that cutting and
/// exiting are over before SIGKILL.
#[must_use]
pub fn window_within(timeout: StopTimeout) -> Window {
    let StopTimeout::After(timeout) = timeout else { return None };
    let margin = (timeout / 10).clamp(LEAST_MARGIN, Duration::from_secs(5)).min(timeout / 2);
    Some(timeout - margin)
}

/// How a drain is to go.
#[derive(Debug)]
pub struct Plan {
    /// What began it: `SIGTERM`.
    pub cause: &'static str,
    /// When that was.
    pub began: Instant,
    /// How long it may take; may change while it goes on.
    pub window: watch::Receiver<Window>,
    /// How long settling may take; `None`: half the window.
    pub settle: Option<Duration>,
    /// Whatever is received here, its cause, ends the drain at once.
    pub hammer: mpsc::UnboundedReceiver<&'static str>,
    /// Whether the service goes on in a process that serves already: then nobody should think it unhealthy.
    pub succeeded: bool,
    /// Told when nothing is accepted any more; listeners aren't held open longer than that then.
    pub closed: Option<oneshot::Sender<()>>,
    /// How many of other things have yet to end, for which a drain waits: older processes, since they are killed when it
    /// is over, connections on their way to a successor, since they may come back, background tasks.
    pub pending: Vec<watch::Receiver<usize>>,
    /// A way for connections to the next process; until it is known whether there is one, the drain does not close.
    pub way: Way,
    /// Ends the process a little after the window, should the drain not come to its own end. `None`: the process isn't
    /// the drain's to end.
    pub last_exit: Option<LastExit>,
}

/// A way for connections to the next process.
#[derive(Debug)]
pub enum Way {
    /// There is none.
    Closed,
    /// It is being opened.
    Awaited(oneshot::Receiver<Arc<dyn Carrier>>),
    /// The workers know of it.
    Open,
}

impl Way {
    /// Waits until it is known, and shows it to the workers.
    pub(super) async fn known(&mut self, server: &Server) {
        if let Self::Awaited(carrier) = self {
            *self = match carrier.await {
                Ok(carrier) => {
                    server.carry_with(&carrier);
                    Self::Open
                }
                Err(_) => Self::Closed,
            };
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    pub(super) fn is_awaited(&self) -> bool {
        matches!(self, Self::Awaited(_))
    }
}

impl Plan {
    /// Sets the end of the window, after which the process ends whatever happens.
    pub(super) fn end_by(&self, end: Option<Instant>) {
        if let Some(last_exit) = &self.last_exit {
            last_exit.at(end.map(|end| end + LAST_EXIT));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_leaves_time_to_exit() {
        let within = |millis| window_within(StopTimeout::After(Duration::from_millis(millis))).map(|w| w.as_millis());
        assert_eq!(within(30_000), Some(27_000));
        assert_eq!(within(90_000), Some(85_000));
        assert_eq!(within(5_000), Some(4_400));
        assert_eq!(within(2_000), Some(1_400));
        assert_eq!(within(500), Some(250));
        assert_eq!(window_within(StopTimeout::Never), None);
    }
}
