//! The numbers that a running server shows of itself.
//!
//! Each worker counts on cache lines of its own, so that counting costs next to nothing; readers add up.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Live counts. Each is exact for the moment it is read at; two of them were not read at the same moment.
#[derive(Debug)]
pub struct Gauges {
    workers: OnceLock<Box<[WorkerGauges]>>,
    draining: AtomicBool,
    came_back: AtomicUsize,
    generation: u64,
    began: Instant,
}

/// One worker's counts, on cache lines that no other worker writes to.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WorkerGauges {
    pub(crate) connections: AtomicUsize,
    pub(crate) requests: AtomicUsize,
    /// Connections that are the application's.
    pub(crate) upgraded: AtomicUsize,
    pub(crate) answered: AtomicU64,
    pub(crate) accepted: AtomicU64,
    /// Requests that ran when the drain began and still run.
    pub(crate) running_since_before: AtomicUsize,
    /// Connections that have left for the next process.
    pub(crate) handed_over: AtomicUsize,
    /// Copies of connections that were deposited.
    pub(crate) entrusted: AtomicUsize,
    /// How long that has taken, in microseconds.
    pub(crate) handover_usec: AtomicU64,
    /// The number of the last heartbeat answered.
    pub(crate) heartbeat: AtomicU64,
    /// How often the worker has taken notice of a change of phase.
    pub(crate) phase: AtomicU64,
}

/// Only the worker's own thread changes these, so nothing has to be locked for it.
impl WorkerGauges {
    pub(crate) fn request_begins(&self) {
        self.requests.store(self.requests.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(crate) fn request_ends(&self) {
        self.requests.store(self.requests.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
    }

    pub(crate) fn request_was_answered(&self) {
        self.answered.store(self.answered.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

impl Gauges {
    /// All zero, beginning now.
    #[must_use]
    pub fn new(generation: u64, workers: usize) -> Self {
        let gauges = Self::before_workers(generation);
        gauges.set_workers(workers);
        gauges
    }

    /// All zero, beginning now; how many workers there will be isn't known yet.
    pub(crate) fn before_workers(generation: u64) -> Self {
        Self {
            workers: OnceLock::new(),
            draining: AtomicBool::new(false),
            came_back: AtomicUsize::new(0),
            generation,
            began: Instant::now(),
        }
    }

    /// Says how many workers there are. The first call counts.
    pub(crate) fn set_workers(&self, workers: usize) {
        let _ = self.workers.set((0..workers).map(|_| WorkerGauges::default()).collect());
    }

    /// Connections that are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.workers().iter().map(|worker| worker.connections.load(Ordering::Relaxed)).sum()
    }

    /// Connections that are open, by worker.
    #[must_use]
    pub fn connections_by_worker(&self) -> Vec<usize> {
        self.workers().iter().map(|worker| worker.connections.load(Ordering::Relaxed)).collect()
    }

    /// Requests that run: their head was read, and their answer isn't wholly out.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.workers().iter().map(|worker| worker.requests.load(Ordering::Relaxed)).sum()
    }

    /// Connections that the application has upgraded, and not ended yet.
    #[must_use]
    pub fn upgraded(&self) -> usize {
        self.workers().iter().map(|worker| worker.upgraded.load(Ordering::Relaxed)).sum()
    }

    /// Requests answered since the process began.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.workers().iter().map(|worker| worker.answered.load(Ordering::Relaxed)).sum()
    }

    /// Connections accepted since the process began.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.workers().iter().map(|worker| worker.accepted.load(Ordering::Relaxed)).sum()
    }

    /// Connections that have left for the next process.
    #[must_use]
    pub fn handed_over(&self) -> usize {
        let left: usize = self.workers().iter().map(|worker| worker.handed_over.load(Ordering::Relaxed)).sum();
        left.saturating_sub(self.came_back.load(Ordering::Relaxed))
    }

    /// Counts connections that had left and have come back.
    pub(crate) fn take_back(&self, connections: usize) {
        self.came_back.fetch_add(connections, Ordering::Relaxed);
    }

    /// How long it took to let them leave, by the worker that took longest.
    #[must_use]
    pub fn handover_time(&self) -> Duration {
        let longest = self.workers().iter().map(|worker| worker.handover_usec.load(Ordering::Relaxed)).max();
        Duration::from_micros(longest.unwrap_or(0))
    }

    /// Whether a drain has begun.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Which process this is since the service was first started: the first is 1, its follower 2.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How long the process has served.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn worker(&self, index: usize) -> &WorkerGauges {
        &self.workers()[index]
    }

    pub(crate) fn workers(&self) -> &[WorkerGauges] {
        self.workers.get().map_or(&[], AsRef::as_ref)
    }
}
