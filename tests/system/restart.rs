//! `systemctl restart` under load.

use outlive::entries;
use outlive::journal::message_id;

use crate::support::client::{Answer, Connection, Failure, get};
use crate::support::container::{Container, SERVICE, Suite};
use crate::support::journal::Entry;
use crate::support::rehearsal::Rehearsal;
use crate::support::wait::SOON;
use crate::{CONFIG, HELLO, Live, on_every_systemd, running, with_outlive};

on_every_systemd!(without_settling_all_wait_in_the_backlog_and_none_is_lost, with_settling_hardly_anyone_waits);

/// Connections that come while nobody accepts; the kernel's backlog holds 4096.
const IN_BACKLOG: usize = 3000;

/// Clients that have 32 connections each under way when nobody answers, and come 2000 times a second.
const COMERS: &str = "--connections 0 --fresh 100 --fresh-every 50ms --idle 0 --half 0";

/// Clients that don't wait for each other, and some that keep their connection.
const VISITORS: &str = "--connections 8 --fresh 8 --fresh-every 20ms --idle 0 --half 0";

const RESTART: &str = "systemctl restart outlive.service";

/// A route whose answer holds up a drain for long enough.
const LONG: &str = "\n[[route]]\npath = \"/long\"\nrespond = { body = \"long, but whole\\n\", delay = \"5s\" }\n";

fn without_settling_all_wait_in_the_backlog_and_none_is_lost(suite: Suite) {
    let config = format!("{CONFIG}{LONG}\n[drain]\nsettle = \"0s\"\n");
    let host = with_outlive(Container::boot_alone(suite), &config);
    let old = host.in_network(async || {
        let (old, long) = begin_a_long_request().await;
        let load = format!("{HELLO} {COMERS} --rounds 1 --every 1s");
        let rehearsal = Rehearsal::start(&host, &load, RESTART);

        // The old process closes at once.
        let filled = std::time::Instant::now();
        let mut waiting = 0;
        while waiting < IN_BACKLOG {
            assert!(filled.elapsed() < SOON && !long.is_finished(), "only {waiting} wait in the backlog");
            waiting = in_backlog(&host).await;
        }
        // The queue is served in order: whoever answers this one answers all who wait before it.
        let last = tokio::spawn(Live::fresh());
        loop {
            let now = in_backlog(&host).await;
            if long.is_finished() {
                break;
            }
            assert!(now >= waiting, "{waiting} waited, and now {now}: the old process still accepts");
            waiting = now;
        }

        assert_eq!(long.await.unwrap().unwrap().text(), "long, but whole\n");
        println!("{waiting} connections waited in the backlog");
        let last = last.await.unwrap().unwrap();
        assert_ne!(last.pid, old, "the new process answers");
        assert_eq!(last.generation, 2);
        rehearsal.finished().await.assert_all_well();
        old
    });
    assert_answered_by(&host, "/long", old);
}

fn with_settling_hardly_anyone_waits(suite: Suite) {
    let host = with_outlive(Container::boot_alone(suite), &format!("{CONFIG}{LONG}"));
    let (old, results) = host.in_network(async || {
        let (old, long) = begin_a_long_request().await;
        let load = format!("{HELLO} {VISITORS} --rounds 1 --every 1s");
        let results = Rehearsal::start(&host, &load, RESTART).finished().await;
        assert_eq!(long.await.unwrap().unwrap().text(), "long, but whole\n");
        (old, results)
    });
    print_course(&host);
    results.assert_nothing_lost();
    let took = results.number("/rounds/0/command/took_ms");
    assert!(took > 1000.0, "the old process had something to finish meanwhile: {took} ms");
    // None at all for so long would be a gap, whichever process it was that did not answer.
    for pointer in ["/rounds/0/gap_ms", "/latency/max_ms"] {
        let longest = results.number(pointer);
        println!("{pointer}: {longest}");
        assert!(longest < 300.0, "{pointer}: {longest}");
    }
    let answers = host.journal(&format!("MESSAGE_ID={}", entries::message_id::REQUEST));
    let (by_old, by_new): (Vec<_>, Vec<_>) = answers.iter().partition(|entry| entry.number("_PID") == u64::from(old));
    println!("the old process logged {} answers, the new one {}", by_old.len(), by_new.len());
    assert!(by_old.len() > 100 && by_new.len() > 100, "both processes were asked");
    assert_answered_by(&host, "/long", old);
}

/// Prints the journal of the restart, but for the access log, in milliseconds since the drain began.
fn print_course(host: &Container) {
    let mut entries = host.journal("--unit=outlive.service");
    entries.retain(|entry| entry.get("MESSAGE_ID") != Some(entries::message_id::REQUEST));
    let at = |entry: &Entry| entry.number("__MONOTONIC_TIMESTAMP") as f64 / 1000.0;
    let is_began = |entry: &&Entry| entry.get("MESSAGE_ID") == Some(message_id::DRAIN_BEGAN);
    let began = at(entries.iter().find(is_began).expect("a drain"));
    for entry in &entries {
        println!("{:+9.1} ms {}: {}", at(entry) - began, entry.field("SYSLOG_IDENTIFIER"), entry.field("MESSAGE"));
    }
}

/// Returns the process that serves, and the request that it is busy with. Which of two processes answers it, and before
/// whom, is what a rehearsal's clients can't tell.
async fn begin_a_long_request() -> (u32, tokio::task::JoinHandle<Result<Answer, Failure>>) {
    let old = Live::ask(&mut Connection::open(SERVICE).await.unwrap()).await.unwrap().pid;
    let long = tokio::spawn(get(SERVICE, "/long"));
    running(1).await;
    (old, long)
}

/// Connections that the kernel has made and nobody has accepted: what /proc/net/tcp calls a listener's rx_queue.
async fn in_backlog(host: &Container) -> usize {
    let listener = host.start("grep ' 0100007F:1F90 00000000:0000 0A ' /proc/net/tcp").finished().await;
    let queues = listener.split_whitespace().nth(4).unwrap_or_else(|| panic!("no listener in {listener:?}"));
    usize::from_str_radix(queues.split_once(':').unwrap().1, 16).unwrap()
}

/// Asserts which process answered a request, by the access log.
#[track_caller]
fn assert_answered_by(host: &Container, path: &str, pid: u32) {
    let mut requests = host.follow_journal(&format!("MESSAGE_ID={}", entries::message_id::REQUEST));
    let entry = requests.wait_for(path, |entry| entry.get("PATH") == Some(path));
    assert_eq!(entry.number("_PID"), u64::from(pid));
    assert_eq!(entry.field("STATUS"), "200");
}
