//! How a server has ended.

use std::process::{ExitCode, Termination};
use std::time::Duration;

use crate::journal::DrainSummary;

/// How a server has ended.
///
/// As the value of `main` it makes the exit status: 0, or 1 if requests were cut. Where nothing was served, since `main` has
/// done something else, it is `Ended::default()`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Ended {
    /// What began the end: `SIGTERM`, `reload`.
    pub cause: &'static str,
    /// How long it took from then on.
    pub took: Duration,
    /// Requests that finished meanwhile.
    pub finished: u64,
    /// Requests that were cut.
    pub cut: usize,
    /// Background tasks that still ran at the end: see [`Tasks`](crate::Tasks).
    pub tasks_cut: usize,
    /// Connections that were handed over to the next process.
    pub handed_over: usize,
    /// Connections that were closed.
    pub closed: usize,
}

impl Ended {
    pub(super) fn new(drain: &DrainSummary, tasks_cut: usize) -> Self {
        Self {
            cause: drain.cause,
            took: drain.settle + drain.close,
            finished: drain.finished,
            cut: drain.cut,
            tasks_cut,
            handed_over: drain.handed_over,
            closed: drain.closed,
        }
    }

    /// Whether neither a request nor a background task was cut.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.cut == 0 && self.tasks_cut == 0
    }
}

impl Termination for Ended {
    fn report(self) -> ExitCode {
        if self.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
