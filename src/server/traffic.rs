//! A connection's bytes in numbers, which follow its socket wherever that is: parked, with hyper, or with the
//! application.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::entrusted::Trust;
use super::upgrade::lent::Home;

/// The bytes of one connection.
///
/// Whoever has the socket writes, and nobody else; the connection's worker reads. An application may take an upgraded
/// connection to another thread, and until then one thread does both. So nothing needs more than a relaxed load and
/// store, which cost what plain ones do.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    read: AtomicU64,
    written: AtomicU64,
    write_blocked: AtomicBool,
    /// Whether a copy of its socket is deposited.
    pub(super) entrusted: Trust,
    home: OnceLock<Box<Home>>,
}

impl Traffic {
    /// Bytes read from the socket so far.
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes written to the socket so far.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Whether the client doesn't take what was written: bytes are left over in hyper's buffer, which `into_parts`
    /// would lose.
    pub(crate) fn write_blocked(&self) -> bool {
        self.write_blocked.load(Ordering::Relaxed)
    }

    pub(super) fn add_read(&self, more: usize) {
        self.read.store(self.read() + more as u64, Ordering::Relaxed);
    }

    pub(super) fn add_written(&self, more: usize) {
        self.written.store(self.written() + more as u64, Ordering::Relaxed);
    }

    pub(super) fn set_write_blocked(&self, blocked: bool) {
        self.write_blocked.store(blocked, Ordering::Relaxed);
    }

    /// Where the socket returns to, once a request has asked for an upgrade.
    pub(super) fn home(&self) -> Option<&Home> {
        self.home.get().map(AsRef::as_ref)
    }

    /// The same, made if there is none yet.
    pub(super) fn home_or(&self, make: impl FnOnce() -> Home) -> &Home {
        self.home.get_or_init(|| Box::new(make()))
    }
}
