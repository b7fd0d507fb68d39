//! The timeline as SVG: answers as points over time and latency, failures above, the commands' spans behind, throughput
//! below. Colours come from the page's style.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use crate::rehearse::summary::time;
use crate::rehearse::tally::{Kind, Round, Tally};

/// The drawing, in units of the view box.
const WIDTH: f64 = 1120.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
/// Where the failures' lane, the points and the throughput begin and end, from the top.
const LANE: (f64, f64) = (20.0, 54.0);
const POINTS: (f64, f64) = (64.0, 358.0);
const RATE: (f64, f64) = (382.0, 458.0);
const HEIGHT: f64 = 484.0;

/// Points that fall into the same square of this size are drawn once, and the stronger the more they are.
const CELL: f64 = 1.6;

/// The width of a bar of failures.
const BAR: f64 = 2.0;

/// The narrowest shade, so that a quick command can be seen.
const THINNEST: f64 = 1.5;

/// A part of the run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub from: Duration,
    pub to: Duration,
    /// What the axis calls 0.
    pub origin: Duration,
}

/// The failures that one bar shows.
#[derive(Clone, Copy, Debug, Default)]
struct Column {
    all: u32,
    lost: u32,
}

/// A chart of one window.
pub(super) struct Chart<'a> {
    tally: &'a Tally,
    window: Window,
    /// The round that is enlarged.
    round: Option<&'a Round>,
    /// The decades of latency shown, as powers of ten of a microsecond.
    decades: (i32, i32),
    svg: String,
}

impl<'a> Chart<'a> {
    pub(super) fn new(tally: &'a Tally, window: Window, round: Option<&'a Round>) -> Self {
        let decade = |micros: u64| (micros.max(10) as f64).log10();
        let lowest = decade(tally.latencies.min()).floor() as i32;
        let highest = (decade(tally.latencies.max()).ceil() as i32).max(lowest + 2);
        Self { tally, window, round, decades: (lowest, highest), svg: String::new() }
    }

    pub(super) fn svg(mut self) -> String {
        _ = writeln!(
            self.svg,
            "<div class=\"wide\"><svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"Latency of answers, failures and throughput over time\">"
        );
        self.commands();
        self.latency_axis();
        self.time_axis();
        self.points();
        self.gap();
        self.failures();
        self.throughput();
        self.svg.push_str("</svg></div>\n");
        self.svg
    }

    fn span(&self) -> f64 {
        (self.window.to - self.window.from).as_secs_f64()
    }

    /// Where a time lies; outside of the window beyond the drawing's edges.
    fn x(&self, at: Duration) -> f64 {
        let since = at.as_secs_f64() - self.window.from.as_secs_f64();
        LEFT + since / self.span() * (WIDTH - LEFT - RIGHT)
    }

    fn contains(&self, at: Duration) -> bool {
        (self.window.from..=self.window.to).contains(&at)
    }

    fn y(&self, micros: f64) -> f64 {
        let (lowest, highest) = self.decades;
        let share = (micros.max(1.0).log10() - f64::from(lowest)) / f64::from(highest - lowest);
        POINTS.1 - share.clamp(0.0, 1.0) * (POINTS.1 - POINTS.0)
    }

    fn commands(&mut self) {
        let mut last_label = f64::MIN;
        for (number, round) in (1..).zip(&self.tally.rounds) {
            let Some(command) = &round.command else { continue };
            let end = command.started + command.took;
            if end < self.window.from || command.started > self.window.to {
                continue;
            }
            let from = self.x(command.started).max(LEFT);
            let width = (self.x(end).min(WIDTH - RIGHT) - from).max(THINNEST);
            let (top, height) = (LANE.0, RATE.1 - LANE.0);
            let took = time(command.took);
            _ = writeln!(
                self.svg,
                "<rect class=\"command\" x=\"{from:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"{height}\">\
                 <title>round {number}: the command took {took}</title></rect>"
            );
            let label = if self.round.is_some() { format!("command, {took}") } else { number.to_string() };
            let middle = from + width / 2.0;
            // Rather none than one over the other.
            if middle - last_label > 18.0 {
                last_label = middle;
                _ = writeln!(self.svg, "<text class=\"round\" x=\"{middle:.1}\" y=\"14\">{label}</text>");
            }
        }
    }

    fn latency_axis(&mut self) {
        for decade in self.decades.0..=self.decades.1 {
            let y = self.y(10f64.powi(decade));
            let label = decade_name(decade);
            let (end, text_x, text_y) = (WIDTH - RIGHT, LEFT - 8.0, y + 4.0);
            _ = writeln!(self.svg, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{end}\"/>");
            _ = writeln!(self.svg, "<text class=\"y\" x=\"{text_x}\" y=\"{text_y:.1}\">{label}</text>");
        }
        _ = writeln!(self.svg, "<text class=\"y\" x=\"{}\" y=\"{}\">failed</text>", LEFT - 8.0, LANE.1 - 5.0);
    }

    fn time_axis(&mut self) {
        let step = nice_step(self.span() / 10.0);
        let origin = self.window.origin.as_secs_f64();
        let (first, last) = (self.window.from.as_secs_f64() - origin, self.window.to.as_secs_f64() - origin);
        let mut tick = (first / step).ceil() as i64;
        while tick as f64 * step <= last {
            let seconds = tick as f64 * step;
            let x = LEFT + (seconds - first) / self.span() * (WIDTH - LEFT - RIGHT);
            let label = if step < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.0} s") };
            _ = writeln!(self.svg, "<path class=\"tick\" d=\"M{x:.1} {}v5\"/>", RATE.1);
            _ = writeln!(self.svg, "<text class=\"x\" x=\"{x:.1}\" y=\"{}\">{label}</text>", RATE.1 + 19.0);
            tick += 1;
        }
    }

    /// One path for each kind and strength: many points, few elements.
    fn points(&mut self) {
        let mut cells: BTreeMap<(usize, i32, i32), u32> = BTreeMap::new();
        for point in self.tally.timeline.points.iter().filter(|point| self.contains(point.at())) {
            let (x, y) = (self.x(point.at()), self.y(point.took().as_micros() as f64));
            *cells.entry((point.kind() as usize, (x / CELL) as i32, (y / CELL) as i32)).or_default() += 1;
        }
        let mut paths: BTreeMap<(usize, &str), String> = BTreeMap::new();
        for ((kind, x, y), count) in cells {
            let strength = match count {
                1 => "few",
                2..=5 => "some",
                _ => "many",
            };
            let (x, y) = (f64::from(x) * CELL, f64::from(y) * CELL);
            _ = write!(paths.entry((kind, strength)).or_default(), "M{x:.1} {y:.1}h0");
        }
        let size = if self.round.is_some() { "large" } else { "small" };
        for ((kind, strength), path) in paths {
            let name = Kind::ALL[kind].name();
            _ = writeln!(self.svg, "<path class=\"points {size} {name} {strength}\" d=\"{path}\"/>");
        }
    }

    /// The longest time without a good answer, in the round that is enlarged.
    fn gap(&mut self) {
        let Some(round) = self.round else { return };
        let began = round.gap_ended.saturating_sub(round.gap);
        if !self.contains(round.gap_ended) || !self.contains(began) {
            return;
        }
        let (from, to, y) = (self.x(began), self.x(round.gap_ended), POINTS.0 + 14.0);
        let label = format!("gap {}", time(round.gap));
        _ = writeln!(self.svg, "<path class=\"gap\" d=\"M{from:.1} {y}v-5v10v-5H{to:.1}v-5v10\"/>");
        _ = writeln!(self.svg, "<text class=\"gap\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>", to + 7.0, y + 4.0);
    }

    /// Bars in the lane above, the higher the more failed: logarithmic too, so that a single one can be seen.
    fn failures(&mut self) {
        let mut columns: BTreeMap<i32, Column> = BTreeMap::new();
        for incident in self.tally.incidents.iter().filter(|incident| self.contains(incident.at)) {
            let column = columns.entry((self.x(incident.at) / BAR) as i32).or_default();
            column.all += 1;
            column.lost += u32::from(incident.class.lost());
        }
        let most = columns.values().map(|column| column.all).max().unwrap_or_default();
        let height = |count: u32| {
            let share = f64::from(count).ln_1p() / f64::from(most).ln_1p();
            (LANE.1 - LANE.0) * share.max(0.2)
        };
        let (mut stale, mut lost) = (String::new(), String::new());
        for (x, column) in columns {
            let x = (f64::from(x) + 0.5) * BAR;
            _ = write!(stale, "M{x:.1} {}v{:.1}", LANE.1, -height(column.all));
            if column.lost > 0 {
                _ = write!(lost, "M{x:.1} {}v{:.1}", LANE.1, -height(column.lost));
            }
        }
        for (class, path) in [("stale", stale), ("lost", lost)] {
            if !path.is_empty() {
                _ = writeln!(self.svg, "<path class=\"{class}\" d=\"{path}\"/>");
            }
        }
    }

    fn throughput(&mut self) {
        // Some 280 steps, of at least 4 ms in order not to draw noise.
        let width = (self.span() / 280.0).max(0.004);
        let count = (self.span() / width).ceil() as usize;
        let place = |at: Duration| {
            let since = at.checked_sub(self.window.from)?.as_secs_f64();
            Some((since / width) as usize).filter(|&place| place < count)
        };
        let mut bins = vec![0_u32; count];
        for place in self.tally.timeline.points.iter().filter_map(|point| place(point.at())) {
            bins[place] += 1;
        }
        // The last one may be only partly within the window.
        let rates: Vec<f64> = bins.iter().map(|&answers| f64::from(answers) / width).collect();
        let top = rates.iter().copied().fold(1.0, f64::max);
        let mut path = format!("M{LEFT} {}", RATE.1);
        let step = width / self.span() * (WIDTH - LEFT - RIGHT);
        for (place, rate) in rates.iter().enumerate() {
            let y = RATE.1 - rate / top * (RATE.1 - RATE.0);
            let end = (LEFT + step * (place + 1) as f64).min(WIDTH - RIGHT);
            _ = write!(path, "V{y:.1}H{end:.1}");
        }
        _ = writeln!(self.svg, "<path class=\"rate\" d=\"{path}V{}Z\"/>", RATE.1);
        let (x, label) = (LEFT - 8.0, rate_name(top));
        _ = writeln!(self.svg, "<path class=\"axis\" d=\"M{LEFT} {}H{}\"/>", RATE.1, WIDTH - RIGHT);
        _ = writeln!(self.svg, "<text class=\"y\" x=\"{x}\" y=\"{}\">{label}</text>", RATE.0 + 5.0);
        _ = writeln!(self.svg, "<text class=\"y\" x=\"{x}\" y=\"{}\">0</text>", RATE.1 + 4.0);
    }
}

/// `10^decade` microseconds.
fn decade_name(decade: i32) -> String {
    let micros = 10f64.powi(decade);
    match decade {
        ..3 => format!("{} ms", micros / 1e3),
        3..6 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.0} s", micros / 1e6),
    }
}

fn rate_name(rate: f64) -> String {
    if rate >= 1e3 { format!("{:.1}k/s", rate / 1e3) } else { format!("{rate:.0}/s") }
}

/// The next of 1, 2, 5, 10, 20...
fn nice_step(least: f64) -> f64 {
    let decade = 10f64.powf(least.max(1e-6).log10().floor());
    [1.0, 2.0, 5.0].map(|factor| factor * decade).into_iter().find(|&step| step >= least).unwrap_or(10.0 * decade)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_names() {
        assert_eq!([0.3, 0.7, 1.0, 4.2, 6.0].map(nice_step), [0.5, 1.0, 1.0, 5.0, 10.0]);
        assert_eq!([1, 2, 3, 5, 6].map(decade_name), ["0.01 ms", "0.1 ms", "1 ms", "100 ms", "1 s"]);
        assert_eq!([640.4, 20_480.0].map(rate_name), ["640/s", "20.5k/s"]);
    }
}
