//! Copies of connections that are deposited from the beginning of a drain, while everything is still served: should the
//! process be killed before the drain closes, they go on in the next one all the same.
//!
//! A copy is deposited while its connection waits, and its place in the ledger is kept true from then on: busy before a
//! byte is read or a request begins ([`Entrusted::touch`]), and written anew when it waits again. When the drain closes, a
//! connection with a true place has nothing left to do but to be let go of.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;

use super::exchange::Peer;
use super::gauges::WorkerGauges;
use super::io::Io;
use super::registry::{Entry, Local, Phase};
use crate::handover::place::Place;
use crate::handover::record::Standing;
use crate::handover::{Carried, Carrier};

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
    /// It is, since this sweep.
    At(Place, Instant),
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
        matches!(self, Self::At(place, _) if place.is_current())
    }

    fn touch(&mut self) {
        match self {
            Self::At(place, _) => place.set_busy(),
            Self::Asked => *self = Self::No,
            Self::No | Self::Never => {}
        }
    }

    fn is_touchable(&self) -> bool {
        self.is_current() || matches!(self, Self::Asked)
    }
}

/// Copies that wait for others, to be deposited together.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    waiting: RefCell<Vec<(Rc<Entry>, Carried)>>,
}

impl Copies {
    /// Adds a copy; says whether no more should be waited for.
    fn add(&self, owner: &Rc<Entry>, copy: Carried) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        waiting.push((Rc::clone(owner), copy));
        waiting.len() >= BATCH
    }

    /// Deposits what waits and is still true.
    pub(crate) fn deposit(&self, carrier: &dyn Carrier, gauges: &WorkerGauges, now: Instant) {
        let mut waiting = self.waiting.take();
        if waiting.is_empty() {
            return;
        }
        let began = Instant::now();
        waiting.retain(|(owner, _)| matches!(*owner.traffic.entrusted.lock(), Entrusted::Asked));
        let (owners, copies): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        let mut places = carrier.entrust(&copies).into_iter();
        for owner in owners {
            let entrusted = places.next().map_or(Entrusted::Never, |place| Entrusted::At(place, now));
            owner.traffic.entrusted.replace(entrusted);
        }
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        gauges.handover_usec.fetch_add(took, Ordering::Relaxed);
    }
}

impl Local {
    /// Whether a connection that waits should have its copy deposited, or its place brought up to date. `in_head`: when a
    /// part of a head was read, which may come byte by byte.
    ///
    /// Who was not there yet at the last sweep may be gone before the next: a client that asks once.
    pub(crate) fn wants_copy(&self, entry: &Entry, in_head: bool) -> bool {
        self.phase() == Phase::Settling
            && self.departures.are_open()
            && match &*entry.traffic.entrusted.lock() {
                Entrusted::No => entry.born <= self.recently(),
                Entrusted::At(place, written) => !place.is_current() && (!in_head || *written < self.recently()),
                Entrusted::Asked | Entrusted::Never => false,
            }
    }

    /// Deposits a copy of a connection that waits, if that should be, or brings its place up to date.
    pub(crate) fn entrust(&self, io: &Io, entry: &Rc<Entry>) {
        if !self.wants_copy(entry, !io.ahead.is_empty()) {
            return;
        }
        let (Some(carrier), Ok(socket)) = (self.departures.carrier(), io.duplicate()) else {
            entry.traffic.entrusted.replace(Entrusted::Never);
            return;
        };
        let copy = describe(socket, io.ahead.clone(), entry);
        match entry.traffic.entrusted.replace(Entrusted::No) {
            Entrusted::At(mut place, _) => {
                let entrusted = if carrier.renew(&mut place, &copy) {
                    Entrusted::At(place, self.recently())
                } else {
                    place.vacate();
                    Entrusted::Never
                };
                entry.traffic.entrusted.replace(entrusted);
            }
            Entrusted::No | Entrusted::Asked | Entrusted::Never => {
                entry.traffic.entrusted.replace(Entrusted::Asked);
                if self.departures.copies.add(entry, copy) {
                    self.departures.copies.deposit(&*carrier, self.gauges(), self.recently());
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
