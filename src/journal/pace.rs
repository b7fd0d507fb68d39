//! Saying the same thing again, but not too often.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Permits something at most once an interval.
#[derive(Debug)]
pub struct Pace {
    every: Duration,
    last: Mutex<Option<Instant>>,
}

impl Pace {
    /// Permits at most once `every` so long.
    #[must_use]
    pub const fn new(every: Duration) -> Self {
        Self { every, last: Mutex::new(None) }
    }

    /// Whether it may be done now; a yes begins the next interval.
    pub fn permits(&self) -> bool {
        let Ok(mut last) = self.last.lock() else { return false };
        let now = Instant::now();
        let permits = last.is_none_or(|last| now.duration_since(last) >= self.every);
        if permits {
            *last = Some(now);
        }
        permits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_once_an_interval() {
        let hourly = Pace::new(Duration::from_secs(3600));
        assert!(hourly.permits());
        assert!(!hourly.permits());
        let always = Pace::new(Duration::ZERO);
        assert!(always.permits());
        assert!(always.permits());
    }
}
