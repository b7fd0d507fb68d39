//! What a process begins with: what systemd has passed, whom it follows, and whom it tells how it gets on.

use std::time::{Duration, Instant};

use super::descriptors;
use super::error::Error;
use crate::handover;
use crate::handover::adopt;
use crate::handover::predecessor::{Complaints, Predecessor};
use crate::journal::{self, Event};
use crate::systemd::activation::{self, Inherited};
use crate::systemd::notify::{Notification, Notifier};

/// How long a process that couldn't start waits for its last words to be taken.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a process begins with. The first one made gets everything; there is nothing left for others.
pub(crate) struct Origin {
    /// What was passed to it; why that can't be used, if so.
    pub(super) inherited: Result<Inherited, Error>,
    /// The process that has started this one, if it is a successor.
    pub(super) predecessor: Option<Predecessor>,
    complaints: Option<Complaints>,
    pub(super) notifier: Notifier,
    /// When the process began.
    pub(super) began: Instant,
}

impl Origin {
    /// Takes all of it.
    pub(crate) fn take() -> Self {
        let began = Instant::now();
        let mut inherited = activation::take(handover::is_stored).map_err(|error| Error::passed(&error));
        let mut predecessor = None;
        if let Ok(passed) = &mut inherited {
            descriptors::raise_limit();
            adopt::make_room(&passed.stored, descriptors::connections_at_most());
            if let Some(link) = passed.link.take() {
                match Predecessor::greet(link, descriptors::connections_at_most()) {
                    Ok(greeted) => predecessor = Some(greeted),
                    Err(error) => inherited = Err(Error::Predecessor(error)),
                }
            }
        }
        let complaints = predecessor.as_ref().map(Predecessor::complaints);
        Self { inherited, predecessor, complaints, notifier: Notifier::none(), began }
    }

    /// Tells systemd how it gets on, from now on.
    pub(crate) fn notify(&mut self) {
        self.notifier = Notifier::from_env();
        if self.is_successor() {
            self.notifier.silence();
        }
    }

    /// Whether this process was started by another, which goes on unless this one takes over.
    pub(crate) fn is_successor(&self) -> bool {
        self.complaints.is_some()
    }

    /// The number of this process since the service was first started.
    pub(crate) fn generation(&self) -> u64 {
        let follows = self.predecessor.as_ref().map(|predecessor| predecessor.hello().generation);
        let left = || adopt::former_generation(&self.inherited.as_ref().ok()?.stored);
        follows.unwrap_or_else(|| left().max(super::generation::last()).unwrap_or(0)) + 1
    }

    pub(crate) fn reporter(&self) -> Reporter {
        Reporter { complaints: self.complaints.clone(), notifier: self.notifier.clone() }
    }
}

/// Says why a process couldn't start, or go on.
pub(crate) struct Reporter {
    complaints: Option<Complaints>,
    notifier: Notifier,
}

impl Reporter {
    /// Says so: to the process that goes on, or else to journald, and to whoever types `systemctl status`.
    pub(crate) fn failed(&self, reason: &str, errno: u32) {
        if let Some(complaints) = &self.complaints {
            complaints.failed(reason);
            return;
        }
        journal::log_returned(Event::StartFailed { reason: reason.to_owned() });
        let first_line = reason.lines().next().unwrap_or_default();
        self.notifier.send(Notification::Failed { status: format!("Cannot start: {first_line}"), errno });
        journal::flush(LAST_WORDS);
        self.notifier.flush(LAST_WORDS);
    }
}
