//! SIGKILL in the middle of a drain.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::client::Client;
use crate::{CONFIG, adopted, systemd};

/// How many drains are interrupted. `OUTLIVE_TEST_KILLS=200` for the full length.
fn rounds() -> u32 {
    std::env::var("OUTLIVE_TEST_KILLS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(12)
}

/// What is deposited goes on; what isn't ends with the process, but the next one never fails or hangs.
#[test]
fn at_any_moment_of_a_drain() {
    let systemd = systemd();
    let mut survivors = 0;
    let mut lost = 0;
    let mut service = systemd.start(CONFIG);
    for round in 0..rounds() {
        let mut idle: Vec<_> = (0..300).map(|_| Client::tcp(systemd.http())).collect();
        idle.iter_mut().for_each(|client| drop(client.get("/live?live")));
        let mut running: Vec<_> = (0..5).map(|_| Client::tcp(systemd.http())).collect();
        running.iter_mut().for_each(|client| client.ask("/slow"));

        service.signal(Signal::TERM);
        // From before the drain to the time when all that is left are the requests that run.
        let after = Duration::from_micros(u64::from(round) * 997 % 8_000);
        let began = Instant::now();
        while began.elapsed() < after {
            thread::yield_now();
        }
        service.signal(Signal::KILL);
        service.wait_for_exit();

        let next = systemd.start(CONFIG);
        let said = next.said();
        for client in &mut idle {
            match client.try_get("/live?live") {
                Ok(answer) => {
                    answer.generation();
                    survivors += 1;
                }
                Err(error) => {
                    let ended = ["closed after \"\"", "reset", "Broken pipe"];
                    assert!(ended.iter().any(|words| error.contains(words)), "{error}\n{said}");
                    lost += 1;
                }
            }
        }
        service = next;
    }
    println!("{survivors} idle connections went on, {lost} ended with a process that was killed");
}

/// Once the bulk is deposited and only busy connections remain, only those are lost.
#[test]
fn while_the_last_requests_finish() {
    let systemd = systemd();
    let config = CONFIG.replace("[drain]", "[drain]\nsettle = \"0s\"");
    let mut service = systemd.start(&config);
    let mut idle: Vec<_> = (0..1000).map(|_| Client::tcp(systemd.http())).collect();
    idle.iter_mut().for_each(|client| drop(client.get("/live?live")));
    let mut running = Client::tcp(systemd.http());
    running.ask("/slower");
    Client::tcp(systemd.http()).get("/live?live");
    service.signal(Signal::TERM);
    service.wait_for_line("Handed over");
    service.signal(Signal::KILL);
    service.wait_for_exit();

    let next = systemd.start(&config);
    let said = adopted(&next);
    assert!(said.contains("did not come to the end of its drain"), "{said}");
    for client in &mut idle {
        assert_eq!(client.get("/live?live").generation(), 2);
    }
    running.try_answer().expect_err("it was busy");
}
