//! The HTML report: one file, nothing from elsewhere, and what failed is in it.

use crate::faults::Server;
use crate::rehearsal::{Outcome, Rehearsal};

/// A report of a run with some of everything.
fn report() -> (Outcome, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    let server = Server::good();
    let closing = server.clone();
    let arguments = format!(
        "--connections 4 --fresh 2 --idle 5 --half 4 --rounds 3 --every 100ms --report {}",
        path.to_str().unwrap()
    );
    let rehearsal = Rehearsal::of(server.address).with(&arguments);
    let outcome = rehearsal.each_round(move |_| _ = closing.close_all()).run();
    (outcome, std::fs::read_to_string(path).unwrap())
}

#[test]
fn it_shows_the_run_and_needs_nothing_from_elsewhere() {
    let (outcome, page) = report();
    assert_eq!(page.matches("<svg class=\"chart\"").count(), 2, "the whole run, and the worst round");
    assert_eq!(page.matches("<title>round ").count(), 3 + 1, "each command's span, and again that of the worst round");
    for kind in ["busy", "fresh", "idle", "half"] {
        assert!(page.contains(&format!("<path class=\"points small {kind} ")), "no points of {kind}");
    }
    for class in outcome.failures().keys() {
        assert!(page.contains(&format!("<td>{class}</td>")), "no row for {class}");
    }
    assert!(page.contains("<path class=\"lost\"") && page.contains("<path class=\"stale\""));
    assert!(page.contains("prefers-color-scheme: dark"));
    for elsewhere in ["<script", "<link", "<img", "src=", "href=", "url(", "@import"] {
        assert!(!page.contains(elsewhere), "{elsewhere} in the report");
    }
}

#[test]
fn every_tag_that_is_opened_is_closed() {
    let (_, page) = report();
    for tag in
        ["html", "main", "header", "section", "div", "svg", "table", "thead", "tbody", "tr", "td", "th", "ul", "li"]
    {
        let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "<{tag}>");
    }
}
