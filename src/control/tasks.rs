//! Background tasks that a drain waits for.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Background tasks that a drain waits for, within its window. Clones are of the same server.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let server = outlive::Server::new();
/// let tasks = server.tasks();
/// // In a handler: answer now, send the mail later, but before the process ends.
/// tasks.spawn(async { /* send the mail */ });
///
/// // Or, where the task isn't a future of its own:
/// let task = tasks.begin();
/// assert_eq!(tasks.running(), 2);
/// drop(task);
/// # }
/// ```
///
/// A task that has no end should watch [`Draining`](crate::Draining).
#[derive(Clone, Debug)]
pub struct Tasks {
    running: Arc<watch::Sender<usize>>,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self { running: Arc::new(watch::channel(0).0) }
    }

    /// A task begins; it ends when what is returned is dropped.
    #[must_use = "the task ends when this is dropped"]
    pub fn begin(&self) -> Task {
        self.running.send_modify(|running| *running += 1);
        Task { running: Arc::clone(&self.running) }
    }

    /// Runs a future on the runtime that calls this, as [`tokio::spawn`] does. In a handler that is the worker's, which
    /// ends with the server; at the top of the program it is the program's own.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task = self.begin();
        tokio::spawn(async move {
            let _task = task;
            future.await
        })
    }

    /// How many run.
    #[must_use]
    pub fn running(&self) -> usize {
        *self.running.borrow()
    }

    pub(super) fn watch(&self) -> watch::Receiver<usize> {
        self.running.subscribe()
    }
}

/// A background task that runs, until this is dropped. See [`Tasks::begin`].
#[derive(Debug)]
pub struct Task {
    running: Arc<watch::Sender<usize>>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.running.send_modify(|running| *running -= 1);
    }
}
