//! Connections that leave for the next process, and those that have come from the one before.
//!
//! Once a drain closes, connections become free one by one, thousands of them within a moment. They are collected here,
//! and a task of the worker's own gives them to the [`Carrier`] by the batch: it runs when every connection that was
//! woken has had its turn, so that a batch is as large as can be without anyone having waited for it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};

use super::entrusted::{Copies, Entrusted, describe};
use super::io::{Detached, Io};
use super::registry::{Entry, Local};
use super::upgrade::handlers::Resume;
use crate::handover::parcel::Parcel;
use crate::handover::place::Place;
use crate::handover::{Carried, Carrier};

/// Where a worker's connections wait to be carried.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    carrier: RefCell<Option<Arc<dyn Carrier>>>,
    waiting: RefCell<Waiting>,
    /// Of connections that don't leave yet.
    pub(super) copies: Copies,
    some: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    connections: Vec<Carried>,
    answers: Vec<(RawFd, oneshot::Sender<Carried>)>,
    since: Option<Instant>,
}

impl Departures {
    /// From now on, connections can leave.
    pub(crate) fn open(&self, carrier: Arc<dyn Carrier>) {
        self.carrier.replace(Some(carrier));
    }

    /// Whether connections can leave.
    pub(crate) fn are_open(&self) -> bool {
        self.carrier.borrow().is_some()
    }

    /// How connections leave.
    pub(super) fn carrier(&self) -> Option<Arc<dyn Carrier>> {
        self.carrier.borrow().clone()
    }

    /// Has the worker's own task look after what waits.
    pub(super) fn wake(&self) {
        self.some.notify_one();
    }

    /// Waits until the connection has left; returns it if it has to stay.
    async fn leave(&self, connection: Carried) -> Option<Carried> {
        let (answer, asked) = oneshot::channel();
        {
            let mut waiting = self.waiting.borrow_mut();
            waiting.since.get_or_insert_with(Instant::now);
            waiting.answers.push((connection.socket.as_raw_fd(), answer));
            waiting.connections.push(connection);
        }
        self.some.notify_one();
        asked.await.ok()
    }

    /// Gives to the carrier whatever waits, for ever.
    pub(crate) async fn see_off(&self, local: &Local) {
        let gauges = local.gauges();
        loop {
            self.some.notified().await;
            let Waiting { connections, answers, since } = self.waiting.take();
            self.copies.end_passes(gauges);
            let Some(carrier) = self.carrier().filter(|_| !connections.is_empty()) else { continue };
            let number = connections.len();
            let stay = carrier.carry(connections);
            gauges.handed_over.fetch_add(number - stay.len(), Ordering::Relaxed);
            if let Some(since) = since {
                let took = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
                gauges.handover_usec.fetch_add(took, Ordering::Relaxed);
            }
            // Sockets that stay are open still, so their numbers are their own. For the others there is no answer.
            let mut stay: HashMap<RawFd, Carried> =
                stay.into_iter().map(|connection| (connection.socket.as_raw_fd(), connection)).collect();
            for (number, answer) in answers {
                if let Some(connection) = stay.remove(&number) {
                    let _ = answer.send(connection);
                }
            }
        }
    }
}

/// Lets a connection that waits for a request leave for the next process, if that is possible; returns it otherwise. It
/// is to be told `Connection: close` then.
pub(super) async fn depart(io: Io, local: &Local, entry: &Entry) -> Option<Io> {
    if !local.can_leave(entry) {
        return Some(io);
    }
    let entrusted = entry.traffic.entrusted.replace(Entrusted::Never);
    let (stream, ahead, traffic) = io.into_parts();
    let custodian = local.departures.copies.custodian();
    let place = match (entrusted, &custodian) {
        (Entrusted::At(place), Some(custodian)) if custodian.keeps(&place) => Some(place),
        (Entrusted::At(place), _) => {
            place.vacate();
            None
        }
        _ => None,
    };
    if place.as_ref().is_some_and(Place::is_current) {
        local.gauges().handed_over.fetch_add(1, Ordering::Relaxed);
        return None; // its copy is all that is needed
    }
    // A socket that can't be taken away from the runtime is closed with it: that is not known to happen.
    let socket = stream?.detach().ok()?.into();
    let connection = describe(socket, ahead, entry);
    if let (Some(mut place), Some(custodian)) = (place, custodian) {
        if custodian.renew(&mut place, &connection) {
            local.gauges().handed_over.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        place.vacate();
    }
    let stays = local.departures.leave(connection).await?;
    entry.stays.set(true);
    let stream = Detached::new(stays.socket, stays.peer.is_some()).ok()?.attach().ok()?;
    Some(Io::new(stream, stays.ahead, traffic))
}

/// Lets an upgraded connection leave with its parcel; returns it if that is not possible.
pub(super) async fn depart_upgraded(mut io: Io, parcel: &Parcel, local: &Local, entry: &Entry) -> Option<Io> {
    let ahead = std::mem::take(&mut io.ahead);
    io.ahead = parcel.encode(&ahead);
    let mut stays = depart(io, local, entry).await?;
    stays.ahead = ahead;
    Some(stays)
}

/// A connection that has come from another process.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) connection: Carried,
    /// Its next answer is to say `Connection: close`.
    pub(crate) last: bool,
    /// Without one, it is one too many.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
    /// Who goes on with it, if it is upgraded.
    pub(crate) resume: Option<Resume>,
}

impl Detached {
    /// Takes a descriptor for a client's socket. If it is none, because a hostile process has sent it, everything that
    /// is done to it will fail.
    pub(crate) fn new(socket: OwnedFd, tcp: bool) -> io::Result<Self> {
        // It should be so already, and one that is not would hold up a worker.
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(if tcp { Self::Tcp(socket.into()) } else { Self::Unix(socket.into()) })
    }
}

impl From<Detached> for OwnedFd {
    fn from(socket: Detached) -> Self {
        match socket {
            Detached::Tcp(stream) => stream.into(),
            Detached::Unix(stream) => stream.into(),
        }
    }
}
