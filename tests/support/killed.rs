//! SIGKILL in the middle of a drain: when, and what becomes of connections that wait then.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::bytewise::{Answer, Client};

/// How many drains are interrupted. `OUTLIVE_TEST_KILLS=200` for the full length.
pub fn rounds(usually: u32) -> u32 {
    std::env::var("OUTLIVE_TEST_KILLS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(usually)
}

/// How long a drain takes to let go of all who wait: a few milliseconds, if nobody keeps it waiting.
const COURSE: Duration = Duration::from_millis(24);

/// When to kill it: moments that are spread over its course, most of them over its beginning.
pub fn moment(round: u32) -> Duration {
    const GOLDEN: f64 = 0.618_033_988_75;
    COURSE.mul_f64((f64::from(round) * GOLDEN).fract().powi(3))
}

/// Waits to the microsecond, as sleeping would not.
pub fn wait_exactly(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        thread::yield_now();
    }
}

/// Connections that wait in every way that there is.
pub struct Waiting {
    pub idle: Vec<Client>,
    pub half: Vec<Client>,
    pub fresh: Vec<Client>,
}

const IDLE: usize = 250;
const HALF: usize = 30;
const FRESH: usize = 20;

/// All of them.
pub const ALL: usize = IDLE + HALF + FRESH;

impl Waiting {
    /// Connects, and returns once the service has accepted all of them.
    pub fn connect(service: SocketAddr) -> Self {
        let some = |number| (0..number).map(|_| Client::tcp(service)).collect::<Vec<_>>();
        let mut waiting = Self { idle: some(IDLE - 1), half: some(HALF), fresh: some(FRESH) };
        waiting.idle.iter_mut().for_each(|client| drop(client.get("/live?live")));
        waiting.half.iter_mut().for_each(|client| client.send("GET /live?live HTTP/1.1\r\nHo"));
        // All are accepted: this one was accepted after them.
        let mut last = Client::tcp(service);
        last.get("/live?live");
        waiting.idle.push(last);
        waiting
    }

    /// Asks the next process on each of them, and returns how many have gone on. The others must have ended.
    pub fn gone_on(&mut self) -> usize {
        let idle = self.idle.iter_mut().map(|client| client.try_get("/live?live"));
        let half =
            self.half.iter_mut().map(|client| client.try_send("st: test\r\n\r\n").and_then(|()| client.try_answer()));
        let fresh = self.fresh.iter_mut().map(|client| client.try_get("/live?live"));
        idle.chain(half).chain(fresh).filter(has_gone_on).count()
    }
}

/// Whether a connection has gone on. If not, it must have ended: nobody waits for an answer that doesn't come.
pub fn has_gone_on(answer: &Result<Answer, String>) -> bool {
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
