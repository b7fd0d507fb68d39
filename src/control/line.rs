//! `STATUS=`: what the service is doing, in one line.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval_at};

use crate::journal::{DrainSummary, count, human};
use crate::server::drain::Window;
use crate::server::gauges::Gauges;
use crate::systemd::notify::{Notification, Notifier};

/// How often it may change.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// What the service is doing.
pub(super) enum Stage {
    Serving(Serving),
    Draining { began: Instant, window: watch::Receiver<Window> },
}

/// What is served, and what there is to know beside that.
#[derive(Clone, Default)]
pub(super) struct Serving {
    /// `12 routes`.
    pub(super) what: String,
    /// That the last good configuration is in use; that a reload has failed.
    pub(super) notes: Vec<String>,
}

impl Stage {
    /// In one line, with the numbers of this moment.
    pub(super) fn describe(&self, gauges: &Gauges) -> String {
        let requests = count(gauges.requests(), "request");
        match self {
            Self::Serving(Serving { what, notes }) => {
                let connections = count(gauges.connections(), "connection");
                let notes: String = notes.iter().map(|note| format!("; {note}")).collect();
                format!("Serving {what}: {connections}, {requests}{notes}")
            }
            Self::Draining { began, window } => {
                let gone = began.elapsed().as_secs();
                match *window.borrow() {
                    Some(window) => {
                        format!("Draining: {requests} left, {gone} s of {} s", window.as_secs_f64().round())
                    }
                    None => format!("Draining: {requests} left, {gone} s, without a limit"),
                }
            }
        }
    }
}

/// The last one.
pub(super) fn ended(drain: &DrainSummary) -> String {
    match drain.cut {
        0 => format!("Drained in {}, no request cut", human(drain.settle + drain.close)),
        cut => format!("Drained in {}, {} cut", human(drain.settle + drain.close), count(cut, "request")),
    }
}

/// Keeps `STATUS=` true: sent when it has changed, and not more often than once a second.
pub(super) struct StatusLine {
    pub(super) notifier: Notifier,
    pub(super) gauges: Arc<Gauges>,
    pub(super) stage: watch::Receiver<Stage>,
    /// What was sent last.
    pub(super) sent: String,
}

impl StatusLine {
    pub(super) async fn keep(mut self) {
        if !self.notifier.enabled() {
            return;
        }
        let mut tick = interval_at(tokio::time::Instant::now() + STATUS_EVERY, STATUS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                changed = self.stage.changed() => match changed {
                    // Whoever enters a stage says so at once.
                    Ok(()) => {
                        tick.reset();
                        continue;
                    }
                    Err(_) => return,
                },
            }
            let now = self.stage.borrow().describe(&self.gauges);
            if now != self.sent {
                self.notifier.send(Notification::Status(now.clone()));
                self.sent = now;
            }
        }
    }
}
