//! A connection's place in a vault while it is still served here: a copy of its descriptor lies there already, and its
//! slot in the ledger is kept true.
//!
//! As long as the slot says that the connection waits, and with which bytes read ahead, the process can be killed at any
//! moment: the next one goes on with it. So before anything is done that the record doesn't tell of (a byte is read from
//! the socket, a request begins), the slot is set to busy; and when the connection waits again, it is written anew.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::ledger;
use super::record::{self, State};

/// What the places of one ledger share.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) file: OwnedFd,
    /// Places of connections that are no more: their descriptors lie in the vault until the next process starts.
    pub(super) vacated: AtomicUsize,
    /// Whether systemd is known to keep the ledger and its vault.
    pub(super) kept: AtomicBool,
}

/// A slot of a ledger, and what it says.
#[derive(Debug)]
pub struct Place {
    book: Arc<Book>,
    at: u64,
    state: State,
    room: Room,
}

/// Where in a ledger there is room for bytes that were read ahead, beside those that the record was first written with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Room {
    pub(super) at: u64,
    pub(super) bytes: u32,
}

impl Place {
    /// A slot whose record has just been written.
    pub(super) fn new(book: Arc<Book>, at: u64) -> Self {
        Self { book, at, state: State::Waits, room: Room::default() }
    }

    /// Whether the slot says that the connection waits.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.state == State::Waits
    }

    /// Says that the connection is in the middle of something, unless it says so already.
    pub fn set_busy(&mut self) {
        if self.is_current() {
            self.set(State::Busy);
        }
    }

    /// Says that the connection is no more, or has another place.
    pub fn vacate(mut self) {
        self.set(State::Gone);
        self.book.vacated.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether systemd is known to keep it.
    pub(super) fn is_kept(&self) -> bool {
        self.book.kept.load(Ordering::Relaxed)
    }

    /// The room that it has for bytes read ahead. Nobody reads there unless the slot says that the connection waits.
    pub(super) fn room(&self) -> Room {
        self.room
    }

    pub(super) fn set_room(&mut self, room: Room) {
        self.room = room;
    }

    /// Writes another record into it.
    pub(super) fn write(&mut self, record: &[u8; record::SIZE]) -> io::Result<()> {
        // All of it in one: it lies on one page of memory, and a system call that has begun to copy so little ends.
        ledger::write(&self.book.file, record, self.at)?;
        self.state = State::Waits;
        Ok(())
    }

    pub(super) fn is_in(&self, book: &Arc<Book>) -> bool {
        Arc::ptr_eq(&self.book, book)
    }

    fn set(&mut self, state: State) {
        // It can't fail: the file has its size, and memory for this page.
        let _ = ledger::write(&self.book.file, &[state as u8], self.at + record::STATE_AT as u64);
        self.state = state;
    }
}
