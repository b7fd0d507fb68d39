//! The report for people: one HTML page with nothing from elsewhere and no script, for light and dark.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use super::arguments::Plan;
use super::class::Failure;
use super::summary::{at_quantile, counted, grouped, micros, time, verdict};
use super::tally::{Kind, Latencies, Survival, Tally};

mod chart;

use chart::{Chart, Window};

const STYLE: &str = include_str!("style.css");

/// What the enlarged panel shows before the command's start.
const BEFORE: Duration = Duration::from_millis(150);

/// And after its end.
const AFTER: Duration = Duration::from_millis(450);

/// The page.
pub(super) fn page(plan: &Plan, tally: &Tally, interrupted: bool) -> String {
    let mut page = String::with_capacity(1 << 20);
    head(&mut page, plan, tally, interrupted);
    figures(&mut page, tally);
    charts(&mut page, tally);
    clients(&mut page, tally);
    latencies(&mut page, tally);
    failures(&mut page, tally);
    rounds(&mut page, tally);
    _ = writeln!(
        page,
        "<footer>Times count from the start of the load. This process itself woke up at most {} late (p99 {}): what is \
         less than that says nothing. Made by outlive {}.</footer>\n</main>\n</html>",
        micros(tally.own_delay.max()),
        at_quantile(&tally.own_delay, 0.99),
        env!("CARGO_PKG_VERSION"),
    );
    page
}

fn head(page: &mut String, plan: &Plan, tally: &Tally, interrupted: bool) {
    let url = escaped(&plan.target.url);
    let command = match plan.command_line() {
        line if line.is_empty() => "without a command".to_owned(),
        line => format!("of <code>{}</code>", escaped(&line)),
    };
    let began = SystemTime::now().checked_sub(tally.began.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH);
    let rounds = counted(tally.rounds.len(), "round");
    let (mood, verdict) = (if tally.all_well() { "good" } else { "bad" }, verdict(tally, interrupted));
    _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>outlive rehearse {url}</title>\n<style>\n{STYLE}</style>\n<main>\n\
         <header>\n<h1>{verdict}</h1>\n<p class=\"{mood}\"></p>\n\
         <p>{rounds} {command} against <code>{url}</code><br><small>{}</small></p>\n</header>\n",
        httpdate::fmt_http_date(began),
    );
}

/// The few numbers to look at first.
fn figures(page: &mut String, tally: &Tally) {
    let totals = tally.totals();
    let rounds = &tally.rounds;
    let gap = rounds.iter().map(|round| round.gap).max().unwrap_or_default();
    let Survival { kept, survived } = tally.survival();
    let bad = |count: u64| if count == 0 { "" } else { "bad" };
    let figures = [
        ("answers", grouped(totals.answers), ""),
        ("failed", grouped(totals.failures), bad(totals.failures)),
        ("of them lost", grouped(totals.lost), bad(totals.lost)),
        (
            "survived",
            format!("{} <i>of {}</i>", grouped(survived as u64), grouped(kept as u64)),
            bad(tally.missed() as u64),
        ),
        ("longest gap", time(gap), ""),
        ("p99 near command", at_quantile(&tally.near, 0.99), ""),
    ];
    page.push_str("<dl class=\"figures\">\n");
    for (name, value, mood) in figures {
        _ = writeln!(page, "<div class=\"{mood}\"><dt>{name}</dt><dd>{value}</dd></div>");
    }
    page.push_str("</dl>\n");
}

fn charts(page: &mut String, tally: &Tally) {
    page.push_str("<section>\n<h2>Every answer</h2>\n");
    legend(page, tally);
    let last = tally.timeline.points.iter().map(|point| point.at()).max().unwrap_or_default();
    let last = tally.rounds.iter().map(|round| round.ended.unwrap_or(round.gap_ended)).fold(last, Duration::max);
    let whole = Window { from: Duration::ZERO, to: last.max(Duration::from_millis(1)), origin: Duration::ZERO };
    page.push_str(&Chart::new(tally, whole, None).svg());
    page.push_str("</section>\n");
    let Some(worst) = worst_round(tally) else { return };
    let round = &tally.rounds[worst];
    // Without a command, the gap is what there is to look at.
    let (start, end, zero) = match &round.command {
        Some(command) => (command.started, command.started + command.took, "command"),
        None => (round.gap_ended.saturating_sub(round.gap), round.gap_ended, "gap"),
    };
    let window = Window { from: start.saturating_sub(BEFORE), to: end + AFTER, origin: start };
    let number = worst + 1;
    let told = match round.failures.total() {
        0 => "The round with the longest gap".to_owned(),
        failed => format!("The worst round: {} failed", grouped(failed)),
    };
    _ = writeln!(page, "<section>\n<h2>Round {number}</h2>\n<p>{told}. Times count from the start of the {zero}.</p>");
    page.push_str(&Chart::new(tally, window, Some(round)).svg());
    page.push_str("</section>\n");
}

/// The index of the round to enlarge: by what was lost, then by failures, then by the gap.
fn worst_round(tally: &Tally) -> Option<usize> {
    let badness = |&index: &usize| {
        let round = &tally.rounds[index];
        (round.failures.lost(), round.failures.total(), round.gap)
    };
    (0..tally.rounds.len()).max_by_key(badness)
}

fn legend(page: &mut String, tally: &Tally) {
    page.push_str("<ul class=\"legend\">\n");
    for kind in Kind::ALL.into_iter().filter(|&kind| tally.kinds[kind as usize].clients > 0) {
        let name = kind.name();
        _ = writeln!(
            page,
            "<li><svg viewBox=\"0 0 10 10\"><circle class=\"{name}\" cx=\"5\" cy=\"5\" r=\"4\"/></svg>{name}</li>"
        );
    }
    let [lost, stale, command] = [
        "<rect class=\"lost\" x=\"4\" width=\"2\" height=\"10\"/>",
        "<rect class=\"stale\" x=\"4\" width=\"2\" height=\"10\"/>",
        "<rect class=\"command\" width=\"10\" height=\"10\"/>",
    ];
    for (sign, text) in [(lost, "lost"), (stale, "stale"), (command, "the command runs")] {
        _ = writeln!(page, "<li><svg viewBox=\"0 0 10 10\">{sign}</svg>{text}</li>");
    }
    page.push_str("</ul>\n");
}

/// A table, its first column text and the others numbers.
fn table(page: &mut String, heading: &str, columns: &[&str], rows: &[Vec<String>]) {
    _ = write!(page, "<section>\n<h2>{heading}</h2>\n<div class=\"wide\"><table>\n<thead><tr>");
    for column in columns {
        _ = write!(page, "<th>{column}</th>");
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        page.push_str("<tr>");
        for cell in row {
            _ = write!(page, "<td>{cell}</td>");
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n</section>\n");
}

fn clients(page: &mut String, tally: &Tally) {
    let used = Kind::ALL.into_iter().filter(|&kind| tally.kinds[kind as usize].clients > 0);
    let row = |kind: Kind| {
        let of = &tally.kinds[kind as usize];
        let (failed, lost) = (of.failures.total(), of.failures.lost());
        let mut row = vec![kind.name().to_owned(), grouped(of.clients.into()), grouped(of.answers)];
        row.extend([marked(failed), marked(lost)]);
        row.extend([0.5, 0.99].map(|quantile| at_quantile(&of.latencies, quantile)));
        row.push(if of.latencies.is_empty() { "-".to_owned() } else { micros(of.latencies.max()) });
        row
    };
    let rows: Vec<_> = used.map(row).collect();
    table(page, "Clients", &["", "clients", "answers", "failed", "lost", "p50", "p99", "max"], &rows);
}

fn latencies(page: &mut String, tally: &Tally) {
    let row = |name: &str, of: &Latencies| {
        let mut row = vec![name.to_owned(), grouped(of.len())];
        row.extend([0.5, 0.99, 0.999].map(|quantile| at_quantile(of, quantile)));
        row.push(if of.is_empty() { "-".to_owned() } else { micros(of.max()) });
        row
    };
    let rows = [row("overall", &tally.latencies), row("near a command", &tally.near)];
    table(page, "Latency", &["", "answers", "p50", "p99", "p99.9", "max"], &rows);
}

fn failures(page: &mut String, tally: &Tally) {
    let rows: Vec<_> = tally
        .by_class()
        .map(|(class, count)| vec![class.name().to_owned(), marked(count), definition(class)])
        .collect();
    if !rows.is_empty() {
        page.push_str("<div class=\"classes\">\n");
        table(page, "Failures", &["class", "count", "definition"], &rows);
        page.push_str("</div>\n");
    }
}

fn rounds(page: &mut String, tally: &Tally) {
    let row = |(number, round): (usize, &super::tally::Round)| {
        let command = match &round.command {
            Some(run) if run.succeeded() => time(run.took),
            Some(run) => format!("<b>{}</b>", escaped(&run.outcome.to_string())),
            None => "-".to_owned(),
        };
        let classes: Vec<_> = round.failures.some().map(|(class, count)| format!("{count} {class}")).collect();
        vec![
            number.to_string(),
            command,
            grouped(round.answers),
            marked(round.failures.total()),
            marked(round.failures.lost()),
            time(round.gap),
            time(round.slowest),
            match round.ended {
                Some(_) => format!("{} of {}", grouped(round.survived as u64), grouped(round.kept as u64)),
                None => "-".to_owned(),
            },
            classes.join(", "),
        ]
    };
    let rows: Vec<_> = (1..).zip(&tally.rounds).map(row).collect();
    let columns = ["round", "command", "answers", "failed", "lost", "gap", "slowest", "survived", ""];
    page.push_str("<div class=\"rounds\">\n");
    table(page, "Rounds", &columns, &rows);
    page.push_str("</div>\n");
}

/// A count that should be 0.
fn marked(count: u64) -> String {
    if count == 0 { "0".to_owned() } else { format!("<b>{}</b>", grouped(count)) }
}

/// A definition, its quoted code as code.
fn definition(class: Failure) -> String {
    let mut text = String::new();
    for (place, part) in escaped(class.definition()).split('`').enumerate() {
        _ = if place % 2 == 1 { write!(text, "<code>{part}</code>") } else { write!(text, "{part}") };
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_given_becomes_markup() {
        assert_eq!(escaped("<b a=\"&\">"), "&lt;b a=&quot;&amp;&quot;&gt;");
    }

    #[test]
    fn code_in_definitions_is_code() {
        assert!(definition(Failure::Stale).contains("<code>Connection: close</code>"));
    }
}
