//! SIGKILL in the middle of a drain.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::client::Client;
use crate::support::wait::{SOON, until};
use crate::{CONFIG, adopted, systemd, waiting};

/// How many drains are interrupted. `OUTLIVE_TEST_KILLS=200` for the full length.
fn rounds() -> u32 {
    std::env::var("OUTLIVE_TEST_KILLS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(12)
}

/// What is deposited goes on, and all but busy connections are a few milliseconds after the drain has closed; what isn't
/// ends with the process. The next one never fails or hangs.
#[test]
fn at_any_moment_of_a_drain() {
    let systemd = systemd();
    let mut survivors = 0;
    let mut lost = 0;
    let config = CONFIG.replace("[drain]", "[drain]\nsettle = \"0s\"");
    let mut service = systemd.start(&config);
    for round in 0..rounds() {
        let mut idle: Vec<_> = (0..300).map(|_| Client::tcp(systemd.http())).collect();
        idle.iter_mut().for_each(|client| drop(client.get("/live?live")));
        let mut running: Vec<_> = (0..5).map(|_| Client::tcp(systemd.http())).collect();
        running.iter_mut().for_each(|client| client.ask("/slow"));

        service.signal(Signal::TERM);
        // From before the drain to the time when all that is left are the requests that run.
        let after = Duration::from_micros(u64::from(round) * 1999 % 24_000);
        let began = Instant::now();
        while began.elapsed() < after {
            thread::yield_now();
        }
        service.signal(Signal::KILL);
        service.wait_for_exit();
        let all_left = service.said().contains("Handed over 300 connections");

        let next = systemd.start(&config);
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
                    assert!(!all_left, "{error}\n{said}");
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

/// Everything is still served then, and a few milliseconds later everyone who waits outlives the process: also who was
/// served meanwhile. A request that was sent as it was killed is answered, or its connection ends: nobody waits forever.
#[test]
fn while_it_settles() {
    const IDLE: usize = 200;
    const HALF: usize = 20;
    const FRESH: usize = 10;
    let systemd = systemd();
    let (mut survivors, mut lost, mut all_kept) = (0, 0, 0);
    let mut service = systemd.start(CONFIG);
    for round in 0..rounds() {
        let mut running = Client::tcp(systemd.http());
        running.ask("/slower");
        let mut idle: Vec<_> = (0..IDLE).map(|_| Client::tcp(systemd.http())).collect();
        idle.iter_mut().for_each(|client| drop(client.get("/live?live")));
        let mut half: Vec<_> = (0..HALF).map(|_| Client::tcp(systemd.http())).collect();
        half.iter_mut().for_each(|client| client.send("GET /live?live HTTP/1.1\r\nHo"));
        let mut fresh: Vec<_> = (0..FRESH).map(|_| Client::tcp(systemd.http())).collect();
        // Accepted, and its half of a head read: later ones were accepted after it.
        Client::tcp(systemd.http()).get("/live?live");

        service.signal(Signal::TERM);
        // Every second drain is let get to where all are safe.
        let settled = round % 2 == 1;
        if settled {
            until(SOON, "copies of all that wait", || match waiting(&systemd) {
                IDLE.. => Ok(()),
                fewer => Err(format!("{fewer}")),
            });
            for client in &mut idle {
                client.get("/live?live"); // it is still served, and safe again once it waits
            }
            until(SOON, "copies of all that wait", || match waiting(&systemd) {
                number if number >= IDLE + HALF + FRESH => Ok(()),
                fewer => Err(format!("{fewer}")),
            });
        }
        let after = Duration::from_micros(u64::from(round) * 1999 % 24_000);
        let began = Instant::now();
        let asking = &mut idle[..10];
        while began.elapsed() < after {
            thread::yield_now();
        }
        if !settled {
            asking.iter_mut().for_each(|client| client.ask("/live?live"));
        }
        service.signal(Signal::KILL);
        service.wait_for_exit();
        let kept = waiting(&systemd);

        let next = systemd.start(CONFIG);
        let mut gone_on = 0;
        let asked = if settled { 0 } else { asking.len() };
        for (index, client) in idle.iter_mut().enumerate() {
            let answer = if index < asked { client.try_answer() } else { client.try_get("/live?live") };
            gone_on += account(answer, settled, &next);
        }
        for client in &mut half {
            let answer = client.try_send("st: test\r\n\r\n").and_then(|()| client.try_answer());
            gone_on += account(answer, settled, &next);
        }
        for client in &mut fresh {
            gone_on += account(client.try_get("/live?live"), settled, &next);
        }
        running.try_answer().expect_err("it was busy");
        assert!(gone_on >= kept, "{gone_on} of {kept}: {}", next.story());
        survivors += gone_on;
        lost += IDLE + HALF + FRESH - gone_on;
        all_kept += usize::from(settled);
        service = next;
    }
    println!("{survivors} connections went on, {lost} ended; of {all_kept} drains that had settled, none");
}

/// One if the connection went on; it may only have ended instead if the drain hadn't got round to it.
#[track_caller]
fn account(
    answer: Result<crate::client::Answer, String>,
    safe: bool,
    next: &crate::support::service::Service,
) -> usize {
    match answer {
        Ok(answer) => {
            answer.generation();
            1
        }
        Err(error) => {
            let ended = ["closed after \"\"", "reset", "Broken pipe"];
            assert!(!safe && ended.iter().any(|words| error.contains(words)), "{error}\n{}", next.story());
            0
        }
    }
}
