//! What was counted: answers, failures by class, latencies, the state of every round.

use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::census::{Census, Kept};
use super::class::{Counts, Failure};
use super::rounds::CommandRun;
use super::timeline::Timeline;

/// A request counts as near a command from the command's start to this long after its end.
pub(super) const NEAR: Duration = Duration::from_millis(500);

/// The most failures that are kept one by one; beyond it they are only counted.
const MOST_INCIDENTS: usize = 100_000;

/// A kind of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Busy,
    Fresh,
    Idle,
    Half,
    Http2,
    WebSocket,
}

impl Kind {
    pub(super) const ALL: [Self; 6] = [Self::Busy, Self::Fresh, Self::Idle, Self::Half, Self::Http2, Self::WebSocket];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Fresh => "fresh",
            Self::Idle => "idle",
            Self::Half => "half",
            Self::Http2 => "http2",
            Self::WebSocket => "websocket",
        }
    }
}

/// Latencies in microseconds, to three digits.
pub(super) type Latencies = Histogram<u64>;

fn latencies() -> Latencies {
    // An hour bounds the largest --timeout worth telling apart; 3 significant digits are always allowed.
    #[expect(clippy::unwrap_used, reason = "1 < 3.6e9 and 3 <= 5, all that it checks")]
    Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap()
}

/// The count of one kind of client.
#[derive(Debug)]
pub(super) struct KindTally {
    pub clients: u32,
    pub answers: u64,
    pub failures: Counts,
    pub latencies: Latencies,
}

/// One failure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incident {
    /// Since the run's start.
    pub at: Duration,
    pub kind: Kind,
    pub class: Failure,
    /// Since the client began.
    pub took: Duration,
    /// The round, from 1.
    pub round: usize,
}

/// One round.
#[derive(Debug)]
pub(super) struct Round {
    /// Since the run's start.
    pub began: Duration,
    pub ended: Option<Duration>,
    pub command: Option<CommandRun>,
    pub answers: u64,
    pub failures: Counts,
    /// The longest time without a good answer.
    pub gap: Duration,
    /// When that ended, since the run's start.
    pub gap_ended: Duration,
    pub slowest: Duration,
    /// Kept-alive connections when the command started, and those of them that gave an answer after it had ended and
    /// were still open at the round's end.
    pub kept: usize,
    pub survived: usize,
    pub closed_in_order: u64,
}

impl Round {
    /// There was no good answer for so long, up to a time.
    fn silence(&mut self, silence: Duration, ended: Duration) {
        if silence > self.gap {
            (self.gap, self.gap_ended) = (silence, ended);
        }
    }
}

/// The last command: they run one after the other.
#[derive(Clone, Copy, Debug, Default)]
struct LastCommand {
    start: Option<Instant>,
    /// None while it runs.
    end: Option<Instant>,
}

/// Everything that was counted.
#[derive(Debug)]
pub(super) struct Tally {
    pub began: Instant,
    pub kinds: [KindTally; Kind::ALL.len()],
    pub latencies: Latencies,
    pub near: Latencies,
    pub rounds: Vec<Round>,
    pub incidents: Vec<Incident>,
    /// HTTP/2 streams that the server declined in a way that allows a retry without loss.
    pub declined: u64,
    pub closed_in_order: u64,
    pub timeline: Timeline,
    /// How late this process itself woke up: what its measurements can be trusted to.
    pub own_delay: Latencies,
    /// Whether a connection that does not survive is a failure.
    all_survive: bool,
    last_good: Instant,
    command: LastCommand,
    census: Rc<Census>,
}

/// How many kept-alive connections there were, and how many survived.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Survival {
    pub kept: usize,
    pub survived: usize,
}

impl Tally {
    /// Nothing counted yet; `clients` in the order of [`Kind::ALL`].
    pub(super) fn new(clients: [u32; Kind::ALL.len()], keep_samples: bool, all_survive: bool) -> Self {
        let began = Instant::now();
        let kind = |clients| KindTally { clients, answers: 0, failures: Counts::default(), latencies: latencies() };
        Self {
            began,
            kinds: clients.map(kind),
            latencies: latencies(),
            near: latencies(),
            rounds: Vec::new(),
            incidents: Vec::new(),
            declined: 0,
            closed_in_order: 0,
            timeline: Timeline::new(keep_samples),
            own_delay: latencies(),
            all_survive,
            last_good: began,
            command: LastCommand::default(),
            census: Rc::default(),
        }
    }

    /// The load starts: time counts from here.
    pub(super) fn start(&mut self) {
        self.began = Instant::now();
        self.last_good = self.began;
    }

    /// A connection begins to be kept alive.
    pub(super) fn keep(&self) -> Kept {
        self.census.keep()
    }

    /// A good answer: for a request that the client began at `began`, on a connection kept alive since before or not.
    pub(super) fn answered(&mut self, kind: Kind, began: Instant, kept: Option<&mut Kept>) {
        let now = Instant::now();
        let took = now - began;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let of_kind = &mut self.kinds[kind as usize];
        of_kind.answers += 1;
        of_kind.latencies.saturating_record(micros);
        self.latencies.saturating_record(micros);
        if self.is_near(began) {
            self.near.saturating_record(micros);
        }
        self.timeline.answer(now - self.began, took, kind);
        if let Some(kept) = kept.filter(|_| self.command.end.is_some()) {
            self.census.answered(kept);
        }
        let silence = now - self.last_good;
        self.last_good = now;
        if let Some(round) = self.rounds.last_mut() {
            round.answers += 1;
            round.silence(silence, now - self.began);
            round.slowest = round.slowest.max(took);
        }
    }

    /// A failure, of a request that the client began at `began`.
    pub(super) fn failed(&mut self, kind: Kind, began: Instant, class: Failure) {
        let now = Instant::now();
        self.kinds[kind as usize].failures.add(class);
        self.timeline.failure(now - self.began);
        if let Some(round) = self.rounds.last_mut() {
            round.failures.add(class);
        }
        if self.incidents.len() < MOST_INCIDENTS {
            let round = self.rounds.len();
            self.incidents.push(Incident { at: now - self.began, kind, class, took: now - began, round });
        }
    }

    /// The server announced that it closes a connection.
    pub(super) fn closed_in_order(&mut self) {
        self.closed_in_order += 1;
        if let Some(round) = self.rounds.last_mut() {
            round.closed_in_order += 1;
        }
    }

    /// A round begins.
    pub(super) fn begin_round(&mut self) {
        self.rounds.push(Round {
            began: self.began.elapsed(),
            ended: None,
            command: None,
            answers: 0,
            failures: Counts::default(),
            gap: Duration::ZERO,
            gap_ended: Duration::ZERO,
            slowest: Duration::ZERO,
            kept: 0,
            survived: 0,
            closed_in_order: 0,
        });
    }

    /// The round's command starts, or the moment that stands for it if there is none.
    pub(super) fn command_starts(&mut self) {
        self.command = LastCommand { start: Some(Instant::now()), end: None };
        self.census.command_starts();
        if let Some(round) = self.rounds.last_mut() {
            round.kept = self.census.open();
        }
    }

    /// It has ended.
    pub(super) fn command_ended(&mut self, run: Option<CommandRun>) {
        self.command.end = Some(Instant::now());
        if let Some(round) = self.rounds.last_mut() {
            round.command = run;
        }
    }

    /// The round is over.
    pub(super) fn end_round(&mut self) {
        self.break_off();
        let now = self.began.elapsed();
        if let Some(round) = self.rounds.last_mut() {
            round.ended = Some(now);
            round.survived = self.census.survivors();
        }
    }

    /// The round never comes to its end: it has a gap so far, but nobody can say who survives it.
    pub(super) fn break_off(&mut self) {
        let silence = self.last_good.elapsed();
        let now = self.began.elapsed();
        if let Some(round) = self.rounds.last_mut() {
            round.silence(silence, now);
        }
    }

    /// Answers, failures and lost requests of all kinds.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals { answers: 0, failures: 0, lost: 0 };
        for kind in &self.kinds {
            totals.answers += kind.answers;
            totals.failures += kind.failures.total();
            totals.lost += kind.failures.lost();
        }
        totals
    }

    /// Failures of all kinds by class.
    pub(super) fn by_class(&self) -> impl Iterator<Item = (Failure, u64)> + '_ {
        Failure::ALL
            .into_iter()
            .map(|class| (class, self.kinds.iter().map(|kind| kind.failures.of(class)).sum()))
            .filter(|&(_, count)| count > 0)
    }

    /// Runs of the command that did not succeed.
    pub(super) fn commands_failed(&self) -> usize {
        self.rounds.iter().filter(|round| round.command.as_ref().is_some_and(|run| !run.succeeded())).count()
    }

    /// Kept-alive connections, and those of them that survived their round: sums over the rounds that came to their end.
    pub(super) fn survival(&self) -> Survival {
        let ended = self.rounds.iter().filter(|round| round.ended.is_some());
        ended.fold(Survival::default(), |sum, round| Survival {
            kept: sum.kept + round.kept,
            survived: sum.survived + round.survived,
        })
    }

    /// Connections that did not survive, if all should.
    pub(super) fn missed(&self) -> usize {
        let Survival { kept, survived } = self.survival();
        if self.all_survive { kept.saturating_sub(survived) } else { 0 }
    }

    /// Whether nothing failed at all.
    pub(super) fn all_well(&self) -> bool {
        self.totals().failures == 0 && self.commands_failed() == 0 && self.missed() == 0
    }

    /// For how long the command has been running, if it runs.
    pub(super) fn command_runs(&self) -> Option<Duration> {
        let LastCommand { start, end } = self.command;
        if end.is_none() { Some(start?.elapsed()) } else { None }
    }

    fn is_near(&self, began: Instant) -> bool {
        self.command.start.is_some() && self.command.end.is_none_or(|end| began <= end + NEAR)
    }
}

/// Sums over all kinds of clients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Totals {
    pub answers: u64,
    pub failures: u64,
    pub lost: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        Tally::new([1, 1, 1, 1, 0, 0], false, false)
    }

    #[test]
    fn who_survives_a_command() {
        let mut tally = tally();
        tally.begin_round();
        let [mut before, mut closed_later, _silent] = [tally.keep(), tally.keep(), tally.keep()];
        tally.command_starts();
        let mut during = tally.keep();
        tally.answered(Kind::Busy, Instant::now(), Some(&mut before));
        tally.end_round();
        assert_eq!((tally.rounds[0].kept, tally.rounds[0].survived), (3, 0), "the command still runs");
        tally.command_ended(None);
        for _ in 0..3 {
            for kept in [&mut before, &mut closed_later, &mut during] {
                tally.answered(Kind::Busy, Instant::now(), Some(kept));
            }
        }
        tally.end_round();
        assert_eq!(tally.rounds[0].survived, 2, "of those that were there before, those that answered, once each");
        drop(closed_later);
        tally.end_round();
        assert_eq!(tally.rounds[0].survived, 1, "and were not closed after all");
        tally.begin_round();
        tally.command_starts();
        assert_eq!(tally.rounds[1].kept, 3);
        drop(before);
        tally.command_ended(None);
        tally.end_round();
        assert_eq!(tally.rounds[1].survived, 0, "a survivor of the round before does not count in this one");
    }

    #[test]
    fn near_a_command_is_from_its_start_to_half_a_second_after_its_end() {
        let mut tally = tally();
        tally.answered(Kind::Fresh, Instant::now(), None);
        assert_eq!(tally.near.len(), 0);
        tally.command_starts();
        tally.answered(Kind::Fresh, tally.began, None);
        tally.command_ended(None);
        tally.answered(Kind::Fresh, Instant::now(), None);
        assert_eq!(tally.near.len(), 2);
        tally.command.end = Instant::now().checked_sub(2 * NEAR);
        tally.answered(Kind::Fresh, Instant::now(), None);
        assert_eq!(tally.near.len(), 2);
    }

    #[test]
    fn a_round_without_an_answer_has_its_whole_length_as_gap() {
        let mut tally = tally();
        tally.begin_round();
        tally.last_good = Instant::now().checked_sub(Duration::from_secs(3)).unwrap();
        tally.end_round();
        assert!(tally.rounds[0].gap >= Duration::from_secs(3));
    }

    #[test]
    fn stale_is_a_failure_but_not_lost() {
        let mut tally = tally();
        tally.failed(Kind::Idle, Instant::now(), Failure::Stale);
        tally.failed(Kind::Busy, Instant::now(), Failure::Race);
        let totals = tally.totals();
        assert_eq!((totals.failures, totals.lost), (2, 1));
        assert!(!tally.all_well());
    }
}
