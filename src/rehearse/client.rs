//! What all HTTP/1.1 clients share: one request on a connection that may have to be opened, judged and counted.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::answer::{Answer, Inbox};
use super::arguments::Plan;
use super::class::Failure;
use super::connection::Connection;
use super::limits::Sources;
use super::tally::{Kind, Tally};

/// What the clients call themselves.
pub(super) const USER_AGENT: &str = concat!("outlive-rehearse/", env!("CARGO_PKG_VERSION"));

/// A rehearsal under way, as its clients see it. Everything runs on one thread.
#[derive(Debug)]
pub(super) struct Run {
    pub plan: Plan,
    pub sources: Sources,
    pub tally: RefCell<Tally>,
    pub get: Request,
    pub post: Request,
    /// A GET that asks for the connection to be closed.
    pub last_get: Request,
    /// Buffers that nobody uses just now: an idle connection holds none.
    inboxes: RefCell<Vec<Inbox>>,
    over: Cell<bool>,
    ending: Notify,
}

/// A request, written out once.
#[derive(Debug)]
pub(super) struct Request {
    pub bytes: Vec<u8>,
    /// The status that it got before the first round.
    pub usual_status: Cell<u16>,
}

impl Request {
    fn new(plan: &Plan, method: &str, fields: &str, body: &[u8]) -> Self {
        let target = &plan.target;
        let head = format!(
            "{method} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\n{fields}\r\n",
            target.path, target.authority,
        );
        Self { bytes: [head.as_bytes(), body].concat(), usual_status: Cell::new(200) }
    }
}

impl Run {
    /// Prepares a run: nothing is contacted yet.
    pub(super) fn new(plan: Plan, sources: Sources) -> Self {
        let clients = [plan.busy, plan.fresh, plan.idle, plan.half, plan.http2, plan.websockets];
        let body = vec![b'x'; plan.post];
        let length = format!("Content-Type: application/octet-stream\r\nContent-Length: {}\r\n", plan.post);
        Self {
            tally: RefCell::new(Tally::new(clients, plan.report.is_some(), plan.all_survive)),
            get: Request::new(&plan, "GET", "", b""),
            post: Request::new(&plan, "POST", &length, &body),
            last_get: Request::new(&plan, "GET", "Connection: close\r\n", b""),
            inboxes: RefCell::default(),
            over: Cell::new(false),
            ending: Notify::new(),
            sources,
            plan,
        }
    }

    /// A new connection to the target.
    pub(super) async fn open(&self, source: Option<IpAddr>) -> Result<Connection, Failure> {
        Connection::open(self.plan.target.address, source, self.plan.connect_timeout).await
    }

    /// One request on the connection in `slot`, or on a new one if there is none; counted, never repeated. Afterwards
    /// the slot holds the connection if it can be used again. `began` is when the client meant to send.
    pub(super) async fn ask(
        &self,
        kind: Kind,
        slot: &mut Option<Connection>,
        source: Option<IpAddr>,
        request: &Request,
        began: Instant,
    ) {
        let asked = async {
            if slot.is_none() {
                *slot = Some(self.open(source).await?);
            } else if slot.as_ref().is_some_and(Connection::is_stale) {
                return Err(Failure::Stale);
            }
            self.exchange(slot, request, &request.bytes).await
        };
        let outcome = asked.await;
        self.count(kind, slot, began, outcome);
    }

    /// Sends `bytes` (the rest of `request`, or all of it) and reads the answer.
    pub(super) async fn exchange(
        &self,
        slot: &mut Option<Connection>,
        request: &Request,
        bytes: &[u8],
    ) -> Result<(Answer, u16), Failure> {
        let Some(connection) = slot.as_mut() else { return Err(Failure::Stale) };
        let mut inbox = self.inboxes.borrow_mut().pop().unwrap_or_else(Inbox::new);
        let exchanging = connection.exchange(bytes, &mut inbox, self.plan.expect.as_deref());
        let outcome = tokio::time::timeout(self.plan.timeout, exchanging).await;
        self.inboxes.borrow_mut().push(inbox);
        Ok((outcome.map_err(|_| Failure::Timeout)??, request.usual_status.get()))
    }

    /// Counts how a request ended, and keeps its connection or drops it.
    pub(super) fn count(
        &self,
        kind: Kind,
        slot: &mut Option<Connection>,
        began: Instant,
        outcome: Result<(Answer, u16), Failure>,
    ) {
        let mut tally = self.tally.borrow_mut();
        match outcome {
            Ok((answer, usual)) => {
                match judge(answer, usual) {
                    Ok(()) => {
                        let kept = slot.as_mut().and_then(|connection| connection.kept.as_mut());
                        tally.answered(kind, began, kept);
                    }
                    Err(class) => tally.failed(kind, began, class),
                }
                if answer.closes {
                    // Asked for by the fresh clients themselves: nothing to count.
                    if kind != Kind::Fresh {
                        tally.closed_in_order();
                    }
                    *slot = None;
                } else if let Some(connection) = slot {
                    connection.kept.get_or_insert_with(|| tally.keep());
                }
            }
            Err(class) => {
                tally.failed(kind, began, class);
                *slot = None;
            }
        }
    }

    /// Whether clients should stop.
    pub(super) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Lets the clients finish what they are at, and stop.
    pub(super) fn end(&self) {
        self.over.set(true);
        self.ending.notify_waiters();
    }

    /// Waits for the next moment to send, or until the run is over: then false.
    pub(super) async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            biased;
            () = tokio::time::sleep(time) => !self.is_over(),
            () = self.ending.notified() => false,
        }
    }
}

/// Whether a whole answer is a good one.
pub(super) fn judge(answer: Answer, usual_status: u16) -> Result<(), Failure> {
    match answer.status {
        500.. => Err(Failure::ServerError),
        status if status != usual_status => Err(Failure::WrongStatus),
        _ if !answer.body_matches => Err(Failure::WrongBody),
        _ => Ok(()),
    }
}

/// The clients' pace: think times of 0-20 ms, evenly spread, the same in every run.
#[derive(Debug)]
pub(super) struct Pace(u64);

impl Pace {
    /// The longest think time.
    const LONGEST_MICROS: u64 = 20_000;

    pub(super) fn new(client: u32) -> Self {
        Self(u64::from(client) + 1)
    }

    /// The next think time.
    pub(super) fn think(&mut self) -> Duration {
        // SplitMix64: a few cycles, and well mixed even for seeds in sequence.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        Duration::from_micros((mixed ^ mixed >> 31) % Self::LONGEST_MICROS)
    }
}
