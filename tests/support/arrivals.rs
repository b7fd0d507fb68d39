//! What arrives from another process, in order, and waiting for it.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines, messages or entries as they arrive.
pub struct Arrivals<T> {
    arrived: Mutex<Vec<T>>,
    more: Condvar,
}

impl<T> Default for Arrivals<T> {
    fn default() -> Self {
        Self { arrived: Mutex::new(Vec::new()), more: Condvar::new() }
    }
}

impl<T> Arrivals<T> {
    /// Adds one.
    pub fn push(&self, item: T) {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).push(item);
        self.more.notify_all();
    }

    /// Looks at everything that has arrived, each time that more has, until there is something to see; `None` if there
    /// is nothing within `limit`.
    pub fn wait<R>(&self, limit: Duration, mut look: impl FnMut(&[T]) -> Option<R>) -> Option<R> {
        let deadline = Instant::now() + limit;
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(seen) = look(&arrived) {
                return Some(seen);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            arrived = self.more.wait_timeout(arrived, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Looks at everything that has arrived so far.
    pub fn read<R>(&self, read: impl FnOnce(&[T]) -> R) -> R {
        read(&self.arrived.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
