//! A connection's place in a vault while it is still served here: a copy of its descriptor lies there already, and its
//! slot in the ledger is kept true.
//!
//! As long as the slot says that the connection waits, and with which bytes read ahead, the process can be killed at any
//! moment: the next one goes on with it. So before anything is done that the record doesn't tell of (a byte is read from
//! the socket, a request begins), the slot is set to busy; and when the connection waits again, it is written anew.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::ledger;
use super::record::{self, State};

/// A slot of a ledger, and what it says.
#[derive(Debug)]
pub struct Place {
    ledger: Arc<OwnedFd>,
    at: u64,
    state: State,
    /// How many have been vacated.
    vacated: Arc<AtomicUsize>,
}

impl Place {
    /// A slot whose record has just been written.
    pub(super) fn new(ledger: Arc<OwnedFd>, at: u64, vacated: Arc<AtomicUsize>) -> Self {
        Self { ledger, at, state: State::Waits, vacated }
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
        self.vacated.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes another record into it.
    pub(super) fn write(&mut self, record: &[u8; record::SIZE]) -> io::Result<()> {
        // All of it in one: it lies on one page of memory, and a system call that has begun to copy so little ends.
        ledger::write(&self.ledger, record, self.at)?;
        self.state = State::Waits;
        Ok(())
    }

    pub(super) fn is_in(&self, ledger: &Arc<OwnedFd>) -> bool {
        Arc::ptr_eq(&self.ledger, ledger)
    }

    fn set(&mut self, state: State) {
        // It can't fail: the file has its size, and memory for this page.
        let _ = ledger::write(&self.ledger, &[state as u8], self.at + record::STATE_AT as u64);
        self.state = state;
    }
}
