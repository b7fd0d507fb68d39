//! One test for each way to fail.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::faults::{Deed, GOOD, Server, Victim};
use crate::rehearsal::{Outcome, Rehearsal};

/// How often the misdeed is done in each round.
const TIMES: u64 = 7;

/// Rehearses two rounds, in each of which the server does its misdeed some times, and checks that exactly this is
/// reported.
fn report_as(class: &str, victim: Victim, deed: Deed, arguments: &str) -> Outcome {
    let server = Server::start(victim, deed);
    let misbehaving = server.clone();
    let rehearsal = Rehearsal::of(server.address).with("--rounds 2 --expect hello").with(arguments);
    let outcome = rehearsal.each_round(move |_| misbehaving.misbehave(TIMES)).run();
    assert_eq!(server.done(), 2 * TIMES, "the server could not do all its misdeeds\n{}", outcome.summary);
    outcome.assert_failures(&[(class, 2 * TIMES)]);
    let lost = if class == "stale" { 0.0 } else { 2.0 * TIMES as f64 };
    assert_eq!(outcome.number("/lost"), lost);
    outcome
}

#[test]
fn a_good_server_has_no_failures_and_all_connections_survive() {
    let server = Server::good();
    let arguments = "--connections 8 --fresh 2 --idle 20 --half 6 --rounds 3 --every 100ms --expect hello";
    let outcome = Rehearsal::of(server.address).with(arguments).each_round(|_| {}).run();
    outcome.assert_failures(&[]);
    // Busy, idle, and those half clients that keep their connection; the others are kept too, after their first answer.
    assert_eq!(outcome.number("/survived"), outcome.number("/kept"), "{:#}", outcome.json["rounds"]);
    assert!(outcome.number("/kept") >= 3.0 * (8.0 + 20.0 + 3.0), "{:#}", outcome.json["rounds"]);
    assert_eq!(outcome.number("/closed_in_order"), 0.0);
    for kind in ["busy", "fresh", "idle", "half"] {
        assert!(outcome.number(&format!("/clients/{kind}/answers")) >= 6.0, "{:#}", outcome.json["clients"]);
    }
    // The preflight's GET and POST are not part of the count.
    assert_eq!(outcome.number("/answers") as u64 + 2, server.good_answers());
    assert!(outcome.summary.contains("Nothing failed."), "{}", outcome.summary);
}

#[test]
fn idle_connections_closed_at_once_are_stale() {
    let server = Server::good();
    let closing = server.clone();
    let rehearsal = Rehearsal::of(server.address).with("--idle 20 --rounds 2");
    let outcome = rehearsal.each_round(move |_| assert!(closing.close_all() >= 20)).run();
    outcome.assert_failures(&[("stale", 40)]);
    assert_eq!((outcome.number("/lost"), outcome.number("/survived")), (0.0, 0.0));
    assert_eq!(outcome.number("/clients/idle/answers"), 40.0, "each opened another connection in each round");
}

#[test]
fn busy_connections_closed_at_once_are_stale_or_a_race() {
    let server = Server::good();
    let closing = server.clone();
    let rehearsal = Rehearsal::of(server.address).with("--connections 30 --rounds 2 --every 200ms");
    let outcome = rehearsal.each_round(move |_| assert!(closing.close_all() >= 30)).run();
    let failures = outcome.failures();
    assert!(failures.keys().all(|class| class == "stale" || class == "race"), "{failures:?}");
    assert_eq!(failures.values().sum::<u64>(), 60, "{failures:?}");
}

#[test]
fn a_new_connection_reset_before_its_answer() {
    report_as("reset", Victim::First, Deed::Reset(""), "--fresh 2");
}

#[test]
fn a_new_connection_closed_before_its_answer() {
    report_as("closed", Victim::First, Deed::Close(""), "--fresh 2");
}

#[test]
fn a_kept_alive_connection_closed_as_the_request_comes() {
    report_as("race", Victim::Later, Deed::Close(""), "--connections 8");
}

#[test]
fn a_kept_alive_connection_reset_as_the_request_comes() {
    report_as("race", Victim::Later, Deed::Reset(""), "--connections 8");
}

#[test]
fn an_answer_cut_in_its_body() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel";
    report_as("cut", Victim::Any, Deed::Close(cut), "--connections 4 --fresh 2");
}

#[test]
fn an_answer_cut_by_a_reset() {
    let cut = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    report_as("cut", Victim::Any, Deed::Reset(cut), "--connections 4 --fresh 2");
}

#[test]
fn an_answer_cut_in_its_head() {
    report_as("cut", Victim::Any, Deed::Close("HTTP/1.1 200 OK\r\nContent-Le"), "--connections 4 --fresh 2");
}

#[test]
fn a_wrong_body() {
    let wrong = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhullo";
    report_as("wrong-body", Victim::Any, Deed::Answer(wrong), "--connections 4 --fresh 2");
}

#[test]
fn a_server_error() {
    let error = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    report_as("5xx", Victim::Any, Deed::Answer(error), "--connections 4 --fresh 2");
}

#[test]
fn another_status_than_before() {
    let error = "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello";
    report_as("wrong-status", Victim::Any, Deed::Answer(error), "--connections 4 --fresh 2");
}

#[test]
fn what_is_not_http() {
    report_as("garbled", Victim::Any, Deed::Close("SSH-2.0-OpenSSH_9.9\r\n"), "--connections 4 --fresh 2");
}

#[test]
fn an_answer_that_does_not_come_in_time() {
    let late = Deed::Late(Duration::from_secs(2));
    report_as("timeout", Victim::Any, late, "--connections 4 --fresh 2 --timeout 500ms --every 700ms");
}

#[test]
fn an_announced_close_is_no_failure() {
    const CLOSE: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
    let server = Server::start(Victim::Any, Deed::Close(CLOSE));
    let misbehaving = server.clone();
    let rehearsal = Rehearsal::of(server.address).with("--connections 4 --idle 5 --rounds 2");
    let outcome = rehearsal.each_round(move |_| misbehaving.misbehave(TIMES)).run();
    outcome.assert_failures(&[]);
    assert_eq!(outcome.number("/closed_in_order"), 2.0 * TIMES as f64);
}

#[test]
fn where_all_are_to_survive_an_announced_close_is_a_failure() {
    const CLOSE: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
    let rehearse = |arguments: &str| {
        let server = Server::start(Victim::Later, Deed::Close(CLOSE));
        let telling = server.clone();
        let rehearsal = Rehearsal::of(server.address).with("--idle 5").with(arguments);
        rehearsal.each_round(move |_| telling.misbehave(2)).run()
    };
    let outcome = rehearse("");
    assert_eq!((outcome.number("/survived"), outcome.number("/kept"), outcome.status), (3.0, 5.0, 0));
    let outcome = rehearse("--all-survive");
    assert_eq!((outcome.number("/survived"), outcome.number("/failed"), outcome.status), (3.0, 0.0, 1));
    assert_eq!(outcome.json["all_well"], false);
    assert!(outcome.summary.ends_with("2 connections did not survive.\n"), "{}", outcome.summary);
    let outcome = Rehearsal::of(Server::good().address).with("--idle 5 --all-survive").run();
    outcome.assert_failures(&[]);
}

#[test]
fn nobody_listens_for_50_ms() {
    let server = Server::good();
    let refusing = server.clone();
    let rehearsal = Rehearsal::of(server.address).with("--fresh 4 --fresh-every 100ms --every 500ms");
    // A connection that waits to be accepted when the listener closes would be reset: so close it between two slots of
    // the schedule, which are 25 ms apart, just after one has been served.
    let outcome = rehearsal
        .each_round(move |_| {
            let served = refusing.good_answers();
            let deadline = Instant::now() + Duration::from_secs(10);
            while refusing.good_answers() == served {
                assert!(Instant::now() < deadline, "no fresh client came");
                std::thread::yield_now();
            }
            refusing.refuse(Duration::from_millis(50));
        })
        .run();
    let refused = outcome.failures().get("refused").copied().unwrap_or_default();
    // Slots 25 and 50 ms later, and on a busy machine perhaps one more, or one less.
    assert!((1..=3).contains(&refused), "{:?}\n{}", outcome.failures(), outcome.summary);
    outcome.assert_failures(&[("refused", refused)]);
    // Every slot is accounted for: what the server did not answer was refused.
    assert_eq!(outcome.number("/clients/fresh/answers") as u64 + 1, server.good_answers());
    assert!(outcome.number("/rounds/0/gap_ms") >= 50.0, "{:#}", outcome.json["rounds"]);
}

#[test]
fn a_stall_of_300_ms_is_felt_by_every_request_that_was_due() {
    let server = Server::good();
    let stalling = server.clone();
    let rehearsal = Rehearsal::of(server.address).with("--fresh 1 --connections 2 --every 500ms");
    let outcome = rehearsal.each_round(move |_| stalling.stall(Duration::from_millis(300))).run();
    outcome.assert_failures(&[]);
    // One client, every 20 ms: 15 slots. One that waits for answers would have asked once.
    assert!(server.felt_stall() >= 10, "{} requests came during the stall", server.felt_stall());
    for pointer in ["/latency/max_ms", "/latency_near_command/max_ms", "/rounds/0/slowest_ms", "/rounds/0/gap_ms"] {
        let value = outcome.number(pointer);
        assert!((270.0..1000.0).contains(&value), "{pointer} is {value}");
    }
    assert!(outcome.number("/clients/fresh/latency/p99_ms") >= 200.0);
}

#[test]
fn half_heads_that_are_thrown_away() {
    let server = Server::good();
    let closing = server.clone();
    let rehearsal = Rehearsal::of(server.address).with("--half 10");
    let outcome = rehearsal.each_round(move |_| _ = closing.close_all()).run();
    // Five on new connections, five on ones that had been answered before.
    let failures = outcome.failures();
    assert_eq!(failures.get("race"), Some(&5), "{failures:?}");
    // Which end of a new connection comes first, the close or the reset that the rest provokes, is the kernel's choice.
    let new = ["closed", "reset"].map(|class| failures.get(class).copied().unwrap_or_default());
    assert_eq!((new.iter().sum::<u64>(), failures.values().sum::<u64>()), (5, 10), "{failures:?}");
}

#[test]
fn connections_that_are_not_made_in_time() {
    // A listener whose backlog is full drops what comes; nobody accepts while the command runs.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 1).unwrap();
    let address = listener.local_addr().unwrap();
    let (gate, answered) = (std::sync::Arc::new(std::sync::RwLock::new(())), std::sync::Arc::default());
    let (closed, counter): (_, std::sync::Arc<std::sync::atomic::AtomicU64>) =
        (std::sync::Arc::clone(&gate), std::sync::Arc::clone(&answered));
    std::thread::spawn(move || {
        loop {
            drop(gate.read().unwrap());
            let (mut stream, _) = listener.accept().unwrap();
            std::io::Read::read(&mut stream, &mut [0; 1024]).unwrap();
            std::io::Write::write_all(&mut stream, GOOD.as_bytes()).unwrap();
            counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    });
    let rehearsal = Rehearsal::of(address).with("--fresh 1 --connect-timeout 300ms --timeout 30s");
    let outcome = rehearsal
        .each_round(move |_| {
            let _nobody = closed.write().unwrap();
            std::thread::sleep(Duration::from_millis(800));
        })
        .run();
    let failures = outcome.failures();
    let timeouts = failures.get("connect-timeout").copied().unwrap_or_default();
    assert!(timeouts >= 5, "{failures:?}");
    outcome.assert_failures(&[("connect-timeout", timeouts)]);
    let answered = answered.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(outcome.number("/clients/fresh/answers") as u64 + 1, answered);
}
