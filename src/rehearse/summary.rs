//! The summary at the end: a table for people, at most 80 columns wide.

use std::fmt;
use std::time::Duration;

use super::arguments::Plan;
use super::tally::{Kind, Latencies, Round, Survival, Tally};

/// The most runs of the command whose output is shown.
const MOST_OUTPUTS: usize = 3;

/// The widest line.
const WIDTH: usize = 80;

/// The quantiles that are shown, with their names.
pub(super) const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

/// The summary of a run, complete or broken off.
pub(super) struct Summary<'a> {
    pub plan: &'a Plan,
    pub tally: &'a Tally,
    pub interrupted: bool,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.title(f)?;
        self.clients(f)?;
        self.latencies(f)?;
        self.rounds(f)?;
        self.failures(f)?;
        self.commands(f)?;
        writeln!(f, "\n{}", verdict(self.tally, self.interrupted))
    }
}

impl Summary<'_> {
    fn title(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", cut(&format!("outlive rehearse {}", self.plan.target.url)))?;
        let done = self.tally.rounds.iter().filter(|round| round.ended.is_some()).count();
        let of = match self.plan.command_line() {
            line if line.is_empty() => "without a command".to_owned(),
            line => format!("of: {line}"),
        };
        writeln!(f, "{}", cut(&format!("{} {of}", counted(done, "round"))))
    }

    fn clients(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{:16}{:>12}{:>14}{:>12}{:>12}", "", "clients", "answers", "failed", "lost")?;
        for kind in Kind::ALL {
            let of = &self.tally.kinds[kind as usize];
            if of.clients > 0 {
                let (failed, lost) = (of.failures.total(), of.failures.lost());
                let [clients, answers, failed, lost] = [of.clients.into(), of.answers, failed, lost].map(grouped);
                writeln!(f, "{:16}{clients:>12}{answers:>14}{failed:>12}{lost:>12}", kind.name())?;
            }
        }
        let totals = self.tally.totals();
        let clients = self.tally.kinds.iter().map(|kind| u64::from(kind.clients)).sum();
        let [clients, answers, failed, lost] = [clients, totals.answers, totals.failures, totals.lost].map(grouped);
        writeln!(f, "{:16}{clients:>12}{answers:>14}{failed:>12}{lost:>12}", "all")
    }

    fn latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{:16}{:>12}{:>14}{:>12}{:>12}", "latency", "p50", "p99", "p99.9", "max")?;
        for (name, latencies) in [("overall", &self.tally.latencies), ("near a command", &self.tally.near)] {
            let [p50, p99, p999] = QUANTILES.map(|(_, quantile)| at_quantile(latencies, quantile));
            let max = micros(latencies.max());
            writeln!(f, "{name:16}{p50:>12}{p99:>14}{p999:>12}{max:>12}")?;
        }
        let [_, p99, _] = QUANTILES.map(|(_, quantile)| at_quantile(&self.tally.own_delay, quantile));
        let max = micros(self.tally.own_delay.max());
        writeln!(f, "{:16}{:>12}{p99:>14}{:>12}{max:>12}", "own delay", "", "")
    }

    fn rounds(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = &self.tally.rounds;
        writeln!(f)?;
        let mut took: Vec<Duration> = rounds.iter().filter_map(|round| Some(round.command.as_ref()?.took)).collect();
        took.sort_unstable();
        if let (Some(median), Some(longest)) = (took.get(took.len() / 2), took.last()) {
            let failed = self.tally.commands_failed();
            let (median, longest) = (time(*median), time(*longest));
            let runs = counted(took.len(), "run");
            writeln!(f, "command         {runs}, {failed} failed, median {median}, longest {longest}")?;
        }
        if let Some(since) = self.tally.command_runs().filter(|_| self.interrupted) {
            writeln!(f, "command         still ran after {}", time(since))?;
        }
        if let Some((number, gap)) = worst(rounds, |round| round.gap) {
            writeln!(f, "gap             at most {} without a good answer, in round {number}", time(gap))?;
        }
        let Survival { kept, survived } = self.tally.survival();
        if kept > 0 {
            let [kept, survived] = [kept, survived].map(|count| grouped(count as u64));
            writeln!(f, "connections     {survived} of {kept} kept-alive ones survived their round")?;
            writeln!(f, "                {} were closed in good order", grouped(self.tally.closed_in_order))?;
        }
        if self.tally.declined > 0 {
            let declined = grouped(self.tally.declined);
            writeln!(f, "                {declined} HTTP/2 streams were declined, for a retry without loss")?;
        }
        Ok(())
    }

    fn failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut heading = "\nfailures\n";
        for (class, count) in self.tally.by_class() {
            f.write_str(std::mem::take(&mut heading))?;
            writeln!(f, "{:16}{:>12}  {}", class.name(), grouped(count), class.gist())?;
        }
        Ok(())
    }

    fn commands(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = (1..).zip(&self.tally.rounds).filter_map(|(number, round)| {
            let run = round.command.as_ref()?;
            (!run.succeeded()).then_some((number, run))
        });
        for (number, run) in failed.take(MOST_OUTPUTS) {
            writeln!(f, "\nThe command failed in round {number}: {}", run.outcome)?;
            for line in run.output.lines() {
                writeln!(f, "    {line}")?;
            }
        }
        Ok(())
    }
}

/// The last line: what it all means.
pub(super) fn verdict(tally: &Tally, interrupted: bool) -> String {
    let totals = tally.totals();
    let mut sentences = Vec::new();
    if totals.failures > 0 {
        sentences.push(format!("{} failed, and {} of them were lost.", grouped(totals.failures), grouped(totals.lost)));
    }
    if tally.missed() > 0 {
        sentences.push(format!("{} did not survive.", counted(tally.missed(), "connection")));
    }
    if tally.commands_failed() > 0 {
        sentences.push(format!("The command failed {}.", counted(tally.commands_failed(), "time")));
    }
    if sentences.is_empty() {
        let nothing = if totals.answers == 0 { "Nothing was answered, and nothing failed." } else { "Nothing failed." };
        sentences.push(nothing.to_owned());
    }
    if interrupted {
        sentences.insert(0, "Interrupted.".to_owned());
    }
    sentences.join(" ")
}

/// The round, from 1, in which `what` was largest.
pub(super) fn worst<T: Ord + Copy>(rounds: &[Round], what: impl Fn(&Round) -> T) -> Option<(usize, T)> {
    (1..).zip(rounds).map(|(number, round)| (number, what(round))).max_by_key(|&(_, value)| value)
}

/// `1234567` as `1 234 567`.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `1 round`, `2 rounds`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Three digits and a unit.
pub(super) fn time(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    match millis {
        ..9.995 => format!("{millis:.2} ms"),
        ..99.95 => format!("{millis:.1} ms"),
        ..999.5 => format!("{millis:.0} ms"),
        _ => format!("{:.2} s", millis / 1e3),
    }
}

pub(super) fn micros(micros: u64) -> String {
    time(Duration::from_micros(micros))
}

pub(super) fn at_quantile(latencies: &Latencies, quantile: f64) -> String {
    if latencies.is_empty() { "-".to_owned() } else { micros(latencies.value_at_quantile(quantile)) }
}

fn cut(line: &str) -> String {
    if line.chars().count() <= WIDTH {
        return line.to_owned();
    }
    line.chars().take(WIDTH - 3).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1 000", "1 234 567"]);
        assert_eq!(
            [0, 215, 12_345, 999_400, 1_234_567].map(micros),
            ["0.00 ms", "0.21 ms", "12.3 ms", "999 ms", "1.23 s"]
        );
    }

    #[test]
    fn long_lines_are_cut_to_the_width() {
        assert_eq!(cut(&"é".repeat(81)).chars().count(), WIDTH);
        assert_eq!(cut(&"é".repeat(80)), "é".repeat(80));
    }
}
