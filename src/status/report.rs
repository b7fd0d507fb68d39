//! The service's answer, as people read it: aligned, within 80 columns.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::epoch;
use crate::journal::{count, human};

/// Columns of a terminal.
const WIDTH: usize = 80;

/// Columns of the names on the left.
const NAMES: usize = 15;

/// All of it. What an older or newer service doesn't say is left out.
#[must_use]
pub(super) fn text(status: &Value) -> String {
    let mut text = wrapped(0, &headline(status));
    for (name, value) in lines(status) {
        let value = wrapped(NAMES + 2, &value);
        text.push_str(&format!("  {name:NAMES$}{}", value.trim_start()));
    }
    text
}

fn headline(status: &Value) -> String {
    let up = status["uptime_seconds"].as_f64().unwrap_or_default();
    let outlive = format!("outlive {}", word(&status["version"]));
    let program = status["program"].as_str().filter(|name| !matches!(*name, "" | "outlive"));
    format!(
        "{}: {} for {}, as process {} (generation {})",
        program.map_or(outlive.clone(), |program| format!("{program} on {outlive}")),
        word(&status["state"]),
        long(Duration::try_from_secs_f64(up).unwrap_or_default()),
        number(&status["pid"]),
        number(&status["generation"]),
    )
}

fn lines(status: &Value) -> Vec<(&'static str, String)> {
    let (connections, requests) = (&status["connections"], &status["requests"]);
    let mut lines = vec![("configuration", configuration(&status["configuration"]))];
    lines.push(("listening on", word(&status["listeners"]).to_owned()));
    lines.push((
        "connections",
        format!(
            "{} open: {} busy, {} idle, {} fresh{}; {} accepted so far",
            number(&connections["open"]),
            number(&connections["busy"]),
            number(&connections["idle"]),
            number(&connections["fresh"]),
            match number(&connections["upgraded"]) {
                0 => String::new(),
                upgraded => format!(", {upgraded} upgraded"),
            },
            number(&connections["accepted"]),
        ),
    ));
    let workers = number(&status["workers"]);
    lines.push((
        "requests",
        format!(
            "{} running on {workers} worker{}; {} answered so far",
            number(&requests["running"]),
            if workers == 1 { "" } else { "s" },
            number(&requests["answered"]),
        ),
    ));
    let older = number(&status["older_processes"]);
    if older > 0 {
        let noun = if older == 1 { "process finishes" } else { "processes finish" };
        lines.push(("besides", format!("{older} older {noun} what ran before a reload")));
    }
    lines.extend(Some(&status["last_handover"]).filter(|it| it.is_object()).map(|it| ("last handover", handover(it))));
    lines.extend(Some(&status["last_drain"]).filter(|it| it.is_object()).map(|it| ("last drain", drain(it))));
    let failed = Some(&status["last_failed_reload"]).filter(|it| it.is_object());
    lines.extend(failed.map(|it| {
        ("failed reload", format!("{}: {}", ago(&it["at"]), word(&it["reason"]).lines().next().unwrap_or_default()))
    }));
    lines
}

fn configuration(configuration: &Value) -> String {
    let files: Vec<_> = configuration["files"].as_array().into_iter().flatten().map(word).collect();
    let files = if files.is_empty() { "built in".to_owned() } else { files.join(", ") };
    match configuration["problem"].as_str() {
        Some(problem) => format!(
            "the last good one, of {} ({files}), because the one on disk is broken:\n{problem}",
            word(&configuration["since"]),
        ),
        None => files,
    }
}

fn handover(handover: &Value) -> String {
    let rejected = match number(&handover["rejected"]) {
        0 => String::new(),
        rejected => format!(", {rejected} rejected"),
    };
    format!(
        "{} from generation {}, {}: {} adopted{rejected}; ready after {}",
        word(&handover["by"]),
        number(&handover["from_generation"]),
        ago(&handover["at"]),
        counted(&handover["adopted"], "connection"),
        milliseconds(&handover["milliseconds"]),
    )
}

fn drain(drain: &Value) -> String {
    let cut = match number(&drain["cut"]) {
        0 => "none cut".to_owned(),
        cut => format!("{cut} cut on {}", word(&drain["cut_routes"])),
    };
    format!(
        "{} to generation {}, {}: settled in {}, closed in {}; {} finished, {cut}; {} closed",
        word(&drain["cause"]),
        number(&drain["generation"]),
        ago(&drain["at"]),
        milliseconds(&drain["settle_milliseconds"]),
        milliseconds(&drain["close_milliseconds"]),
        counted(&drain["finished"], "request"),
        counted(&drain["closed"], "connection"),
    )
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn counted(value: &Value, noun: &str) -> String {
    count(usize::try_from(number(value)).unwrap_or(usize::MAX), noun)
}

fn milliseconds(value: &Value) -> String {
    human(Duration::try_from_secs_f64(value.as_f64().unwrap_or_default() / 1000.0).unwrap_or_default())
}

fn ago(at: &Value) -> String {
    let gone = epoch(SystemTime::now()).saturating_sub(number(at));
    format!("{} ago", long(Duration::from_secs(gone)))
}

/// `3 days 4 h`, `2 h 5 min`, `1 min 3 s`, `12 s`.
fn long(time: Duration) -> String {
    let (seconds, days) = (time.as_secs(), time.as_secs() / 86_400);
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        (1, ..) => format!("1 day {hours} h"),
        _ => format!("{days} days {hours} h"),
    }
}

/// Breaks lines between words, and begins each with so many spaces. What has no spaces where it should is left whole.
fn wrapped(indent: usize, text: &str) -> String {
    let mut all = String::new();
    for paragraph in text.lines() {
        let mut line = " ".repeat(indent);
        for word in paragraph.split(' ') {
            let begun = line.trim_start() != "";
            if begun && line.chars().count() + 1 + word.chars().count() > WIDTH {
                all.push_str(&line);
                all.push('\n');
                line = " ".repeat(indent);
            } else if begun {
                line.push(' ');
            }
            line.push_str(word);
        }
        all.push_str(&line);
        all.push('\n');
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_aligned_and_fits_a_terminal() {
        let status = json!({
            "version": "0.1.0", "state": "serving", "pid": 4711, "generation": 3, "uptime_seconds": 3725.5,
            "configuration": {
                "files": ["/etc/outlive/outlive.toml", "/etc/outlive/outlive.toml.d/10-site.toml"], "last_good": true,
                "since": "Sun, 22 Nov 2026 16:00:00 GMT",
                "problem": "/etc/outlive/outlive.toml:2:1: unknown key `winow` in [drain] (and 2 more problems)",
            },
            "listeners": "127.0.0.1:8080 (http)", "workers": 1,
            "connections": { "open": 15, "busy": 2, "idle": 9, "fresh": 1, "upgraded": 3, "accepted": 345 },
            "requests": { "running": 2, "answered": 1234 }, "older_processes": 1,
            "last_handover": {
                "by": "reload", "from_generation": 2, "at": 0, "milliseconds": 12.5, "adopted": 9, "rejected": 0,
            },
            "last_drain": null,
        });
        let text = text(&status);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        let expected = "\
outlive 0.1.0: serving for 1 h 2 min, as process 4711 (generation 3)
  configuration  the last good one, of Sun, 22 Nov 2026 16:00:00 GMT
                 (/etc/outlive/outlive.toml,
                 /etc/outlive/outlive.toml.d/10-site.toml), because the one on
                 disk is broken:
                 /etc/outlive/outlive.toml:2:1: unknown key `winow` in [drain]
                 (and 2 more problems)
  listening on   127.0.0.1:8080 (http)
  connections    15 open: 2 busy, 9 idle, 1 fresh, 3 upgraded; 345 accepted so
                 far
  requests       2 running on 1 worker; 1234 answered so far
";
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn a_service_that_says_little_is_no_trouble() {
        for status in [json!({}), json!(null), json!([1]), json!({ "uptime_seconds": -1.0, "configuration": 3 })] {
            assert!(text(&status).starts_with("outlive ?"), "{status}");
        }
    }

    #[test]
    fn times_are_told_in_two_units_at_most() {
        let long = |seconds| long(Duration::from_secs(seconds));
        assert_eq!(
            [long(0), long(61), long(3600), long(90_000), long(200_000)],
            ["0 s", "1 min 1 s", "1 h 0 min", "1 day 1 h", "2 days 7 h"]
        );
    }
}
