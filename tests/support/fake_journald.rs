//! A journald for services on a fake systemd: it reads its native protocol, or doesn't when it is asleep.
//!
//! See <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>. (No entry of the service is long enough to come as a descriptor.)

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use rustix::net::Shutdown;
use tempfile::TempDir;

use super::arrivals::Arrivals;
use super::datagram::receive;
use super::journal::Entry;
use super::wait::SOON;

/// Receives entries at `socket` in its folder, from services started with [`super::fake_systemd::Launch::journald`].
pub struct FakeJournald {
    folder: TempDir,
    entries: Arc<Arrivals<Entry>>,
    running: Option<Running>,
}

struct Running {
    socket: Arc<UnixDatagram>,
    ended: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl FakeJournald {
    /// One that is awake.
    #[track_caller]
    pub fn new() -> Self {
        let mut journald = Self::asleep();
        journald.wake();
        journald
    }

    /// One that reads nothing until [`Self::wake`].
    #[track_caller]
    pub fn asleep() -> Self {
        let folder = tempfile::Builder::new().prefix("journald-").tempdir().unwrap();
        let mut journald = Self { folder, entries: Arc::default(), running: None };
        journald.bind();
        journald
    }

    /// Where its socket is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Begins to read.
    #[track_caller]
    pub fn wake(&mut self) {
        let entries = Arc::clone(&self.entries);
        let running = self.running.as_mut().expect("it has a socket");
        let (socket, ended) = (Arc::clone(&running.socket), Arc::clone(&running.ended));
        running.reader = Some(thread::spawn(move || {
            while let Ok(datagram) = receive(&socket) {
                match parse(&datagram.bytes) {
                    Some(entry) => entries.push(entry),
                    // Whoever begins to log may send an empty one to see whether journald is there.
                    None if !ended.load(Ordering::Acquire) => {}
                    None => return,
                }
            }
        }));
    }

    /// Ends it: its socket is gone.
    pub fn stop(&mut self) {
        self.running = None;
        fs::remove_file(self.folder().join("socket")).unwrap();
    }

    /// Starts it again, awake.
    #[track_caller]
    pub fn start(&mut self) {
        self.bind();
        self.wake();
    }

    #[track_caller]
    fn bind(&mut self) {
        let socket = UnixDatagram::bind(self.folder().join("socket")).unwrap();
        self.running = Some(Running { socket: Arc::new(socket), ended: Arc::default(), reader: None });
    }

    /// Waits for an entry, among all that it ever got.
    #[track_caller]
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Entry) -> bool) -> Entry {
        self.wait_until(what, |entries| entries.iter().find(|entry| wanted(entry)).cloned())
    }

    /// Waits for an entry with a message id.
    #[track_caller]
    pub fn wait_for_id(&self, id: &str) -> Entry {
        self.wait_for(id, |entry| entry.get("MESSAGE_ID") == Some(id))
    }

    /// Waits until the entries show something.
    #[track_caller]
    pub fn wait_until<R>(&self, what: &str, look: impl FnMut(&[Entry]) -> Option<R>) -> R {
        self.entries.wait(SOON, look).unwrap_or_else(|| {
            let seen = self.entries(|entries| format!("{:#?}", entries.iter().rev().take(20).collect::<Vec<_>>()));
            panic!("waited in vain for a journal entry: {what}. The last ones, newest first: {seen}")
        })
    }

    /// Looks at all entries so far.
    pub fn entries<R>(&self, read: impl FnOnce(&[Entry]) -> R) -> R {
        self.entries.read(read)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Reads `NAME=value\n`, or `NAME\n`, eight bytes of length and the value where that has more than one line.
fn parse(mut bytes: &[u8]) -> Option<Entry> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if let Some(equals) = line.iter().position(|byte| *byte == b'=') {
            fields.push((text(&line[..equals]), text(&line[equals + 1..])));
            bytes = rest;
        } else {
            let (length, rest) = rest.split_first_chunk()?;
            let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
            fields.push((text(line), text(rest.get(..length)?)));
            bytes = rest.get(length + 1..)?;
        }
    }
    (!fields.is_empty()).then(|| Entry::from_iter(fields))
}
