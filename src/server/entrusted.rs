//! Copies of connections that are deposited from the beginning of a drain, while everything is still served: should the
//! process be killed before the drain closes, they go on in the next one all the same.
//!
//! A copy is deposited while its connection waits, and its place in the ledger is kept true from then on: busy before a
//! byte is read or a request begins ([`Entrusted::touch`]), and written anew when it waits again: in the same poll in
//! which the last bytes of an answer were taken by the kernel, or those of half a head were read. Not before: the next
//! process would never send an answer that this one was killed over.
//!
//! All that wait as the drain begins have theirs before `STOPPING=1` is said; who comes later, within some milliseconds. When the drain closes, a
//! connection with a true place has nothing left to do but to be let go of.

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use super::exchange::Peer;
use super::gauges::WorkerGauges;
use super::io::Io;
use super::registry::{Entry, Local, Phase};
use crate::handover::place::Place;
use crate::handover::record::Standing;
use crate::handover::{Carried, Custodian};

/// Copies that are deposited at a time: as many as one message of a vault carries.
const BATCH: usize = 253;

/// Whether a copy of a connection is deposited while it is served.
#[derive(Debug, Default)]
pub(crate) enum Entrusted {
    /// Not yet.
    #[default]
    No,
    /// It is about to be. Whoever changes this back revokes it.
    Asked,
    /// It is.
    At(Place),
    /// It can't be, or its connection has ended.
    Never,
}

/// The same, wherever its connection's socket is: an application may have it on another thread.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    state: Mutex<Entrusted>,
    /// Whether anything needs to be done before a byte is read: known without the lock, since it hardly ever does.
    touchable: AtomicBool,
}

impl Trust {
    pub(crate) fn replace(&self, entrusted: Entrusted) -> Entrusted {
        let mut state = self.lock();
        self.touchable.store(entrusted.is_touchable(), Ordering::Relaxed);
        std::mem::replace(&mut *state, entrusted)
    }

    /// Something is about to happen that the record doesn't tell of.
    pub(crate) fn touch(&self) {
        if self.is_touchable() {
            self.lock().touch();
            self.touchable.store(false, Ordering::Relaxed);
        }
    }

    /// Whether anything needs to be done before a byte is read.
    pub(crate) fn is_touchable(&self) -> bool {
        self.touchable.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Entrusted> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entrusted {
    /// Whether the next process would go on with the connection as it stands.
    pub(crate) fn is_current(&self) -> bool {
        matches!(self, Self::At(place) if place.is_current())
    }

    fn touch(&mut self) {
        match self {
            Self::At(place) => place.set_busy(),
            Self::Asked => *self = Self::No,
            Self::No | Self::Never => {}
        }
    }

    fn is_touchable(&self) -> bool {
        self.is_current() || matches!(self, Self::Asked)
    }
}

/// Copies of one worker's connections.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    custodian: RefCell<Option<Arc<dyn Custodian>>>,
    /// Who was there by then has its copy deposited as soon as it waits.
    until: Cell<Option<Instant>>,
    /// Who has come since.
    newcomers: RefCell<Vec<Rc<Entry>>>,
    came: Notify,
    /// Copies that wait for others, to be deposited together.
    waiting: RefCell<Vec<(Rc<Entry>, Carried)>>,
    /// Told when all that were asked to have been deposited.
    passes: RefCell<Vec<oneshot::Sender<()>>>,
}

impl Copies {
    /// Whether connections are entrusted to anyone.
    fn are_taken(&self) -> bool {
        self.until.get().is_some()
    }

    /// To whom connections are entrusted.
    pub(super) fn custodian(&self) -> Option<Arc<dyn Custodian>> {
        self.custodian.borrow().clone()
    }

    /// A connection has come.
    pub(super) fn welcome(&self, entry: &Rc<Entry>) {
        if self.are_taken() {
            let mut newcomers = self.newcomers.borrow_mut();
            newcomers.push(Rc::clone(entry));
            if newcomers.len() == 1 {
                self.came.notify_one();
            }
        }
    }

    /// Waits until there is a newcomer again after there was none.
    pub(crate) async fn came(&self) {
        self.came.notified().await;
    }

    /// Whether any has come whose copy isn't deposited yet.
    pub(crate) fn have_newcomers(&self) -> bool {
        !self.newcomers.borrow().is_empty()
    }

    /// Adds a copy; says whether no more should be waited for.
    fn add(&self, owner: &Rc<Entry>, copy: Carried) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        waiting.push((Rc::clone(owner), copy));
        waiting.len() >= BATCH
    }

    /// Deposits what waits and is still true.
    fn deposit(&self, gauges: &WorkerGauges) {
        let mut waiting = self.waiting.take();
        let Some(custodian) = self.custodian().filter(|_| !waiting.is_empty()) else { return };
        let began = Instant::now();
        waiting.retain(|(owner, _)| matches!(*owner.traffic.entrusted.lock(), Entrusted::Asked));
        let (owners, copies): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        let mut places = custodian.entrust(&copies).into_iter();
        gauges.entrusted.fetch_add(places.len(), Ordering::Relaxed);
        for owner in owners {
            owner.traffic.entrusted.replace(places.next().map_or(Entrusted::Never, Entrusted::At));
        }
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        gauges.handover_usec.fetch_add(took, Ordering::Relaxed);
    }

    /// Deposits what waits, once all who were woken for it have had their turn, and says so.
    pub(super) fn end_passes(&self, gauges: &WorkerGauges) {
        self.deposit(gauges);
        for pass in self.passes.take() {
            let _ = pass.send(()); // it isn't waited for any longer
        }
    }
}

impl Local {
    /// Has copies of all connections that wait deposited, and from now on of those that come; if that was asked for
    /// before, of those that have come since. `done` is told when they are.
    pub(crate) fn entrust_all(&self, custodian: Arc<dyn Custodian>, done: oneshot::Sender<()>) {
        let copies = &self.departures.copies;
        if copies.are_taken() {
            self.entrust_newcomers();
        } else {
            copies.custodian.replace(Some(custodian));
            copies.until.set(Some(Instant::now()));
            self.wake_if(|entry| self.wants_copy(entry));
        }
        copies.passes.borrow_mut().push(done);
        self.departures.wake(); // behind all who were woken before
    }

    /// Has copies deposited of connections that have come since the last time, and wait. Not as they come: who asks at
    /// once, and only once, is gone before it needs a copy.
    pub(crate) fn entrust_newcomers(&self) {
        let copies = &self.departures.copies;
        copies.until.set(Some(Instant::now()));
        for entry in copies.newcomers.take() {
            if self.wants_copy(&entry) {
                entry.wake();
            }
        }
    }

    /// Whether a connection that waits should have its copy deposited, or its place brought up to date.
    pub(crate) fn wants_copy(&self, entry: &Entry) -> bool {
        let Some(until) = self.departures.copies.until.get() else { return false };
        self.phase() < Phase::Closing
            && match &*entry.traffic.entrusted.lock() {
                Entrusted::No => entry.born <= until,
                Entrusted::At(place) => !place.is_current(),
                Entrusted::Asked | Entrusted::Never => false,
            }
    }

    /// Deposits a copy of a connection that waits, if that should be, or brings its place up to date.
    pub(crate) fn entrust(&self, io: &Io, entry: &Rc<Entry>) {
        if !self.wants_copy(entry) {
            return;
        }
        let copies = &self.departures.copies;
        let (Some(custodian), Ok(socket)) = (copies.custodian(), io.duplicate()) else {
            entry.traffic.entrusted.replace(Entrusted::Never);
            return;
        };
        let copy = describe(socket, io.ahead.clone(), entry);
        match entry.traffic.entrusted.replace(Entrusted::No) {
            Entrusted::At(mut place) => {
                let entrusted = if custodian.renew(&mut place, &copy) {
                    Entrusted::At(place)
                } else {
                    place.vacate();
                    Entrusted::Never
                };
                entry.traffic.entrusted.replace(entrusted);
            }
            Entrusted::No | Entrusted::Asked | Entrusted::Never => {
                entry.traffic.entrusted.replace(Entrusted::Asked);
                if copies.add(entry, copy) {
                    copies.deposit(self.gauges());
                } else {
                    self.departures.wake();
                }
            }
        }
    }
}

/// A connection that waits, with everything that the next process needs to know of it.
pub(crate) fn describe(socket: OwnedFd, ahead: Bytes, entry: &Entry) -> Carried {
    let standing = match (ahead.is_empty(), entry.requests.get()) {
        _ if entry.is_upgraded() => Standing::Upgraded,
        (false, _) => Standing::Head,
        (true, 0) => Standing::Fresh,
        (true, _) => Standing::Idle,
    };
    Carried {
        socket,
        standing,
        listener: Arc::clone(&entry.info.listener),
        peer: match entry.info.peer {
            Peer::Tcp(address) => Some(address),
            Peer::Unix => None,
        },
        since: entry.since.get(),
        requests: entry.requests.get(),
        ahead,
    }
}
