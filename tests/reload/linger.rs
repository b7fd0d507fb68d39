//! What becomes of the old process.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::client::Client;
use crate::support::fake_systemd::FakeSystemd;
use crate::support::wait::{SOON, until};
use crate::{CONFIG, be_service_manager, reload, start, status, wait_for_end, wait_for_end_within, wait_for_only};

/// What doesn't fit into the link to a successor that has stopped comes back, ends in good order, and is counted.
#[test]
fn connections_that_the_successor_does_not_take_come_back() {
    const CONNECTIONS: usize = 500;
    let systemd = FakeSystemd::with_http();
    be_service_manager();
    let service = systemd.service(&CONFIG.replace("delay = \"1s\"", "delay = \"2s\"")).installed().start();
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| Client::tcp(systemd.http())).collect();
    clients.iter_mut().for_each(|client| client.ask("/slow"));
    until(SOON, "all of them", || match status(&systemd)["requests"]["running"].as_u64() {
        Some(running) if running == CONNECTIONS as u64 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let successor = reload(&systemd, &service);
    rustix::process::kill_process(successor, Signal::STOP).unwrap();

    wait_for_end(service.pid());
    rustix::process::kill_process(successor, Signal::CONT).unwrap();

    clients.iter_mut().for_each(|client| assert_eq!(client.answer().body, "slow\n"));
    let whole = clients.iter_mut().filter_map(|client| client.try_get("/live?live").ok()).count();
    let back = CONNECTIONS - whole;
    assert!(whole > 0 && back > 0, "{whole} have crossed");
    let said = service.story();
    let refused = format!("{back} connections cannot be handed over and will be closed: the successor takes none");
    assert!(said.contains(&refused), "{said}");
    assert!(said.contains(&format!("{back} closed")), "{said}");
}

/// systemd sends SIGTERM to the main process alone, and kills what is left once that has gone.
#[test]
fn a_stop_waits_for_what_older_processes_have_to_finish() {
    let systemd = FakeSystemd::with_http();
    let service = start(&systemd);
    let oldest = service.pid();
    let mut slow = Client::asking(systemd.http(), "/slow");
    assert_eq!(Client::tcp(systemd.http()).get("/live?live").generation(), 1);
    reload(&systemd, &service);
    // The process in between has nothing to do, ends, and passes the link to the oldest on.
    let newest = reload(&systemd, &service);
    wait_for_only(&systemd, &[oldest, newest]);
    until(SOON, "one older process", || match status(&systemd)["older_processes"].as_u64() {
        Some(1) => Ok(()),
        other => Err(format!("{other:?}")),
    });

    rustix::process::kill_process(newest, Signal::TERM).unwrap();

    let answer = slow.answer();
    assert_eq!(answer.body, "slow\n");
    wait_for_end(oldest);
    wait_for_end(newest);
    let lines = service.wait_for_lines("Drained: ", 3);
    assert!(lines.iter().all(|line| line.contains("none cut")), "{lines:?}");
}

#[test]
fn a_stop_ends_older_processes_with_its_own_window() {
    let systemd = FakeSystemd::with_http();
    be_service_manager();
    let service = systemd.service(&CONFIG.replace("5s", "1s")).installed().start();
    let oldest = service.pid();
    let _never = Client::asking(systemd.http(), "/never");
    assert_eq!(Client::tcp(systemd.http()).get("/live?live").generation(), 1);
    let newest = reload(&systemd, &service);

    let asked = Instant::now();
    rustix::process::kill_process(newest, Signal::TERM).unwrap();

    wait_for_end_within(oldest, Duration::from_secs(3));
    wait_for_end_within(newest, Duration::from_secs(3));
    assert!(asked.elapsed() >= Duration::from_millis(900), "{:?}", asked.elapsed());
    service.wait_for_line("1 request was cut on /never");
}

#[test]
fn a_hammer_reaches_older_processes() {
    let systemd = FakeSystemd::with_http();
    let service = start(&systemd);
    let oldest = service.pid();
    let _never = Client::asking(systemd.http(), "/never");
    assert_eq!(Client::tcp(systemd.http()).get("/live?live").generation(), 1);
    let newest = reload(&systemd, &service);

    rustix::process::kill_process(newest, Signal::TERM).unwrap();
    service.wait_for("STOPPING=1");
    rustix::process::kill_process(newest, Signal::TERM).unwrap();

    wait_for_end_within(oldest, Duration::from_secs(3));
    wait_for_end_within(newest, Duration::from_secs(3));
}

#[test]
fn lingering_has_an_end() {
    let systemd = FakeSystemd::with_http();
    be_service_manager();
    let config = format!("{CONFIG}\n[reload]\nlinger = \"1s\"\n");
    let mut service = systemd.service(&config).installed().start();
    let mut never = Client::asking(systemd.http(), "/never");
    assert_eq!(Client::tcp(systemd.http()).get("/live?live").generation(), 1);
    let newest = reload(&systemd, &service);

    let began = Instant::now();
    wait_for_end_within(service.pid(), Duration::from_secs(3));

    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    never.assert_closed();
    assert_eq!(Client::tcp(systemd.http()).get("/live?live").generation(), 2);
    rustix::process::kill_process(newest, Signal::TERM).unwrap();
    wait_for_end(newest);
    assert_eq!(service.wait_for_exit().code(), Some(1), "a request was cut");
}

/// An old process that somebody ends by hand takes the drain's window, or none if it is hammered.
#[test]
fn signals_to_an_old_process_are_heeded() {
    let systemd = FakeSystemd::with_http();
    let service = start(&systemd);
    let _never = Client::asking(systemd.http(), "/never");
    assert_eq!(Client::tcp(systemd.http()).get("/live?live").generation(), 1);
    reload(&systemd, &service);

    service.signal(Signal::HUP);
    service.wait_for_line("another process is the service now");
    service.signal(Signal::TERM);
    service.signal(Signal::USR2);

    wait_for_end_within(service.pid(), Duration::from_secs(3));
    assert_eq!(Client::tcp(systemd.http()).get("/live?live").generation(), 2);
}

#[test]
fn health_is_good_in_a_process_that_was_succeeded() {
    let systemd = FakeSystemd::with_http();
    be_service_manager();
    let config = format!("{CONFIG}\n[[route]]\npath = \"/healthz\"\nhealth = {{}}\n");
    let service = systemd.service(&config).installed().start();
    let mut pipelining = Client::tcp(systemd.http());
    pipelining.send("GET /slow HTTP/1.1\r\nHost: t\r\n\r\nGET /healthz HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(Client::tcp(systemd.http()).get("/live?live").generation(), 1);
    reload(&systemd, &service);
    assert_eq!(pipelining.answer().body, "slow\n");
    let health = pipelining.answer();
    assert!(health.head.starts_with("HTTP/1.1 200"), "{health:?}");
}
