//! `systemctl restart` under load.

use std::time::{Duration, Instant};

use outlive::journal::message_id;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::client::{Connection, get};
use crate::support::container::{Container, SERVICE, Suite};
use crate::support::journal::Entry;
use crate::{CONFIG, Live, SLOW, on_every_systemd, running, with_outlive};

on_every_systemd!(without_settling_all_wait_in_the_backlog_and_none_is_lost, with_settling_hardly_anyone_waits);

/// Connections that come while nobody accepts; the kernel's backlog holds 4096.
const IN_BACKLOG: usize = 3000;

/// A client that isn't answered for so long is one that waits.
const WAITS: Duration = Duration::from_millis(250);

/// When the restart comes, after a request that takes three seconds has begun.
const RESTART_AFTER: Duration = Duration::from_secs(1);

fn without_settling_all_wait_in_the_backlog_and_none_is_lost(suite: Suite) {
    let config = format!("{CONFIG}\n[drain]\nsettle = \"0s\"\n");
    let host = with_outlive(Container::boot_alone(suite), &config);
    let old = host.in_network(async || {
        let (old, slow, restart) = restart_while_a_request_runs(&host).await;

        let mut waiting = JoinSet::new();
        // The old process closes at once. From the first client that it leaves waiting on, it accepts no more.
        loop {
            let mut first = tokio::spawn(Live::fresh());
            match timeout(WAITS, &mut first).await {
                Ok(served) => assert_eq!(served.unwrap().expect("nobody is lost").pid, old),
                Err(_) => break drop(waiting.spawn(async { first.await.unwrap() })),
            }
        }
        while waiting.len() < IN_BACKLOG {
            waiting.spawn(Live::fresh());
        }
        let opened = Instant::now();

        assert_eq!(slow.await.unwrap().unwrap().text(), SLOW);
        let mut by_new = 0;
        while let Some(answered) = waiting.join_next().await {
            let live = answered.unwrap().expect("no connection is refused or reset");
            assert_ne!(live.pid, old, "the new process answers");
            assert_eq!(live.generation, 2);
            by_new += 1;
        }
        println!("{by_new} connections from the backlog, the last answered after {:?}", opened.elapsed());
        assert_eq!(by_new, IN_BACKLOG);
        restart.finished().await;
        old
    });
    assert_answered_by(&host, "/slow", old);
}

fn with_settling_hardly_anyone_waits(suite: Suite) {
    let host = with_outlive(Container::boot_alone(suite), CONFIG);
    let (old, waits) = host.in_network(async || {
        let load_ends = Instant::now() + Duration::from_secs(6);
        let mut clients = JoinSet::new();
        for _ in 0..8 {
            clients.spawn(async move {
                let mut waits = Vec::new();
                while Instant::now() < load_ends {
                    let began = Instant::now();
                    let live = Live::fresh().await.expect("no request is lost");
                    waits.push((began.elapsed(), live.generation));
                    // So that the clients are no load to speak of.
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                waits
            });
        }
        let (old, slow, restart) = restart_while_a_request_runs(&host).await;
        assert_eq!(slow.await.unwrap().unwrap().text(), SLOW);
        let waits: Vec<_> = clients.join_all().await.into_iter().flatten().collect();
        restart.finished().await;
        (old, waits)
    });
    for generation in [1, 2] {
        let answers = waits.iter().filter(|(_, by)| *by == generation);
        assert!(answers.clone().count() > 100, "both processes were asked");
        println!("generation {generation} answered {}", answers.count());
    }
    let longest = waits.iter().map(|(wait, _)| *wait).max().unwrap();
    println!("longest wait: {} ms of {} requests", longest.as_millis(), waits.len());
    print_course(&host);
    assert!(longest < Duration::from_millis(300), "longest wait: {longest:?}");
    assert_answered_by(&host, "/slow", old);
}

/// Prints the journal of the restart, but for the access log, in milliseconds since the drain began.
fn print_course(host: &Container) {
    let mut entries = host.journal("--unit=outlive.service");
    entries.retain(|entry| entry.get("MESSAGE_ID") != Some(message_id::REQUEST));
    let at = |entry: &Entry| entry.number("__MONOTONIC_TIMESTAMP") as f64 / 1000.0;
    let is_began = |entry: &&Entry| entry.get("MESSAGE_ID") == Some(message_id::DRAIN_BEGAN);
    let began = at(entries.iter().find(is_began).expect("a drain"));
    for entry in &entries {
        println!("{:+9.1} ms {}: {}", at(entry) - began, entry.field("SYSLOG_IDENTIFIER"), entry.field("MESSAGE"));
    }
}

type Slow = tokio::task::JoinHandle<Result<crate::support::client::Answer, crate::support::client::Failure>>;

/// Returns the old process, the request that it is busy with, and the restart.
async fn restart_while_a_request_runs(host: &Container) -> (u32, Slow, crate::support::running::Running) {
    let old = Live::ask(&mut Connection::open(SERVICE).await.unwrap()).await.unwrap().pid;
    let slow = tokio::spawn(get(SERVICE, "/slow"));
    running(1).await;
    tokio::time::sleep(RESTART_AFTER).await;
    (old, slow, host.start("systemctl restart outlive.service"))
}

/// Asserts which process answered a request, by the access log.
#[track_caller]
fn assert_answered_by(host: &Container, path: &str, pid: u32) {
    let mut requests = host.follow_journal(&format!("MESSAGE_ID={}", message_id::REQUEST));
    let entry = requests.wait_for(path, |entry| entry.get("PATH") == Some(path));
    assert_eq!(entry.number("_PID"), u64::from(pid));
    assert_eq!(entry.field("STATUS"), "200");
}
