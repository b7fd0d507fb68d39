//! What the connections are doing, counted when somebody asks.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::worker::Command;

/// How many connections are doing what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// A request runs, or the end of its answer waits for the client to take it.
    pub busy: usize,
    /// They have been served, and wait for the next request.
    pub idle: usize,
    /// They haven't sent a whole request yet.
    pub fresh: usize,
    /// They are the application's: WebSockets, for one.
    pub upgraded: usize,
}

impl Census {
    pub(super) fn add(&mut self, other: Self) {
        self.busy += other.busy;
        self.idle += other.idle;
        self.fresh += other.fresh;
        self.upgraded += other.upgraded;
    }
}

/// Takes the census of all workers.
#[derive(Clone, Debug)]
pub struct CensusTaker {
    pub(super) workers: Vec<mpsc::UnboundedSender<Command>>,
}

impl CensusTaker {
    /// Counts; a worker that doesn't answer within `patience` is left out.
    pub async fn take(&self, patience: Duration) -> Census {
        let deadline = tokio::time::Instant::now() + patience;
        let ask = |worker: &mpsc::UnboundedSender<Command>| {
            let (answer, asked) = oneshot::channel();
            let _ = worker.send(Command::Census(answer)); // one that is gone has no connections
            asked
        };
        let mut all = Census::default();
        for answer in self.workers.iter().map(ask).collect::<Vec<_>>() {
            if let Ok(Ok(census)) = tokio::time::timeout_at(deadline, answer).await {
                all.add(census);
            }
        }
        all
    }
}
