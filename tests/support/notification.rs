//! What a service says, by sd_notify(3) and on standard error, as it arrives.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::process::Pid;

/// One message of sd_notify(3).
#[derive(Debug)]
pub struct Notification {
    /// Its lines.
    pub lines: Vec<String>,
    /// The process that sent it.
    pub sender: Option<Pid>,
    /// The descriptors that came with it.
    pub descriptors: Vec<OwnedFd>,
    /// When it was read.
    pub at: Instant,
}

impl Notification {
    /// What follows `NAME=` in its line of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }
}

/// Receives one message; `None` at the end.
pub fn receive(socket: &UnixDatagram) -> io::Result<Option<Notification>> {
    let mut bytes = [0; 8192];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253), ScmCredentials(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [io::IoSliceMut::new(&mut bytes)];
    let message = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(socket.as_fd(), &mut buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    if message.bytes == 0 {
        return Ok(None);
    }
    let (mut sender, mut descriptors) = (None, Vec::new());
    for item in ancillary.drain() {
        match item {
            RecvAncillaryMessage::ScmRights(rights) => descriptors.extend(rights),
            RecvAncillaryMessage::ScmCredentials(credentials) => sender = Some(credentials.pid),
            _ => {}
        }
    }
    let text = String::from_utf8_lossy(&bytes[..message.bytes]);
    Ok(Some(Notification { lines: text.lines().map(str::to_owned).collect(), sender, descriptors, at: Instant::now() }))
}

/// Lines or messages as they arrive, and waiting for them.
pub struct Log<T> {
    arrived: Mutex<Vec<T>>,
    more: Condvar,
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self { arrived: Mutex::new(Vec::new()), more: Condvar::new() }
    }
}

impl<T> Log<T> {
    /// One more.
    pub fn push(&self, item: T) {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).push(item);
        self.more.notify_all();
    }

    /// Looks at everything that has arrived, each time that more has, until there is something to see.
    pub fn wait<R>(&self, limit: Duration, mut look: impl FnMut(&[T]) -> Option<R>) -> Option<R> {
        let deadline = Instant::now() + limit;
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(seen) = look(&arrived) {
                return Some(seen);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            arrived = self.more.wait_timeout(arrived, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Looks at everything that has arrived.
    pub fn read<R>(&self, read: impl FnOnce(&[T]) -> R) -> R {
        read(&self.arrived.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
