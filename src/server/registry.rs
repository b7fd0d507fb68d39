//! What a worker knows of its connections and their requests, and the clock that watches over them.
//!
//! Everything here belongs to one worker's thread. Deadlines are kept in plain cells and looked at by one sweep four
//! times a second, instead of a timer for each connection that every request would have to wind up again.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::{Duration, Instant};

use http::StatusCode;
use slab::Slab;
use tokio::sync::{Notify, watch};

use super::app::Observer;
use super::census::Census;
use super::departure::Departures;
use super::exchange::{ConnectionInfo, Exchange, Outcome};
use super::gauges::{Gauges, WorkerGauges};
use super::limits::Limits;
use super::traffic::Traffic;
use super::upgrade::lent::{Home, Returning};

/// How often deadlines are looked at, and so how late a timeout may be.
pub(crate) const SWEEP: Duration = Duration::from_millis(250);

/// The same while a drain closes and the next process waits.
pub(crate) const SWEEP_CLOSING: Duration = Duration::from_millis(20);

/// The route that answers a request, once it is known.
pub(crate) type Route = Option<Arc<str>>;

/// How the process stands to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// No end in sight.
    Serving,
    /// The requests that ran when the drain began finish; everything is still served.
    Settling,
    /// No more accepts; the last requests finish, connections leave.
    Closing,
    /// What still runs is cut.
    Cut,
}

/// One connection, as seen by its worker.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) info: Arc<ConnectionInfo>,
    pub(crate) born: Instant,
    /// Since when it has waited for what it waits for, to within a sweep.
    pub(crate) since: Cell<Instant>,
    /// Its next answer is to say `Connection: close`.
    pub(crate) last: Cell<bool>,
    /// It could not leave for the next process, and ends here.
    pub(crate) stays: Cell<bool>,
    /// When the sweep should wake the connection with `expired` set.
    pub(crate) deadline: Cell<Option<Instant>>,
    pub(crate) expired: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// Requests that run on it: one at most on HTTP/1.
    running: RefCell<Slab<Arc<Exchange>>>,
    /// HTTP/1: the route of the request whose answer's last bytes wait for the client to take them, or that the
    /// connection was upgraded by. Not the exchange: that holds on to hyper's read buffer, which would have to be
    /// allocated anew for the next request.
    flushing: RefCell<Option<Route>>,
    /// The connection is the application's.
    upgraded: Cell<bool>,
    /// Where an upgraded connection returns to. Here, not with [`Home`]: a socket that returns to nobody must be
    /// closed, and it keeps its home alive.
    returning: RefCell<Option<Returning>>,
    /// Requests begun on it so far.
    pub(crate) requests: Cell<u64>,
    /// Its bytes.
    pub(crate) traffic: Arc<Traffic>,
    /// A request's body was left half-read, so what comes next on the connection is not a request's head.
    pub(crate) misaligned: Cell<bool>,
}

impl Entry {
    pub(crate) fn new(info: ConnectionInfo) -> Self {
        let now = Instant::now();
        Self {
            info: Arc::new(info),
            born: now,
            since: Cell::new(now),
            last: Cell::new(false),
            stays: Cell::new(false),
            deadline: Cell::new(None),
            expired: Cell::new(false),
            waker: RefCell::new(None),
            running: RefCell::new(Slab::new()),
            flushing: RefCell::new(None),
            upgraded: Cell::new(false),
            returning: RefCell::new(None),
            requests: Cell::new(0),
            traffic: Arc::default(),
            misaligned: Cell::new(false),
        }
    }

    /// Remembers whom to wake when the phase changes or the deadline has passed.
    pub(crate) fn remember(&self, waker: &Waker) {
        let mut mine = self.waker.borrow_mut();
        if !mine.as_ref().is_some_and(|mine| mine.will_wake(waker)) {
            *mine = Some(waker.clone());
        }
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Sets the next deadline; one that has passed unnoticed no longer counts.
    pub(crate) fn expire_at(&self, deadline: Option<Instant>) {
        self.deadline.set(deadline);
        self.expired.set(false);
    }

    /// Whether the deadline has passed.
    pub(crate) fn has_expired(&self) -> bool {
        self.expired.get()
    }

    /// Whether a request runs, or the end of its answer has yet to be taken by the client.
    pub(crate) fn busy(&self) -> bool {
        self.traffic.write_blocked() || !self.running.borrow().is_empty()
    }

    /// How many requests run.
    pub(crate) fn running(&self) -> usize {
        self.running.borrow().len()
    }

    /// All that was written has been taken by the kernel.
    pub(crate) fn flushed(&self) {
        if self.flushing.borrow().is_some() {
            self.flushing.take();
        }
    }

    /// Whether the connection is the application's.
    pub(crate) fn is_upgraded(&self) -> bool {
        self.upgraded.get()
    }

    /// The route that the connection was upgraded by.
    pub(crate) fn upgraded_by(&self) -> Route {
        self.flushing.borrow().clone().flatten()
    }

    /// Where to wait for the socket, once an application may take it.
    pub(crate) fn returning(&self) -> Option<Returning> {
        self.returning.take()
    }

    pub(crate) fn set_upgraded_by(&self, route: Route) {
        self.flushing.replace(Some(route));
    }

    /// The routes of the requests, or of the upgraded connection, that would be lost if it were cut now.
    fn at_stake(&self) -> Vec<Route> {
        let mut all: Vec<Route> = self.running.borrow().iter().map(|(_, exchange)| Some(exchange.label())).collect();
        if (self.traffic.write_blocked() || self.upgraded.get()) && all.is_empty() {
            all.extend(self.flushing.borrow().clone());
        }
        all
    }
}

/// What the connections of one worker share.
pub(crate) struct Local {
    pub(crate) index: usize,
    pub(crate) limits: Limits,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    /// Told when a drain gets on.
    pub(crate) progress: Arc<Notify>,
    /// For reading a connection's first bytes.
    pub(crate) scratch: RefCell<Box<[u8]>>,
    /// Told when there is a connection again after there was none.
    pub(crate) occupied: Notify,
    pub(crate) departures: Departures,
    phase: Cell<Phase>,
    /// The same, for upgraded connections on whatever thread.
    announced: watch::Sender<Phase>,
    entries: RefCell<Slab<Rc<Entry>>>,
    swept: Cell<Instant>,
}

impl Local {
    pub(crate) fn new(
        index: usize,
        limits: Limits,
        gauges: Arc<Gauges>,
        observer: Option<Arc<dyn Observer>>,
        progress: Arc<Notify>,
    ) -> Self {
        Self {
            index,
            limits,
            gauges,
            observer,
            progress,
            scratch: RefCell::new(vec![0; 8192].into_boxed_slice()),
            occupied: Notify::new(),
            departures: Departures::default(),
            phase: Cell::new(Phase::Serving),
            announced: watch::Sender::new(Phase::Serving),
            entries: RefCell::new(Slab::new()),
            swept: Cell::new(Instant::now()),
        }
    }

    /// The instant `time` from now, for a deadline: never early, and late by no more than the sweep is anyhow. Unlike
    /// the clock it costs nothing to read.
    pub(crate) fn after(&self, time: Duration) -> Option<Instant> {
        self.swept.get().checked_add(SWEEP + time)
    }

    /// About now: see [`Self::after`].
    pub(crate) fn recently(&self) -> Instant {
        self.swept.get()
    }

    /// Whether a connection can leave for the next process as soon as it is free.
    pub(crate) fn can_leave(&self, entry: &Entry) -> bool {
        self.departures.are_open() && !entry.stays.get()
    }

    /// Whether an answer on a connection must be its last.
    pub(crate) fn is_last(&self, entry: &Entry) -> bool {
        entry.last.get() || (self.phase() >= Phase::Closing && !self.can_leave(entry))
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(crate) fn gauges(&self) -> &WorkerGauges {
        self.gauges.worker(self.index)
    }

    /// Registers a connection for as long as the returned value lives. It is counted already, by whoever accepted it.
    pub(crate) fn register(self: &Rc<Self>, entry: Entry) -> Registered {
        let entry = Rc::new(entry);
        self.departures.copies.welcome(&entry);
        let mut entries = self.entries.borrow_mut();
        let key = entries.insert(Rc::clone(&entry));
        if entries.len() == 1 {
            self.swept.set(Instant::now());
            self.occupied.notify_one();
        }
        Registered { entry, key, local: Rc::clone(self) }
    }

    /// Whether there is any connection to watch over.
    pub(crate) fn is_occupied(&self) -> bool {
        !self.entries.borrow().is_empty()
    }

    /// Enters a phase, and wakes every connection to it.
    pub(crate) fn enter(&self, phase: Phase) {
        if self.phase.get() == Phase::Serving {
            let running = self.entries.borrow().iter().map(|(_, entry)| entry.running()).sum();
            self.gauges().running_since_before.store(running, Ordering::Release);
        }
        self.phase.set(phase);
        self.announced.send_replace(phase);
        self.wake_if(|_| true);
        self.gauges().phase.fetch_add(1, Ordering::Release);
        self.progress.notify_one();
    }

    /// Wakes the connections of which something is true.
    pub(crate) fn wake_if(&self, is_true: impl Fn(&Entry) -> bool) {
        self.entries.borrow().iter().filter(|(_, entry)| is_true(entry)).for_each(|(_, entry)| entry.wake());
    }

    /// Wakes every connection whose deadline has passed.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.swept.set(now);
        for (_, entry) in self.entries.borrow().iter() {
            if entry.deadline.get().is_some_and(|deadline| deadline <= now) {
                entry.deadline.set(None);
                entry.expired.set(true);
                entry.wake();
            }
        }
    }

    /// Counts the connections by what they are doing.
    pub(crate) fn census(&self) -> Census {
        let mut census = Census::default();
        for (_, entry) in self.entries.borrow().iter() {
            *(match (entry.busy(), entry.requests.get()) {
                _ if entry.is_upgraded() => &mut census.upgraded,
                (true, _) => &mut census.busy,
                (false, 0) => &mut census.fresh,
                (false, _) => &mut census.idle,
            }) += 1;
        }
        census
    }

    /// Where a connection's socket returns to that an application may take.
    pub(crate) fn home<'a>(&self, entry: &'a Entry) -> &'a Home {
        entry.traffic.home_or(|| {
            let (home, returning) = Home::new(Arc::clone(&entry.info), self.announced.subscribe());
            entry.returning.replace(Some(returning));
            home
        })
    }

    /// Counts a connection as the application's until the returned value is dropped.
    pub(crate) fn upgraded<'a>(&'a self, entry: &'a Entry) -> Upgraded<'a> {
        entry.upgraded.set(true);
        self.gauges().upgraded.fetch_add(1, Ordering::Relaxed);
        Upgraded { local: self, entry }
    }

    /// The routes of the requests and upgraded connections that would be lost if the process ended now.
    pub(crate) fn at_stake(&self) -> Vec<Route> {
        self.entries.borrow().iter().flat_map(|(_, entry)| entry.at_stake()).collect()
    }
}

/// A connection's place in the registry.
pub(crate) struct Registered {
    pub(crate) entry: Rc<Entry>,
    key: usize,
    local: Rc<Local>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.local.entries.borrow_mut().remove(self.key);
        self.local.gauges().connections.fetch_sub(1, Ordering::Release);
        if self.local.phase() != Phase::Serving {
            self.local.progress.notify_one();
        }
    }
}

/// A connection that is the application's.
pub(crate) struct Upgraded<'a> {
    local: &'a Local,
    entry: &'a Entry,
}

impl Drop for Upgraded<'_> {
    fn drop(&mut self) {
        self.entry.upgraded.set(false);
        self.local.gauges().upgraded.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request that runs, from its head to the end of its answer; however it ends, dropping this accounts for it.
pub(crate) struct InFlight {
    /// Where its exchange is in the entry's books. A reference of its own would cost two locked instructions a request.
    key: usize,
    pub(crate) status: Option<StatusCode>,
    pub(crate) outcome: Outcome,
    pub(crate) entry: Rc<Entry>,
    pub(crate) local: Rc<Local>,
    since_before: bool,
}

impl InFlight {
    pub(crate) fn begin(local: &Rc<Local>, entry: &Rc<Entry>, exchange: Arc<Exchange>) -> Self {
        entry.traffic.entrusted.touch();
        local.gauges().request_begins();
        let key = entry.running.borrow_mut().insert(exchange);
        entry.requests.set(entry.requests.get() + 1);
        Self {
            key,
            status: None,
            outcome: Outcome::Aborted,
            entry: Rc::clone(entry),
            local: Rc::clone(local),
            since_before: local.phase() == Phase::Serving,
        }
    }
}

impl InFlight {
    /// The request and its answer.
    pub(crate) fn exchange(&self) -> Ref<'_, Exchange> {
        Ref::map(self.entry.running.borrow(), |running| &*running[self.key])
    }

    /// The request's body was left half-read.
    pub(crate) fn misaligned(&self) {
        self.entry.misaligned.set(true);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let gauges = self.local.gauges();
        gauges.request_ends();
        let exchange = self.entry.running.borrow_mut().remove(self.key);
        if self.outcome == Outcome::Complete {
            gauges.request_was_answered();
            self.entry.flushing.replace(Some(exchange.route().cloned()));
        } else if self.outcome == Outcome::Aborted && self.local.phase() == Phase::Cut {
            self.outcome = Outcome::Cut;
        }
        if self.local.phase() != Phase::Serving {
            if self.since_before {
                gauges.running_since_before.fetch_sub(1, Ordering::Release);
            }
            self.local.progress.notify_one();
        }
        if let Some(observer) = &self.local.observer {
            observer.ended(&exchange, self.status, self.outcome);
        }
    }
}
