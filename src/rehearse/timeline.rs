//! When what happened: answers in bins of a tenth of a second, and, for the report, each answer as a point.

use std::time::Duration;

use super::tally::Kind;

/// The width of a bin.
pub(super) const BIN: Duration = Duration::from_millis(100);

/// The most points that are kept: 256 MiB of them, an hour at 9 000 answers a second.
const MOST_POINTS: usize = 32 << 20;

/// The unit of a point's time, which makes 32 bits last for eleven hours.
const TICK_MICROS: u128 = 10;

/// One answer, packed: 32 bits of time in ticks, 29 bits of latency in microseconds, 3 bits of kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point(u64);

impl Point {
    const LATENCY_BITS: u32 = 29;

    fn new(at: Duration, took: Duration, kind: Kind) -> Self {
        let ticks = (at.as_micros() / TICK_MICROS).min(u128::from(u32::MAX)) as u64;
        let micros = took.as_micros().min((1 << Self::LATENCY_BITS) - 1) as u64;
        Self(ticks << 32 | micros << 3 | kind as u64)
    }

    /// Since the run's start.
    pub(super) fn at(self) -> Duration {
        Duration::from_micros((self.0 >> 32) * TICK_MICROS as u64)
    }

    pub(super) fn took(self) -> Duration {
        Duration::from_micros(self.0 >> 3 & ((1 << Self::LATENCY_BITS) - 1))
    }

    pub(super) fn kind(self) -> Kind {
        Kind::ALL[(self.0 & 7) as usize]
    }
}

/// Answers and failures that ended in one bin.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bin {
    pub answers: u32,
    pub failures: u32,
}

/// What happened when.
#[derive(Debug)]
pub(super) struct Timeline {
    pub bins: Vec<Bin>,
    /// Empty unless a report is wanted.
    pub points: Vec<Point>,
    keep_points: bool,
}

impl Timeline {
    pub(super) fn new(keep_points: bool) -> Self {
        Self { bins: Vec::new(), points: Vec::new(), keep_points }
    }

    /// An answer at this time since the run's start.
    pub(super) fn answer(&mut self, at: Duration, took: Duration, kind: Kind) {
        self.bin(at).answers += 1;
        if self.keep_points && self.points.len() < MOST_POINTS {
            self.points.push(Point::new(at, took, kind));
        }
    }

    /// A failure at this time since the run's start.
    pub(super) fn failure(&mut self, at: Duration) {
        self.bin(at).failures += 1;
    }

    fn bin(&mut self, at: Duration) -> &mut Bin {
        let place = (at.as_millis() / BIN.as_millis()) as usize;
        if place >= self.bins.len() {
            self.bins.resize(place + 1, Bin::default());
        }
        &mut self.bins[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_keeps_what_it_was_made_of() {
        for kind in Kind::ALL {
            let point = Point::new(Duration::from_micros(3_600_000_010), Duration::from_micros(10_000_001), kind);
            assert_eq!(point.at(), Duration::from_micros(3_600_000_010));
            assert_eq!((point.took(), point.kind()), (Duration::from_micros(10_000_001), kind));
        }
        let point = Point::new(Duration::from_secs(1 << 20), Duration::from_secs(1 << 20), Kind::WebSocket);
        assert_eq!(point.kind(), Kind::WebSocket);
        assert!(point.took() > Duration::from_secs(500));
    }
}
