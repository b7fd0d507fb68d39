//! The drain: from the wish to end to the end, within a window.
//!
//! It *settles*: the requests that ran when it began finish, while everything else is still served, and copies of what
//! waits are kept true for the next process. Then it *closes*: nothing is accepted any more, the last requests finish,
//! connections leave for the next process if there is a way there, and are closed if not. At the end of the window what
//! still runs is cut and counted. A hammer goes straight there, past nothing but the connections that can leave at once.

mod plan;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep_until;

use super::Server;
use super::gauges::Gauges;
use super::registry::Phase;
use crate::journal::{self, DrainSummary, Event};

pub use plan::{Plan, WINDOW_ALONE, WINDOW_UNKNOWN, Way, Window, window_within};

/// How long settling may take at most without a window.
const SETTLE_AT_MOST: Duration = Duration::from_secs(300);

/// How long workers may take to name the requests that have to be cut, and then to end.
const LAST_WORDS: Duration = Duration::from_millis(100);

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
