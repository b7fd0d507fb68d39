//! The numbers that a running server shows of itself, shared by all workers.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Live counts. Reading them costs nothing; they are exact for the moment they are read at.
#[derive(Debug)]
pub struct Gauges {
    /// Connections that are open.
    pub connections: AtomicUsize,
    /// Requests that run: their head was read and their answer isn't wholly out.
    pub requests: AtomicUsize,
    /// Requests answered since the process began.
    pub answered: AtomicU64,
    /// Connections accepted since the process began.
    pub accepted: AtomicU64,
    draining: AtomicBool,
    generation: AtomicU64,
    began: Instant,
}

impl Gauges {
    /// All zero, beginning now.
    #[must_use]
    pub fn new(generation: u64) -> Self {
        Self {
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            generation: AtomicU64::new(generation),
            began: Instant::now(),
        }
    }

    /// Whether a drain has begun.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Which process this is since the service was first started: the first is 1, its follower 2.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// How long the process has served.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.began.elapsed()
    }
}
