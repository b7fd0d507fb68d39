//! Exit statuses, what is refused before anything is contacted, interruption, and that all texts come from one place.

use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::Duration;

use outlive::rehearse::Failure;
use rustix::process::{Pid, Signal, kill_process};

use crate::faults::Server;
use crate::rehearsal::{Rehearsal, read};

fn rehearse(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_outlive")).arg("rehearse").args(arguments).output().unwrap()
}

#[test]
fn bad_usage_is_named_and_exits_with_64_before_anything_is_contacted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let cases: [(&[&str], &str); 11] = [
        (&[], "--url"),
        (&["--url", "https://127.0.0.1/"], "TLS is not supported"),
        (&["--url", "127.0.0.1"], "not a URL"),
        (&["--url", "http://192.0.2.1/"], "--yes-it-is-mine"),
        (&["--url", "http://no-such-host.invalid/"], "no-such-host.invalid"),
        (&["--url", &url, "--every", "2"], "not a time"),
        (&["--url", &url, "--post", "1GiB"], "not a size"),
        (&["--url", &url, "--rounds", "0"], "--rounds"),
        (&["--url", &url, "--websocket", "1"], "--websocket-url"),
        (&["--url", &url, "--idle", "4000000000"], "file descriptors"),
        (&["--url", &url, "--connections", "0", "--fresh", "0", "--idle", "0", "--half", "0"], "nothing would be"),
    ];
    for (arguments, expected) in cases {
        let output = rehearse(arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {text}");
        assert!(text.contains(expected), "{arguments:?}: {text}");
    }
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "it was contacted");
}

#[test]
fn a_server_that_is_not_there_is_named_at_once() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let outcome = Rehearsal::of(address).with("--connections 1").command(&["touch", "/nonexistent/never-run"]).run();
    assert_eq!(outcome.status, 1);
    assert!(outcome.progress.contains("before the first round, GET http://"), "{}", outcome.progress);
    assert!(outcome.progress.contains("refused"), "{}", outcome.progress);
}

#[test]
fn a_report_that_cannot_be_written_is_named_before_the_start() {
    let server = Server::good();
    let outcome = Rehearsal::of(server.address).with("--connections 1 --report /nonexistent/report.html").run();
    assert_eq!(outcome.status, 1);
    assert!(outcome.progress.contains("/nonexistent/report.html: cannot be written"), "{}", outcome.progress);
    assert_eq!(server.good_answers(), 0);
}

#[test]
fn a_command_that_fails_fails_the_run_and_shows_what_it_said() {
    let server = Server::good();
    let command = ["sh", "-c", "echo it is broken >&2; exit 3"];
    let outcome = Rehearsal::of(server.address).with("--connections 2 --rounds 2").command(&command).run();
    assert_eq!((outcome.status, outcome.number("/failed"), outcome.number("/commands_failed")), (1, 0.0, 2.0));
    assert_eq!(outcome.number("/rounds/1/command/exit_status"), 3.0);
    assert_eq!(outcome.json["rounds"][0]["command"]["output"], "it is broken");
    for expected in ["The command failed in round 1: exit status 3", "    it is broken", "The command failed 2 times."]
    {
        assert!(outcome.summary.contains(expected), "{}", outcome.summary);
    }
}

#[test]
fn a_command_that_does_not_exist_fails_the_run() {
    let server = Server::good();
    let outcome = Rehearsal::of(server.address).with("--connections 2").command(&["/nonexistent/restart"]).run();
    assert_eq!((outcome.status, outcome.number("/commands_failed")), (1, 1.0));
    assert!(outcome.summary.contains("not started: /nonexistent/restart"), "{}", outcome.summary);
}

#[test]
fn a_command_may_leave_a_daemon_behind() {
    let server = Server::good();
    // It holds the command's standard output for longer than the test may take.
    let command = ["sh", "-c", "sleep 100 & echo $!"];
    let outcome = Rehearsal::of(server.address).with("--connections 1").command(&command).run();
    assert_eq!(outcome.status, 0, "{}", outcome.summary);
    let daemon = outcome.json["rounds"][0]["command"]["output"].as_str().unwrap().parse().unwrap();
    kill_process(Pid::from_raw(daemon).unwrap(), Signal::TERM).unwrap();
}

#[test]
fn without_a_command_it_just_watches() {
    let server = Server::good();
    let outcome = Rehearsal::of(server.address).with("--connections 2 --idle 3 --rounds 2").run();
    outcome.assert_failures(&[]);
    assert!(outcome.json["rounds"][0]["command"].is_null());
    assert_eq!((outcome.number("/kept"), outcome.number("/survived")), (10.0, 10.0));
}

#[test]
fn ctrl_c_ends_it_with_the_summary_so_far() {
    for signal in [Signal::INT, Signal::TERM] {
        let server = Server::good();
        let rehearsal = Rehearsal::of(server.address).with("--connections 4 --idle 4 --rounds 1000 --every 100ms");
        let mut child = rehearsal.start();
        let progress = read(child.stderr.take().unwrap());
        let first = progress.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(first.starts_with("round 1/1000: "), "{first}");
        kill_process(Pid::from_child(&child), signal).unwrap();
        let outcome = rehearsal.outcome(child, &progress);
        outcome.assert_failures(&[]);
        assert_eq!(outcome.json["interrupted"], true);
        assert!(outcome.number("/answers") > 0.0);
        // Nobody can say who would have survived the round that was broken off.
        let last = outcome.json["rounds"].as_array().unwrap().last().unwrap();
        assert!(last["ended_ms"].is_null(), "{last:#}");
        assert_eq!(outcome.number("/survived"), outcome.number("/kept"));
        assert!(outcome.summary.contains("Interrupted. Nothing failed."), "{}", outcome.summary);
    }
}

#[test]
fn ctrl_c_before_the_first_round_ends_it_too() {
    // A server that takes the first request and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let rehearsal = Rehearsal::of(listener.local_addr().unwrap()).with("--connections 1 --timeout 60s");
    let mut child = rehearsal.start();
    let progress = read(child.stderr.take().unwrap());
    let (_connection, _) = listener.accept().unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let outcome = rehearsal.outcome(child, &progress);
    assert_eq!(outcome.status, 1);
    assert!(outcome.progress.contains("interrupted before the first round"), "{}", outcome.progress);
}

#[test]
fn the_summary_fits_80_columns() {
    let server = Server::good();
    let closing = server.clone();
    let arguments = "--connections 3 --fresh 1 --idle 5 --half 4 --rounds 2";
    let outcome = Rehearsal::of(server.address).with(arguments).each_round(move |_| _ = closing.close_all()).run();
    assert!(outcome.summary.contains("stale"), "{}", outcome.summary);
    assert!(outcome.summary.lines().all(|line| line.chars().count() <= 80), "{}", outcome.summary);
}

#[test]
fn help_and_documentation_define_every_class_exactly() {
    let help = String::from_utf8(rehearse(&["--help"]).stdout).unwrap();
    let help: Vec<_> = help.split_whitespace().collect();
    let documentation = include_str!("../../docs/rehearse.md");
    for class in Failure::ALL {
        let row = format!("| `{}` | {} |", class.name(), class.definition());
        assert!(documentation.contains(&row), "docs/rehearse.md should have this line:\n{row}");
        let definition: Vec<_> = [class.name()].into_iter().chain(class.definition().split_whitespace()).collect();
        assert!(help.windows(definition.len()).any(|words| words == definition), "--help lacks {class}");
    }
}
