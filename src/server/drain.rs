//! The drain: from the wish to end to the end, within a window.
//!
//! It *settles*: the requests that ran when it began finish, while everything else is still served, and copies of what
//! waits are deposited for the next process. Then it *closes*:
//! nothing is accepted any more, the last requests finish, connections leave for the next process if there is a way
//! there, and are closed if not. At the end of the window what still runs is cut and counted. A hammer goes straight
//! there, past nothing but the connections that can leave at once.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;

use super::Server;
use super::gauges::Gauges;
use super::last_exit::LastExit;
use super::registry::Phase;
use crate::handover::Carrier;
use crate::journal::{self, DrainSummary, Event};
use crate::systemd::unit::StopTimeout;

/// The window where nothing sets a limit from outside: a terminal, a container's main process.
pub const WINDOW_ALONE: Duration = Duration::from_secs(30);

/// The window under systemd as long as `TimeoutStopSec=` isn't known: less than what the shipped unit says.
pub const WINDOW_UNKNOWN: Duration = Duration::from_secs(25);

/// How long settling may take at most without a window.
const SETTLE_AT_MOST: Duration = Duration::from_secs(300);

/// How long workers may take to name the requests that have to be cut, and then to end.
const LAST_WORDS: Duration = Duration::from_millis(100);

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
    async fn known(&mut self, server: &Server) {
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

    fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    fn is_awaited(&self) -> bool {
        matches!(self, Self::Awaited(_))
    }
}

impl Plan {
    /// Sets the end of the window, after which the process ends whatever happens.
    fn end_by(&self, end: Option<Instant>) {
        if let Some(last_exit) = &self.last_exit {
            last_exit.at(end.map(|end| end + LAST_EXIT));
        }
    }
}

#[derive(PartialEq, Eq)]
enum Waited {
    Reached,
    OutOfTime,
    Hammered,
}

/// Drains `server` to its end.
pub async fn drain(server: &mut Server, mut plan: Plan) -> DrainSummary {
    let began = plan.began;
    let gauges = Arc::clone(server.gauges());
    if !plan.succeeded {
        gauges.set_draining();
    }
    let (answered, accepted, connections) = (gauges.answered(), gauges.accepted(), gauges.connections());
    let window = *plan.window.borrow_and_update();
    // First of all: a thread that gets stuck from here on doesn't hold up the end.
    plan.end_by(deadline(began, window));
    journal::log(Event::DrainBegan { cause: plan.cause, window, requests: gauges.requests(), connections });
    let mut waited = Waited::Reached;
    if plan.settle != Some(Duration::ZERO) {
        server.enter(Phase::Settling);
        waited = wait(server, &mut plan, began, Phase::Settling).await;
    }
    let carried = find_carrier(server, &mut plan, began, &mut waited).await;
    let settle = began.elapsed();
    if waited != Waited::Hammered {
        server.enter(Phase::Closing);
        wait(server, &mut plan, began, Phase::Closing).await;
    } else if carried {
        server.enter(Phase::Closing);
        let _ = tokio::time::timeout(LAST_WORDS, closed(server, entered(&plan, Phase::Closing))).await;
    }

    let ever = connections + usize::try_from(gauges.accepted() - accepted).unwrap_or(usize::MAX);
    let closed = ever.saturating_sub(gauges.connections() + gauges.handed_over());
    let routes = cut(server).await;
    DrainSummary {
        cause: plan.cause,
        settle,
        close: began.elapsed().saturating_sub(settle),
        finished: gauges.answered() - answered,
        cut: routes.values().sum(),
        cut_routes: routes.iter().map(|(route, times)| format!("{route} ({times})")).collect::<Vec<_>>().join(", "),
        closed,
        handed_over: gauges.handed_over(),
        handover: gauges.handover_time(),
    }
}

/// Waits until it is known whether connections have a way to the next process.
async fn find_carrier(server: &Server, plan: &mut Plan, began: Instant, waited: &mut Waited) -> bool {
    let end = deadline(began, *plan.window.borrow());
    if *waited != Waited::Hammered {
        tokio::select! {
            () = plan.way.known(server) => {}
            () = at(end) => {}
            Some(cause) = plan.hammer.recv() => {
                journal::log(Event::Hammer { cause });
                *waited = Waited::Hammered;
            }
        }
    }
    if *waited == Waited::Hammered {
        // The hammer is for what runs. Idle connections are on their way in a moment, if there is one.
        let _ = tokio::time::timeout(LAST_WORDS, plan.way.known(server)).await;
    }
    plan.way.is_open()
}

/// How many phases a worker has entered by the time that it is in this one.
fn entered(plan: &Plan, phase: Phase) -> u64 {
    match phase {
        Phase::Closing if plan.settle != Some(Duration::ZERO) => 2,
        _ => 1,
    }
}

/// Waits until every connection has left that isn't busy.
async fn closed(server: &Server, entered: u64) {
    loop {
        let gauges = server.gauges();
        let all_in = gauges.workers().iter().all(|worker| worker.phase.load(Ordering::Acquire) >= entered);
        if all_in && gauges.connections() <= gauges.requests() {
            return;
        }
        server.progress.notified().await;
    }
}

/// Waits until a phase has reached its aim, its time is over, or the hammer falls.
async fn wait(server: &Server, plan: &mut Plan, began: Instant, phase: Phase) -> Waited {
    let entered = entered(plan, phase);
    let mut told = false;
    loop {
        let workers = server.gauges.workers();
        let all_in = workers.iter().all(|worker| worker.phase.load(Ordering::Acquire) >= entered);
        if all_in
            && phase == Phase::Closing
            && let Some(closed) = plan.closed.take()
        {
            server.close_listeners();
            let _ = closed.send(()); // whoever asked may have gone
        }
        let alone = plan.pending.iter_mut().all(|pending| *pending.borrow_and_update() == 0);
        let reached = match phase {
            Phase::Settling => workers.iter().all(|worker| worker.running_since_before.load(Ordering::Acquire) == 0),
            _ => server.gauges.connections() == 0,
        };
        if all_in && reached && alone {
            return Waited::Reached;
        }
        if phase == Phase::Closing && all_in && !told {
            told = tell_handed_over(&server.gauges);
        }
        let window = *plan.window.borrow_and_update();
        let end = deadline(began, window);
        plan.end_by(end);
        let until = match phase {
            Phase::Settling => {
                let settle = plan.settle.unwrap_or_else(|| window.map_or(SETTLE_AT_MOST, |window| window / 2));
                Some(end.map_or(began + settle, |end| end.min(began + settle)))
            }
            _ => end,
        };
        tokio::select! {
            () = server.progress.notified() => {}
            () = at(until) => return Waited::OutOfTime,
            Some(cause) = plan.hammer.recv() => {
                journal::log(Event::Hammer { cause });
                return Waited::Hammered;
            }
            Ok(()) = plan.window.changed() => {}
            () = any_changed(&mut plan.pending) => {}
            () = plan.way.known(server), if plan.way.is_awaited() => {}
        }
    }
}

/// Says that all who could leave at once have left, if so: the rest may take the whole window.
fn tell_handed_over(gauges: &Gauges) -> bool {
    let (connections, requests) = (gauges.handed_over(), gauges.requests());
    let over = connections > 0 && gauges.connections() <= requests + gauges.upgraded();
    if over {
        journal::log(Event::HandedOver { connections, took: gauges.handover_time(), requests });
    }
    over
}

fn deadline(began: Instant, window: Window) -> Option<Instant> {
    window.and_then(|window| began.checked_add(window))
}

/// Waits until one of them changes; those that nobody changes any more are left out.
async fn any_changed(all: &mut [watch::Receiver<usize>]) {
    let mut changes: Vec<_> = all.iter_mut().map(|one| Box::pin(one.changed())).collect();
    poll_fn(|cx| {
        let mut changed = false;
        changes.retain_mut(|change| match change.as_mut().poll(cx) {
            Poll::Ready(Ok(())) => {
                changed = true;
                true
            }
            Poll::Ready(Err(_)) => false,
            Poll::Pending => true,
        });
        if changed { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

/// Cuts what still runs, and counts it by route.
async fn cut(server: &mut Server) -> BTreeMap<String, usize> {
    let mut routes = BTreeMap::new();
    if server.gauges.connections() > 0 {
        let counted = server.gauges.requests() + server.gauges.upgraded();
        let at_stake = server.at_stake(LAST_WORDS).await;
        // A stuck worker can't name its requests, but they count.
        let unnamed = counted.saturating_sub(at_stake.len());
        for route in at_stake {
            let route = route.map_or_else(|| "(no route)".to_owned(), |route| route.to_string());
            *routes.entry(route).or_default() += 1;
        }
        if unnamed > 0 {
            *routes.entry("(unknown)".to_owned()).or_default() += unnamed;
        }
    }
    server.enter(Phase::Cut);
    let ended = async { while server.events.recv().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_WORDS, ended).await;
    routes
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
