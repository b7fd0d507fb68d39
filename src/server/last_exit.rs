//! The end of a process that nothing else ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

/// A thread that ends the process at a given time, whatever else is stuck: it depends on no runtime and no worker.
///
/// It stands down when the last clone of this is dropped.
#[derive(Clone, Debug)]
pub struct LastExit(Arc<Alarm>);

#[derive(Debug)]
struct Alarm {
    time: Arc<Mutex<Time>>,
    thread: Option<thread::Thread>,
}

#[derive(Clone, Copy, Debug)]
enum Time {
    Never,
    At(Instant),
    Disarmed,
}

impl LastExit {
    /// Starts the thread, without a time yet.
    #[must_use]
    pub fn start() -> Self {
        let time = Arc::new(Mutex::new(Time::Never));
        let watched = Arc::clone(&time);
        let run = move || {
            loop {
                let time = *watched.lock().unwrap_or_else(PoisonError::into_inner);
                // Whoever sets another time wakes this thread.
                match time {
                    Time::Disarmed => return,
                    Time::Never => thread::park(),
                    Time::At(time) if time <= Instant::now() => std::process::exit(1),
                    Time::At(time) => thread::park_timeout(time.saturating_duration_since(Instant::now())),
                }
            }
        };
        let thread = thread::Builder::new().name("last-exit".to_owned()).spawn(run);
        Self(Arc::new(Alarm { time, thread: thread.ok().map(|handle| handle.thread().clone()) }))
    }

    /// Sets the time; `None`: never.
    pub fn at(&self, time: Option<Instant>) {
        self.0.set(time.map_or(Time::Never, Time::At));
    }
}

impl Alarm {
    fn set(&self, time: Time) {
        *self.time.lock().unwrap_or_else(PoisonError::into_inner) = time;
        if let Some(thread) = &self.thread {
            thread.unpark();
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.set(Time::Disarmed);
    }
}
