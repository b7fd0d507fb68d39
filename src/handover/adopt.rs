//! In: what a process finds in systemd's descriptor store when it starts.
//!
//! Nothing that is found is believed: it may come from another version, or have been half written by a process that was
//! killed. Whatever can't be understood is closed and counted.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use super::ledger::Reader;
use super::record::{Record, State};
use super::vault::{Batch, Opened};
use super::{Carried, parse_name};
use crate::systemd::activation::Stored;
use crate::systemd::notify::Notifier;

/// Most messages that are read from a vault: its queue never holds as many, but whoever has its other end could go on
/// sending.
const MESSAGES_AT_MOST: usize = 1 << 20;

/// Most descriptors that room is made for on the word of a ledger: it costs 8 bytes each.
const ROOM_AT_MOST: usize = 1 << 20;

/// Descriptors that room is made for beside those that have come: the table takes 8 bytes for each.
const SPARE_ROOM: usize = 4000;

/// What was found in the store.
#[derive(Debug, Default)]
pub struct Found {
    /// Connections that can go on.
    pub connections: Vec<Carried>,
    /// What is said about them all.
    pub report: Report,
    names: Vec<String>,
}

/// What was found, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The process that has left them there.
    pub generation: Option<u64>,
    /// Connections that it says it has left.
    pub expected: usize,
    /// Connections that were closed, because it was killed in the middle of a request on them.
    pub busy: usize,
    /// Connections that were closed, because this version can't read what is said of them.
    pub unreadable: usize,
    /// Whether that process had come to the end of its drain.
    pub complete: bool,
}

#[derive(Default)]
struct Pair {
    vault: Option<Opened>,
    ledger: Option<Reader>,
}

impl Found {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Lets systemd forget what was read: it holds copies, which would keep connections open that have ended.
    pub fn forget(&self, notifier: &Notifier) {
        for name in &self.names {
            notifier.remove(name);
        }
    }
}

/// The process that has left the most recent of what is in the store, if it says so.
#[must_use]
pub fn former_generation(stored: &[Stored]) -> Option<u64> {
    stored.iter().filter_map(|one| Some(Reader::open(one.descriptor.try_clone().ok()?).ok()?.generation)).max()
}

/// Makes room for as many descriptors as are in the store, `most` at most. To be called as [`make_room_for`] is.
pub fn make_room(stored: &[Stored], most: usize) {
    let deposited = |one: &Stored| Some(Reader::open(one.descriptor.try_clone().ok()?).ok()?.deposited as usize);
    let expected: usize = stored.iter().filter_map(deposited).fold(0, usize::saturating_add);
    make_room_for(expected, most);
}

/// Makes room for so many descriptors and a few thousand more, `most` at most.
///
/// To be called before any thread is started: later, the kernel waits for all processors each time that it doubles a
/// process's table of descriptors (synchronize_rcu), which takes ten thousand connections a tenth of a second, and ten
/// milliseconds when a drain begins and copies need descriptors.
pub fn make_room_for(number: usize, most: usize) {
    if let Ok(highest) = i32::try_from(number.saturating_add(SPARE_ROOM).min(most).min(ROOM_AT_MOST)) {
        // Any descriptor does, and the table doesn't shrink when this one is dropped.
        let _ = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), highest);
    }
}

/// Reads everything that was found in the store, `most` connections at most.
#[must_use]
pub fn read(stored: Vec<Stored>, most: usize) -> Found {
    let mut found = Found { report: Report { complete: true, ..Report::default() }, ..Found::default() };
    for ((generation, _), pair) in sort(stored, &mut found.names) {
        let generation = pair.ledger.as_ref().map_or(generation, |ledger| ledger.generation);
        found.report.generation = found.report.generation.max(Some(generation));
        // Without its vault, which comes after it, the process was killed before it had left anything.
        let left = pair.ledger.as_ref().filter(|_| pair.vault.is_some());
        let deposited = left.map_or(0, |ledger| ledger.deposited as usize);
        found.report.complete &= pair.ledger.as_ref().is_some_and(|ledger| ledger.complete);
        let Came { all, gone } = read_pair(pair, most, &mut found);
        // A process that was killed between depositing and saying so has left more than it says.
        found.report.expected += deposited.max(all).saturating_sub(gone);
    }
    found
}

/// Puts vaults and ledgers together by their names.
fn sort(stored: Vec<Stored>, names: &mut Vec<String>) -> BTreeMap<(u64, u64), Pair> {
    let mut pairs: BTreeMap<_, Pair> = BTreeMap::new();
    for Stored { name, descriptor } in stored {
        if let Some((is_vault, generation, number)) = parse_name(&name) {
            let pair = pairs.entry((generation, number)).or_default();
            if is_vault {
                pair.vault = Opened::new(descriptor);
            } else {
                pair.ledger = Reader::open(descriptor).ok();
            }
        }
        names.push(name);
    }
    pairs
}

/// Descriptors in a vault.
#[derive(Default)]
struct Came {
    all: usize,
    /// Of connections that had ended before their process did, or that have another place.
    gone: usize,
}

/// Reads a vault to its end.
fn read_pair(pair: Pair, most: usize, found: &mut Found) -> Came {
    let mut came = Came::default();
    let Some(vault) = pair.vault else { return came };
    let mut ledger = pair.ledger;
    for _ in 0..MESSAGES_AT_MOST {
        let Some(Batch { first, descriptors }) = vault.receive() else { break };
        came.all += descriptors.len();
        let mut slots = match (&ledger, first) {
            (Some(ledger), Some(first)) => ledger.slots(first, descriptors.len()).into_iter(),
            _ => Vec::new().into_iter(),
        };
        for socket in descriptors {
            let slot = slots.next();
            let state = slot.map(|slot| State::of(&slot));
            match slot.and_then(|slot| understand(ledger.as_mut()?, &slot)) {
                // It is not closed but let go: the connection may have another place.
                _ if state == Some(Ok(State::Gone)) => came.gone += 1,
                _ if state == Some(Ok(State::Busy)) => {
                    found.report.busy += 1;
                    close(socket);
                }
                Some(record) if found.connections.len() < most => found.connections.push(record.carry(socket)),
                Some(_) => close(socket),
                None => {
                    found.report.unreadable += 1;
                    close(socket);
                }
            }
        }
    }
    came
}

/// A record whose references lead somewhere.
struct Understood {
    record: Record,
    listener: std::sync::Arc<str>,
    ahead: bytes::Bytes,
}

fn understand(ledger: &mut Reader, slot: &[u8; super::record::SIZE]) -> Option<Understood> {
    if State::of(slot) != Ok(State::Waits) {
        return None;
    }
    let record = Record::decode(slot).ok()?;
    let listener = ledger.listener(record.listener)?.clone();
    let ahead = ledger.ahead(record.ahead)?;
    Some(Understood { record, listener, ahead })
}

impl Understood {
    fn carry(self, socket: OwnedFd) -> Carried {
        let Self { record, listener, ahead } = self;
        let Record { standing, peer, since, requests, .. } = record;
        Carried { socket, standing, listener, peer, since: since.instant(), requests, ahead }
    }
}

/// Closes a connection that can't go on. Others may hold copies of it, so that closing alone would not end it.
fn close(socket: OwnedFd) {
    let _ = rustix::net::shutdown(&socket, rustix::net::Shutdown::Both); // it may be no socket at all
}
