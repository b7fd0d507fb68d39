//! SIGKILL in the middle of a drain: once the service has said `STOPPING=1`, only busy connections are lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::client::Client;
use crate::support::container::allow_many_descriptors;
use crate::support::held::Held;
use crate::support::killed::{ALL, Waiting, has_gone_on, moment, rounds, wait_exactly};
use crate::support::service::{Notification, Service};
use crate::support::wait::{SOON, until};
use crate::{CONFIG, adopted, systemd};

/// Begins a drain, waits until it is said, and returns how long that took.
fn begin_drain(service: &Service) -> Duration {
    let asked = Instant::now();
    service.signal(Signal::TERM);
    let said = |sent: &[Notification]| sent.iter().find(|sent| sent.get("STOPPING") == Some("1")).map(|sent| sent.at);
    service.wait_until("STOPPING=1", said).saturating_duration_since(asked)
}

fn kill(service: &mut Service) {
    service.signal(Signal::KILL);
    service.wait_for_exit();
}

/// Without settling, connections leave while the process is killed.
#[test]
fn while_it_closes() {
    let systemd = systemd();
    let config = CONFIG.replace("[drain]", "[drain]\nsettle = \"0s\"");
    let mut service = systemd.start(&config);
    let mut slowest = Duration::ZERO;
    for round in 0..rounds(12) {
        let mut waiting = Waiting::connect(systemd.http());
        let mut running: Vec<_> = (0..5).map(|_| Client::tcp(systemd.http())).collect();
        running.iter_mut().for_each(|client| client.ask("/slow"));

        slowest = slowest.max(begin_drain(&service));
        wait_exactly(moment(round));
        kill(&mut service);

        let next = systemd.start(&config);
        assert_eq!(waiting.gone_on(), ALL, "killed {:?} after STOPPING=1\n{}", moment(round), next.story());
        service = next;
    }
    println!("{} connections went on, none was lost; STOPPING=1 after {slowest:?} at most", rounds(12) as usize * ALL);
}

/// Everything is still served meanwhile. Those who ask as it is killed are answered, or their connections end.
#[test]
fn while_it_settles() {
    const ASKING: usize = 20;
    let systemd = systemd();
    let mut service = systemd.start(CONFIG);
    let (mut slowest, mut asked, mut answered) = (Duration::ZERO, 0, 0);
    for round in 0..rounds(12) {
        let mut running = Client::tcp(systemd.http());
        running.ask("/slower");
        let mut waiting = Waiting::connect(systemd.http());
        let mut asking: Vec<_> = (0..ASKING).map(|_| Client::tcp(systemd.http())).collect();
        asking.iter_mut().for_each(|client| drop(client.get("/live?live")));

        slowest = slowest.max(begin_drain(&service));
        wait_exactly(moment(round));
        asking.iter_mut().for_each(|client| client.ask("/live?live"));
        wait_exactly(moment(round + 1) / 8);
        kill(&mut service);

        let next = systemd.start(CONFIG);
        assert_eq!(waiting.gone_on(), ALL, "killed {:?} after STOPPING=1\n{}", moment(round), next.story());
        asked += asking.len();
        answered += asking.iter_mut().map(Client::try_answer).filter(has_gone_on).count();
        running.try_answer().expect_err("it was busy");
        service = next;
    }
    println!("{} connections went on, none was lost; STOPPING=1 after {slowest:?} at most", rounds(12) as usize * ALL);
    println!("of {asked} who asked just before, {answered} were answered by one process or the other");
}

/// Who was served, has come or has begun to ask while it settles is safe again as soon as the ledger says so, which is
/// soon.
#[test]
fn after_it_has_served_while_it_settles() {
    const NEW: usize = 40;
    let systemd = systemd();
    let mut service = systemd.start(CONFIG);
    let mut slowest = Duration::ZERO;
    for _ in 0..rounds(12).div_ceil(4) {
        let mut running = Client::tcp(systemd.http());
        running.ask("/slower");
        let mut waiting = Waiting::connect(systemd.http());
        begin_drain(&service);

        waiting.idle.iter_mut().for_each(|client| drop(client.get("/live?live")));
        waiting.half.iter_mut().for_each(|client| client.send("st: te"));
        waiting.half.iter_mut().for_each(|client| client.send("st\r\nX-More: "));
        let mut new: Vec<_> = (0..NEW).map(|_| Client::tcp(systemd.http())).collect();
        new[NEW / 2..].iter_mut().for_each(|client| drop(client.get("/live?live")));
        let began = Instant::now();
        until(SOON, "copies of all that wait", || match crate::waiting(&systemd) {
            number if number == ALL + NEW => Ok(()),
            number => Err(format!("{number}")),
        });
        slowest = slowest.max(began.elapsed());
        kill(&mut service);

        let next = systemd.start(CONFIG);
        // This ends a head, too: "X-More: st: test".
        let gone_on =
            waiting.gone_on() + new.iter_mut().map(|client| client.try_get("/live?live")).filter(has_gone_on).count();
        assert_eq!(gone_on, ALL + NEW, "{}", next.story());
        running.try_answer().expect_err("it was busy");
        service = next;
    }
    println!("copies of all that wait again, or are new, after {slowest:?} at most");
}

/// Between the signal and `STOPPING=1` some are safe already and others aren't yet. The next start never fails.
#[test]
fn before_the_drain_has_begun() {
    let systemd = systemd();
    let mut service = systemd.start(CONFIG);
    let mut survivors = 0;
    for round in 0..rounds(12) {
        let mut waiting = Waiting::connect(systemd.http());
        service.signal(Signal::TERM);
        wait_exactly(moment(round) / 8);
        kill(&mut service);
        let kept = crate::waiting(&systemd);

        let next = systemd.start(CONFIG);
        let gone_on = waiting.gone_on();
        assert!(gone_on >= kept, "{gone_on} of {kept}: {}", next.story());
        survivors += gone_on;
        service = next;
    }
    println!("{survivors} of {} connections went on", rounds(12) as usize * ALL);
}

/// What was sent to systemd outlives the process that sent it.
#[test]
fn before_systemd_has_read_anything() {
    let systemd = systemd();
    let mut service = systemd.service(CONFIG).slow_to_read().spawn();
    service.wait_for_line("Serving");
    let mut running = Client::tcp(systemd.http());
    running.ask("/slower");
    let mut waiting = Waiting::connect(systemd.http());
    service.signal(Signal::TERM);
    service.wait_for_line("draining");
    service.signal(Signal::KILL);
    service.read_notifications();
    service.wait_for_exit();

    let next = systemd.start(CONFIG);
    assert_eq!(waiting.gone_on(), ALL, "{}", next.story());
    running.try_answer().expect_err("it was busy");
}

/// It is said soon after the signal, however many connections wait.
#[test]
fn a_drain_begins_soon() {
    allow_many_descriptors();
    let systemd = systemd();
    let mut service = systemd.start(CONFIG);
    for number in [300, 1000, 10_000] {
        let mut idle: Vec<_> = (0..number).map(|_| Client::tcp(systemd.http())).collect();
        idle.iter_mut().for_each(|client| drop(client.get("/live?live")));
        let mut running = Client::tcp(systemd.http());
        running.ask("/slower");
        Client::tcp(systemd.http()).get("/live?live");
        let took = begin_drain(&service);
        kill(&mut service);
        println!("{number} idle connections: STOPPING=1 after {took:?}");
        assert!(took < Duration::from_secs(1), "{took:?}");
        service = systemd.start(CONFIG);
        assert!(adopted(&service).starts_with(&format!("Adopted {number} of ")), "{}", service.said());
    }
}

/// A worker that is stuck holds up neither the drain nor what the others do.
#[test]
fn while_a_worker_is_stuck() {
    let systemd = systemd();
    let mut service = systemd.start(CONFIG);
    let mut idle: Vec<_> = (0..100).map(|_| Client::tcp(systemd.http())).collect();
    idle.iter_mut().for_each(|client| drop(client.get("/live?live")));
    let held = Held::thread(service.pid(), "worker-0");
    let took = begin_drain(&service);
    assert!(took < Duration::from_secs(5), "{took:?}");
    service.signal(Signal::KILL);
    drop(held);
    service.wait_for_exit();
    let next = systemd.start(CONFIG);
    let gone_on = idle.iter_mut().map(|client| client.try_get("/live?live")).filter(has_gone_on).count();
    assert!((1..100).contains(&gone_on), "those of the other worker: {gone_on}, {}", next.story());
}

/// Once the bulk has left and only busy connections remain, only those are lost.
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
    kill(&mut service);

    let next = systemd.start(&config);
    let said = adopted(&next);
    assert!(said.contains("did not come to the end of its drain"), "{said}");
    for client in &mut idle {
        assert_eq!(client.get("/live?live").generation(), 2);
    }
    running.try_answer().expect_err("it was busy");
}

/// Copies of those who come meanwhile are no sign that a stuck worker gets on.
#[test]
fn while_a_worker_is_stuck_and_clients_come() {
    let systemd = systemd();
    let service = systemd.start(CONFIG);
    let held = Held::thread(service.pid(), "worker-0");
    let (http, begun) = (systemd.http(), AtomicBool::new(false));
    let took = thread::scope(|scope| {
        scope.spawn(|| {
            let mut clients = Vec::new();
            // Bounded, in case that the drain never begins.
            while clients.len() < 1000 && !begun.load(Ordering::Relaxed) {
                clients.push(Client::tcp(http));
                thread::sleep(Duration::from_millis(10));
            }
        });
        let took = begin_drain(&service);
        begun.store(true, Ordering::Relaxed);
        took
    });
    assert!(took < Duration::from_secs(5), "{took:?}");
    drop(held);
}
