//! The ledger beside a vault: a file in memory (memfd_create(2)) with one [record](super::record) a connection, in slots
//! that the vault's messages refer to, and the bytes that were read ahead.
//!
//! Its size is fixed and sealed when it is made. So is all that a later version needs to map it into memory and keep its
//! slots true while it serves: nobody, however hostile, can take a page away from a reader. This version keeps them true
//! from the beginning of a drain ([`Place`]), and only reads and writes the file. It is sparse, and takes as much memory
//! as was written.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `OUTLIVE\n` |
//! | 8 | 2 | format version |
//! | 10 | 2 | 1: complete, nothing will be added |
//! | 12 | 4 | connections deposited so far |
//! | 16 | 8 | generation of the process that writes it |
//! | 24 | 4 | number of slots |
//! | 28 | 4 | bytes of names |
//! | 64 | | names of listeners, each with its length (2 bytes) before it |
//! | 65 536 | 64 each | slots |
//! | after them | | bytes read ahead |

mod reader;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::{pwrite, retry_on_intr};

pub(super) use reader::Reader;

use super::Carried;
use super::place::{Book, Place, Room};
use super::record::{self, AHEAD_AT_MOST, Ahead, Moment, Record};

const MAGIC: &[u8; 8] = b"OUTLIVE\n";

/// The format of everything but the records, which have a version of their own.
const VERSION: u16 = super::FORMAT;

const NAMES_AT: u64 = 64;
const SLOTS_AT: u64 = 65_536;
const SLOT: u64 = record::SIZE as u64;

/// Bytes of names that fit.
const NAMES_AT_MOST: usize = (SLOTS_AT - NAMES_AT) as usize;

/// Room for a head that goes on arriving: twice what has arrived, and no less than this many bytes, so that a head which
/// comes byte by byte takes up little more than the same one at once.
const ROOM_AT_LEAST: u32 = 512;

/// How much a ledger has room for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) slots: u32,
    /// Bytes read ahead, of all connections.
    pub(super) spill: u32,
}

/// A ledger that is being written.
#[derive(Debug)]
pub(super) struct Ledger {
    book: Arc<Book>,
    size: Size,
    slots: u32,
    spilled: u64,
    names: Vec<Arc<str>>,
    names_length: usize,
}

/// Connections that have their slots, but are not yet in the vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entered {
    pub(super) first: u32,
    /// How many there was room for.
    pub(super) number: usize,
    spilled: u64,
}

impl Ledger {
    pub(super) fn create(generation: u64, size: Size) -> io::Result<Self> {
        let file = rustix::fs::memfd_create("outlive-ledger", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&file, SLOTS_AT + u64::from(size.slots) * SLOT + u64::from(size.spill))?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let mut header = [0; 28];
        header[..8].copy_from_slice(MAGIC);
        header[8..10].copy_from_slice(&VERSION.to_le_bytes());
        header[16..24].copy_from_slice(&generation.to_le_bytes());
        header[24..28].copy_from_slice(&size.slots.to_le_bytes());
        write(&file, &header, 0)?;
        let book = Arc::new(Book { file, vacated: AtomicUsize::new(0), kept: AtomicBool::new(false) });
        Ok(Self { book, size, slots: 0, spilled: 0, names: Vec::new(), names_length: 0 })
    }

    /// The file, to be stored.
    pub(super) fn duplicate(&self) -> io::Result<OwnedFd> {
        self.book.file.try_clone()
    }

    /// Whether nothing was entered yet.
    pub(super) fn is_empty(&self) -> bool {
        self.slots == 0
    }

    /// Writes the records of as many connections as there is room for. Without [`Self::deposited`] it counts for nothing.
    pub(super) fn enter(&mut self, connections: &[Carried]) -> io::Result<Entered> {
        let mut entered = Entered { first: self.slots, number: 0, spilled: self.spilled };
        let mut records = Vec::with_capacity(connections.len() * record::SIZE);
        for connection in connections.iter().take((self.size.slots - self.slots) as usize) {
            let Some(room) = self.room(connection, connection.ahead.len(), entered.spilled) else { break };
            let Some(record) = self.record(connection, room.at)? else { break };
            records.extend_from_slice(&record.encode());
            entered.spilled += u64::from(room.bytes);
            entered.number += 1;
        }
        write(&self.book.file, &records, self.slot_at(self.slots))?;
        Ok(entered)
    }

    /// Room for so many bytes that were read ahead on a connection, after those `spilled` so far; `None` if there isn't.
    fn room(&self, connection: &Carried, bytes: usize, spilled: u64) -> Option<Room> {
        let bytes = u32::try_from(bytes).ok()?;
        let fits = connection.ahead.len() <= AHEAD_AT_MOST as usize
            && spilled + u64::from(bytes) <= u64::from(self.size.spill);
        fits.then(|| Room { at: self.slot_at(self.size.slots) + spilled, bytes })
    }

    fn slot_at(&self, slot: u32) -> u64 {
        SLOTS_AT + u64::from(slot) * SLOT
    }

    /// A connection's record; its bytes read ahead are written where there is room for them. `None` if there is none for
    /// the name of its listener.
    fn record(&mut self, connection: &Carried, at: u64) -> io::Result<Option<Record>> {
        let Some(listener) = self.name(&connection.listener)? else { return Ok(None) };
        write(&self.book.file, &connection.ahead, at)?;
        let length = u32::try_from(connection.ahead.len()).unwrap_or(u32::MAX); // it has room
        Ok(Some(Record {
            standing: connection.standing,
            protocol: connection.standing.protocol(),
            listener,
            peer: connection.peer,
            since: Moment::from(connection.since),
            requests: connection.requests,
            ahead: Ahead { at, length },
        }))
    }

    /// The places of connections that are in the vault, which go on being served here.
    pub(super) fn places(&self, entered: Entered) -> Vec<Place> {
        let slots = (entered.first..).take(entered.number);
        slots.map(|slot| Place::new(Arc::clone(&self.book), self.slot_at(slot))).collect()
    }

    /// How many places have been vacated.
    pub(super) fn vacated(&self) -> usize {
        self.book.vacated.load(Ordering::Relaxed)
    }

    /// Whether systemd is known to keep it.
    pub(super) fn is_kept(&self) -> bool {
        self.book.kept.load(Ordering::Relaxed)
    }

    /// systemd keeps it, and its vault.
    pub(super) fn set_kept(&self) {
        self.book.kept.store(true, Ordering::Relaxed);
    }

    /// Whether a place is in this ledger.
    pub(super) fn has(&self, place: &Place) -> bool {
        place.is_in(&self.book)
    }

    /// Writes what a connection waits for now into its place. Says whether there was room for its bytes read ahead.
    pub(super) fn renew(&mut self, place: &mut Place, connection: &Carried) -> io::Result<bool> {
        let bytes = connection.ahead.len();
        if bytes > place.room().bytes as usize {
            let roomy = bytes.saturating_mul(2).max(ROOM_AT_LEAST as usize);
            let Some(room) = self.room(connection, roomy, self.spilled) else { return Ok(false) };
            self.spilled += u64::from(room.bytes);
            place.set_room(room);
        }
        let Some(record) = self.record(connection, place.room().at)? else { return Ok(false) };
        place.write(&record.encode())?;
        Ok(true)
    }

    /// The connections are in the vault.
    pub(super) fn deposited(&mut self, entered: Entered) -> io::Result<()> {
        self.slots += u32::try_from(entered.number).unwrap_or(u32::MAX);
        self.spilled = entered.spilled;
        write(&self.book.file, &self.slots.to_le_bytes(), 12)
    }

    /// Nothing will be added.
    pub(super) fn complete(&self) -> io::Result<()> {
        write(&self.book.file, &1u16.to_le_bytes(), 10)
    }

    /// The place of a listener's name in the table; `None` if there is no room for it.
    fn name(&mut self, name: &Arc<str>) -> io::Result<Option<u16>> {
        if let Some(index) = self.names.iter().position(|known| known == name) {
            return Ok(u16::try_from(index).ok());
        }
        let Ok(length) = u16::try_from(name.len()) else { return Ok(None) };
        let entry = [&length.to_le_bytes(), name.as_bytes()].concat();
        let whole = self.names_length + entry.len();
        let (true, Ok(index)) = (whole <= NAMES_AT_MOST, u16::try_from(self.names.len())) else { return Ok(None) };
        write(&self.book.file, &entry, NAMES_AT + self.names_length as u64)?;
        let whole_length = u32::try_from(whole).unwrap_or(u32::MAX); // it is less than a slot's offset
        write(&self.book.file, &whole_length.to_le_bytes(), 28)?;
        self.names_length = whole;
        self.names.push(Arc::clone(name));
        Ok(Some(index))
    }
}

pub(super) fn write(file: &OwnedFd, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = retry_on_intr(|| pwrite(file, bytes, at))?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
        at += written as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::time::Instant;

    use proptest::prelude::*;

    use super::reader::LedgerError;
    use super::*;
    use crate::handover::record::Standing;
    use bytes::Bytes;

    const SIZE: Size = Size { slots: 4, spill: 100 };

    fn connection(listener: &str, ahead: &'static [u8]) -> Carried {
        let socket = std::os::unix::net::UnixStream::pair().unwrap().0.into();
        let standing = if ahead.is_empty() { Standing::Idle } else { Standing::Head };
        let (listener, ahead) = (listener.into(), Bytes::from_static(ahead));
        Carried { socket, standing, listener, peer: None, since: Instant::now(), requests: 3, ahead }
    }

    fn reader(ledger: &Ledger) -> Reader {
        Reader::open(ledger.duplicate().unwrap()).unwrap()
    }

    #[test]
    fn what_is_entered_is_read() {
        let mut ledger = Ledger::create(7, SIZE).unwrap();
        let connections = [connection("http", b""), connection("six", b"GET / HT"), connection("http", b"POST")];
        let entered = ledger.enter(&connections).unwrap();
        assert_eq!((entered.first, entered.number), (0, 3));
        assert_eq!(reader(&ledger).deposited, 0);
        ledger.deposited(entered).unwrap();
        assert!(!reader(&ledger).complete);
        ledger.complete().unwrap();

        let mut reader = reader(&ledger);
        assert_eq!((reader.generation, reader.deposited, reader.complete), (7, 3, true));
        let records: Vec<_> = reader.slots(0, 3).iter().map(|slot| Record::decode(slot).unwrap()).collect();
        let aheads: Vec<_> = records.iter().map(|record| reader.ahead(record.ahead).unwrap()).collect();
        assert_eq!(aheads, [&b""[..], b"GET / HT", b"POST"]);
        let listeners: Vec<_> = records.iter().map(|record| &**reader.listener(record.listener).unwrap()).collect();
        assert_eq!(listeners, ["http", "six", "http"]);
        assert!(reader.listener(2).is_none());
    }

    #[test]
    fn no_more_is_entered_than_there_is_room_for() {
        let mut ledger = Ledger::create(1, SIZE).unwrap();
        let five: Vec<_> = (0..5).map(|_| connection("http", b"")).collect();
        assert_eq!(ledger.enter(&five).unwrap().number, 4);

        let spills = [connection("http", &[b'x'; 60]), connection("http", &[b'y'; 60])];
        let entered = ledger.enter(&spills).unwrap();
        assert_eq!(entered.number, 1);
        ledger.deposited(entered).unwrap();
        assert_eq!(ledger.enter(&spills[1..]).unwrap().number, 0);
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_takes_up_little_more_than_at_once() {
        let mut ledger = Ledger::create(1, Size { slots: 4, spill: 20_000 }).unwrap();
        let entered = ledger.enter(&[connection("http", b"G")]).unwrap();
        let mut place = ledger.places(entered).remove(0);
        ledger.deposited(entered).unwrap();
        let head = &[b'x'; 4000];
        for length in 2..=head.len() {
            place.set_busy();
            assert!(ledger.renew(&mut place, &connection("http", &head[..length])).unwrap());
            assert!(place.is_current());
        }
        assert!(ledger.spilled <= 4 * head.len() as u64, "{}", ledger.spilled);
        let mut reader = reader(&ledger);
        let record = Record::decode(&reader.slots(0, 1)[0]).unwrap();
        assert_eq!(reader.ahead(record.ahead).unwrap(), &head[..]);
    }

    #[test]
    fn nobody_can_take_a_page_away_or_unseal_it() {
        let ledger = Ledger::create(1, SIZE).unwrap();
        let file = ledger.duplicate().unwrap();
        assert!(rustix::fs::ftruncate(&file, 0).is_err());
        assert!(rustix::fs::ftruncate(&file, 1 << 30).is_err());
        assert!(rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE).is_err());
    }

    #[test]
    fn what_is_no_ledger_is_told_apart() {
        let (pipe, _) = rustix::pipe::pipe().unwrap();
        assert!(matches!(Reader::open(pipe), Err(LedgerError::Strange)));
        let folder = std::fs::File::open("/").unwrap();
        assert!(matches!(Reader::open(folder.into()), Err(LedgerError::Strange)));
        let empty = rustix::fs::memfd_create("empty", MemfdFlags::CLOEXEC).unwrap();
        assert!(matches!(Reader::open(empty), Err(LedgerError::Read(_))));
        let later = Ledger::create(1, SIZE).unwrap();
        pwrite(later.book.file.as_fd(), &[9, 1], 8).unwrap();
        assert!(matches!(Reader::open(later.duplicate().unwrap()), Err(LedgerError::Version(265))));
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_refused(
            header in prop::collection::vec(any::<u8>(), 0..64),
            tail in prop::collection::vec(any::<u8>(), 0..2000),
            known in any::<bool>(),
            slot in any::<(u32, u8)>(),
            ahead in any::<(u64, u32)>(),
        ) {
            let file = rustix::fs::memfd_create("any", MemfdFlags::CLOEXEC).unwrap();
            pwrite(&file, &header, 0).unwrap();
            pwrite(&file, &tail, if known { SLOTS_AT - 1000 } else { 64 }).unwrap();
            if known {
                pwrite(&file, b"OUTLIVE\n\x01\x00", 0).unwrap();
            }
            if let Ok(mut reader) = Reader::open(file) {
                for slot in reader.slots(slot.0 >> 16, slot.1.into()) {
                    let _ = Record::decode(&slot);
                }
                let _ = reader.listener(0);
                let _ = reader.ahead(Ahead { at: ahead.0, length: ahead.1 >> 8 });
            }
        }
    }
}
