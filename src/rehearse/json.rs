//! The results for scripts. The schema is documented in docs/rehearse.md; `schema` goes up when a field changes its
//! meaning or goes away, not when one is added.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::arguments::Plan;
use super::class::{Counts, Failure};
use super::rounds::Outcome;
use super::summary::QUANTILES;
use super::tally::{Incident, Kind, Latencies, Round, Tally};
use super::timeline::BIN;

const SCHEMA: u32 = 1;

/// Everything that was counted.
pub(super) fn document(plan: &Plan, tally: &Tally, interrupted: bool) -> Value {
    let totals = tally.totals();
    let survival = tally.survival();
    let command: Vec<_> = plan.command.iter().map(|word| word.to_string_lossy()).collect();
    json!({
        "schema": SCHEMA,
        "version": env!("CARGO_PKG_VERSION"),
        "url": plan.target.url,
        "command": command,
        "all_well": tally.all_well(),
        "interrupted": interrupted,
        "seconds": tally.began.elapsed().as_secs_f64(),
        "answers": totals.answers,
        "failed": totals.failures,
        "lost": totals.lost,
        "failures": by_class(tally.by_class()),
        "commands_failed": tally.commands_failed(),
        "closed_in_order": tally.closed_in_order,
        "declined": tally.declined,
        "kept": survival.kept,
        "survived": survival.survived,
        "gap_ms": tally.rounds.iter().map(|round| millis(round.gap)).fold(0.0, f64::max),
        "latency": latencies(&tally.latencies),
        "latency_near_command": latencies(&tally.near),
        "own_delay": latencies(&tally.own_delay),
        "clients": clients(tally),
        "rounds": tally.rounds.iter().zip(1..).map(|(round, number)| one_round(round, number)).collect::<Vec<_>>(),
        "incidents": tally.incidents.iter().map(incident).collect::<Vec<_>>(),
        "timeline": {
            "bin_ms": millis(BIN),
            "answers": tally.timeline.bins.iter().map(|bin| bin.answers).collect::<Vec<_>>(),
            "failed": tally.timeline.bins.iter().map(|bin| bin.failures).collect::<Vec<_>>(),
        },
    })
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn by_class(counts: impl Iterator<Item = (Failure, u64)>) -> Value {
    counts.map(|(class, count)| (class.name().to_owned(), Value::from(count))).collect::<Map<_, _>>().into()
}

fn latencies(latencies: &Latencies) -> Value {
    let ms = |micros: u64| micros as f64 / 1e3;
    let mut object = Map::new();
    object.insert("count".to_owned(), latencies.len().into());
    for (name, quantile) in QUANTILES {
        object.insert(format!("{}_ms", name.replace('.', "_")), ms(latencies.value_at_quantile(quantile)).into());
    }
    object.insert("max_ms".to_owned(), ms(latencies.max()).into());
    object.into()
}

fn clients(tally: &Tally) -> Value {
    let of = |kind: Kind| {
        let tally = &tally.kinds[kind as usize];
        let value = json!({
            "clients": tally.clients,
            "answers": tally.answers,
            "failed": tally.failures.total(),
            "lost": tally.failures.lost(),
            "failures": some(&tally.failures),
            "latency": latencies(&tally.latencies),
        });
        (kind.name().to_owned(), value)
    };
    Kind::ALL.map(of).into_iter().collect::<Map<_, _>>().into()
}

fn some(counts: &Counts) -> Value {
    by_class(counts.some())
}

fn one_round(round: &Round, number: u32) -> Value {
    let command = round.command.as_ref().map(|run| {
        let (status, signal) = match run.outcome {
            Outcome::Exited(status) => (Some(status), None),
            Outcome::Killed(signal) => (None, Some(signal)),
            Outcome::NotStarted(_) => (None, None),
        };
        json!({
            "started_ms": millis(run.started),
            "took_ms": millis(run.took),
            "succeeded": run.succeeded(),
            "exit_status": status,
            "signal": signal,
            "output": run.output,
        })
    });
    json!({
        "round": number,
        "began_ms": millis(round.began),
        "ended_ms": round.ended.map(millis),
        "command": command,
        "answers": round.answers,
        "failed": round.failures.total(),
        "lost": round.failures.lost(),
        "failures": some(&round.failures),
        "gap_ms": millis(round.gap),
        "slowest_ms": millis(round.slowest),
        "kept": round.kept,
        "survived": round.survived,
        "closed_in_order": round.closed_in_order,
    })
}

fn incident(incident: &Incident) -> Value {
    json!({
        "at_ms": millis(incident.at),
        "took_ms": millis(incident.took),
        "client": incident.kind.name(),
        "class": incident.class.name(),
        "round": incident.round,
    })
}
