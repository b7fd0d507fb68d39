//! SIGKILL in the middle of a drain: once the service has said `STOPPING=1`, only busy connections are lost.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::client::{Answer, Client};
use crate::support::fake_systemd::FakeSystemd;
use crate::support::service::{Notification, Service};
use crate::support::wait::{SOON, until};
use crate::{CONFIG, adopted, systemd};

/// How many drains are interrupted. `OUTLIVE_TEST_KILLS=200` for the full length.
fn rounds() -> u32 {
    std::env::var("OUTLIVE_TEST_KILLS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(12)
}

/// What may happen in the first of them: a drain that closes has nothing left to do after that.
const COURSE: Duration = Duration::from_millis(24);

/// Moments of a drain that are spread over its course, most of them over its beginning.
fn moment(round: u32) -> Duration {
    const GOLDEN: f64 = 0.618_033_988_75;
    COURSE.mul_f64((f64::from(round) * GOLDEN).fract().powi(3))
}

fn wait_exactly(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        thread::yield_now();
    }
}

/// Connections that wait in every way that there is.
struct Waiting {
    idle: Vec<Client>,
    half: Vec<Client>,
    fresh: Vec<Client>,
}

const IDLE: usize = 250;
const HALF: usize = 30;
const FRESH: usize = 20;
const ALL: usize = IDLE + HALF + FRESH;

impl Waiting {
    fn connect(systemd: &FakeSystemd) -> Self {
        let some = |number| (0..number).map(|_| Client::tcp(systemd.http())).collect::<Vec<_>>();
        let mut waiting = Self { idle: some(IDLE), half: some(HALF), fresh: some(FRESH) };
        waiting.idle.iter_mut().for_each(|client| drop(client.get("/live?live")));
        waiting.half.iter_mut().for_each(|client| client.send("GET /live?live HTTP/1.1\r\nHo"));
        // Accepted: this one was accepted after them.
        Client::tcp(systemd.http()).get("/live?live");
        waiting
    }

    /// Asks the next process on each of them, and returns how many have gone on. The others must have ended.
    fn gone_on(&mut self) -> usize {
        let idle = self.idle.iter_mut().map(|client| client.try_get("/live?live"));
        let half =
            self.half.iter_mut().map(|client| client.try_send("st: test\r\n\r\n").and_then(|()| client.try_answer()));
        let fresh = self.fresh.iter_mut().map(|client| client.try_get("/live?live"));
        idle.chain(half).chain(fresh).filter(has_gone_on).count()
    }
}

/// Whether a connection has gone on. If not, it must have ended: nobody waits for an answer that doesn't come.
fn has_gone_on(answer: &Result<Answer, String>) -> bool {
    match answer {
        Ok(answer) => {
            answer.generation();
            true
        }
        Err(error) => {
            let ended = ["closed after \"\"", "reset", "Broken pipe"];
            assert!(ended.iter().any(|words| error.contains(words)), "{error}");
            false
        }
    }
}

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
    for round in 0..rounds() {
        let mut waiting = Waiting::connect(&systemd);
        let mut running: Vec<_> = (0..5).map(|_| Client::tcp(systemd.http())).collect();
        running.iter_mut().for_each(|client| client.ask("/slow"));

        slowest = slowest.max(begin_drain(&service));
        wait_exactly(moment(round));
        kill(&mut service);

        let next = systemd.start(&config);
        assert_eq!(waiting.gone_on(), ALL, "killed {:?} after STOPPING=1\n{}", moment(round), next.story());
        service = next;
    }
    println!("{} connections went on, none was lost; STOPPING=1 after {slowest:?} at most", rounds() as usize * ALL);
}

/// Everything is still served meanwhile. Those who ask as it is killed are answered, or their connections end.
#[test]
fn while_it_settles() {
    const ASKING: usize = 20;
    let systemd = systemd();
    let mut service = systemd.start(CONFIG);
    let (mut slowest, mut asked, mut answered) = (Duration::ZERO, 0, 0);
    for round in 0..rounds() {
        let mut running = Client::tcp(systemd.http());
        running.ask("/slower");
        let mut waiting = Waiting::connect(&systemd);
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
    println!("{} connections went on, none was lost; STOPPING=1 after {slowest:?} at most", rounds() as usize * ALL);
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
    for _ in 0..rounds().div_ceil(4) {
        let mut running = Client::tcp(systemd.http());
        running.ask("/slower");
        let mut waiting = Waiting::connect(&systemd);
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
    for round in 0..rounds() {
        let mut waiting = Waiting::connect(&systemd);
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
    println!("{survivors} of {} connections went on", rounds() as usize * ALL);
}

/// What was sent to systemd outlives the process that sent it.
#[test]
fn before_systemd_has_read_anything() {
    let systemd = systemd();
    let mut service = systemd.service(CONFIG).slow_to_read().spawn();
    service.wait_for_line("Serving");
    let mut running = Client::tcp(systemd.http());
    running.ask("/slower");
    let mut waiting = Waiting::connect(&systemd);
    service.signal(Signal::TERM);
    service.wait_for_line("draining");
    service.signal(Signal::KILL);
    service.read_notifications();
    service.wait_for_exit();

    let next = systemd.start(CONFIG);
    assert_eq!(waiting.gone_on(), ALL, "{}", next.story());
    running.try_answer().expect_err("it was busy");
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
