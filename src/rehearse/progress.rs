//! What is shown while it runs: a live line on a terminal, a plain line a round in any case. On standard error.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::arguments::Plan;
use super::class::Counts;
use super::summary::{grouped, time};
use super::tally::{Round, Tally};

/// How often the live line is drawn anew.
pub(super) const REFRESH: Duration = Duration::from_millis(200);

/// A command that takes longer is worth a word: it may hang.
const LONG: Duration = Duration::from_secs(1);

/// The progress display.
#[derive(Debug)]
pub(super) struct Progress {
    rounds: u32,
    /// Only on a terminal.
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn new(plan: &Plan) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(plan.rounds.into());
            // The template has been tried; should it ever be wrong, a plain bar is good enough.
            if let Ok(style) = ProgressStyle::with_template("{bar:20} {pos}/{len} {wide_msg}") {
                bar.set_style(style.progress_chars("━╸─"));
            }
            bar
        });
        Self { rounds: plan.rounds, bar }
    }

    /// Draws the live line.
    pub(super) fn live(&self, tally: &Tally) {
        let Some(bar) = &self.bar else { return };
        let totals = tally.totals();
        // Two bins before the one that still fills: a tenth of a second alone is nervous.
        let bins = &tally.timeline.bins;
        let last = bins.iter().rev().skip(1).take(5).map(|bin| u64::from(bin.answers)).sum::<u64>() * 2;
        let [answers, rate, failed, lost] = [totals.answers, last, totals.failures, totals.lost].map(grouped);
        let command = match tally.command_runs() {
            Some(since) if since > LONG => format!("  command runs, {} s", since.as_secs()),
            _ => String::new(),
        };
        bar.set_message(format!("{rate}/s  {answers} answers  {failed} failed  {lost} lost{command}"));
    }

    /// A round is over.
    pub(super) fn round(&self, tally: &Tally) {
        let Some(round) = tally.rounds.last() else { return };
        let line = line(round, tally.rounds.len(), self.rounds);
        match &self.bar {
            Some(bar) => {
                bar.inc(1);
                bar.println(line);
            }
            None => eprintln!("{line}"),
        }
    }

    /// Nothing more to show.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(round: &Round, number: usize, of: u32) -> String {
    let mut line = format!("round {number}/{of}:");
    if let Some(run) = &round.command {
        line += &format!(" command {}", time(run.took));
        if !run.succeeded() {
            line += &format!(" ({})", run.outcome);
        }
        line.push(',');
    }
    let (answers, gap) = (grouped(round.answers), time(round.gap));
    line += &format!(" {answers} answers, gap {gap}, ");
    if round.kept > 0 {
        let [survived, kept] = [round.survived, round.kept].map(|count| grouped(count as u64));
        line += &format!("{survived} of {kept} survived, ");
    }
    line + &failures(&round.failures)
}

fn failures(counts: &Counts) -> String {
    let some: Vec<_> = counts.some().map(|(class, count)| format!("{} {class}", grouped(count))).collect();
    if some.is_empty() { "nothing failed".to_owned() } else { some.join(", ") }
}
