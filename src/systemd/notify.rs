//! What this process tells systemd: sd_notify(3).
//!
//! sd-notify formats and sends. This layer adds what it leaves out: abstract sockets (`NOTIFY_SOCKET=@…`), descriptors
//! that systemd is to keep and not to watch, the barrier that tells when it has read everything, and a thread of its own,
//! because systemd may be slow to read and a datagram to a full socket blocks whoever sends it.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix};
use rustix::pipe::{PipeFlags, pipe_with};
use sd_notify::NotifyState;

/// One thing to tell systemd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notification {
    /// `READY=1` with a status: the service can be used.
    Ready(String),
    /// `STATUS=`: one line for people.
    Status(String),
    /// `WATCHDOG=1`: still alive.
    Watchdog,
    /// `STOPPING=1` with a status: the end has begun.
    Stopping(String),
    /// `RELOADING=1`: a successor is being started.
    Reloading,
    /// `MAINPID=` and `READY=1` with a status: another process is the service from now on.
    MainPid {
        /// Which.
        pid: u32,
        /// One line for people.
        status: String,
    },
    /// `STATUS=` and `ERRNO=`: why the start failed.
    Failed {
        /// One line for people.
        status: String,
        /// An errno(3), as systemd wants it.
        errno: u32,
    },
}

/// What systemd is told in its turn, each once.
#[derive(Debug)]
enum Turn {
    Notification(Notification),
    Store { name: String, descriptor: OwnedFd },
    Remove { name: String },
    Barrier(OwnedFd),
}

/// Passed once systemd has read all that was sent before it: `BARRIER=1`.
#[derive(Debug)]
pub struct Barrier(OwnedFd);

impl Barrier {
    /// Blocks until then; says whether that was within `limit`.
    #[must_use]
    pub fn wait(self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(left) = left.try_into() else { return false };
            // Nobody writes to it: it ends when systemd closes its end, and the notifier its own.
            let mut pipe = [PollFd::new(&self.0, PollFlags::IN)];
            match poll(&mut pipe, Some(&left)) {
                Ok(0) => return false,
                Ok(_) => return true,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }
}

/// Sends notifications without ever blocking its caller; without a `NOTIFY_SOCKET` it does nothing.
#[derive(Clone, Debug)]
pub struct Notifier {
    outbox: Option<Arc<Outbox>>,
}

#[derive(Debug, Default)]
struct Outbox {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    silent: AtomicBool,
}

/// What systemd has yet to take. However long it doesn't read, this doesn't grow, and it gets no old news then: a
/// status takes the place of the one before it, and two signs of life are one.
#[derive(Debug, Default)]
struct Waiting {
    /// The turns in the service's life, each once.
    turns: VecDeque<Turn>,
    status: Option<String>,
    watchdog: bool,
    sending: bool,
}

impl Waiting {
    fn add(&mut self, notification: Notification) {
        match notification {
            Notification::Status(text) => self.status = Some(text),
            Notification::Watchdog => self.watchdog = true,
            turn => {
                self.status = None; // it brings its own
                self.turns.push_back(Turn::Notification(turn));
            }
        }
    }

    fn next(&mut self) -> Option<Turn> {
        // A status, once a second at most, can't keep back signs of life, but those could keep back a status.
        if let Some(turn) = self.turns.pop_front() {
            Some(turn)
        } else if let Some(text) = self.status.take() {
            Some(Turn::Notification(Notification::Status(text)))
        } else {
            std::mem::take(&mut self.watchdog).then_some(Turn::Notification(Notification::Watchdog))
        }
    }

    fn is_empty(&self) -> bool {
        self.turns.is_empty() && !self.watchdog && self.status.is_none() && !self.sending
    }
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what there is, for ever.
    fn empty(&self, socket: &OsStr) {
        let mut waiting = self.lock();
        loop {
            let next = waiting.next();
            waiting.sending = next.is_some();
            waiting = if let Some(turn) = next {
                drop(waiting);
                // systemd acknowledges nothing, so there is nothing to do about an error; it will find out by its own
                // timeouts.
                let _ = take_turn(socket, turn);
                self.lock()
            } else {
                self.changed.notify_all();
                self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }
}

impl Notifier {
    /// A notifier for the socket that `NOTIFY_SOCKET` names, if any. Starts a thread.
    #[must_use]
    pub fn from_env() -> Self {
        let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self { outbox: None };
        };
        Self::to(socket)
    }

    /// One that tells nobody.
    #[must_use]
    pub fn none() -> Self {
        Self { outbox: None }
    }

    /// A notifier for a socket.
    pub(crate) fn to(socket: OsString) -> Self {
        let outbox = Arc::new(Outbox::default());
        let shared = Arc::clone(&outbox);
        let thread = thread::Builder::new().name("notify".to_owned()).spawn(move || shared.empty(&socket));
        Self { outbox: thread.is_ok().then_some(outbox) }
    }

    /// Whether systemd, or anything else, listens.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.outbox.is_some()
    }

    /// Queues a notification.
    pub fn send(&self, notification: Notification) {
        if let Some(outbox) = &self.outbox
            && !outbox.silent.load(Ordering::Acquire)
        {
            outbox.lock().add(notification);
            outbox.changed.notify_all();
        }
    }

    /// Says nothing more until [`Self::speak`]: systemd listens to the main process only, and complains of others.
    pub fn silence(&self) {
        self.set_silent(true);
    }

    /// Speaks again.
    pub fn speak(&self) {
        self.set_silent(false);
    }

    fn set_silent(&self, silent: bool) {
        if let Some(outbox) = &self.outbox {
            outbox.silent.store(silent, Ordering::Release);
        }
    }

    /// Lets systemd keep a descriptor for the next process, which finds it under `name` (`FDSTORE=1`). It isn't watched:
    /// systemd would drop the end of a socketpair whose other end is closed.
    ///
    /// Whether it was kept is for a [`Barrier`] and a look at the descriptor itself to tell: systemd doesn't say.
    pub fn store(&self, name: &str, descriptor: OwnedFd) {
        self.add(Turn::Store { name: name.to_owned(), descriptor });
    }

    /// Lets systemd forget all descriptors of that name (`FDSTOREREMOVE=1`).
    pub fn remove(&self, name: &str) {
        self.add(Turn::Remove { name: name.to_owned() });
    }

    /// A barrier behind everything queued so far.
    ///
    /// # Errors
    ///
    /// Those of pipe(2).
    pub fn barrier(&self) -> io::Result<Barrier> {
        let (passed, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        self.add(Turn::Barrier(theirs));
        Ok(Barrier(passed))
    }

    fn add(&self, turn: Turn) {
        if let Some(outbox) = &self.outbox {
            outbox.lock().turns.push_back(turn);
            outbox.changed.notify_all();
        }
    }

    /// Waits until everything queued has been sent, or `limit` is over.
    pub fn flush(&self, limit: Duration) {
        if let Some(outbox) = &self.outbox {
            let _ = outbox.changed.wait_timeout_while(outbox.lock(), limit, |waiting| !waiting.is_empty());
        }
    }
}

fn take_turn(socket: &OsStr, turn: Turn) -> io::Result<()> {
    match turn {
        Turn::Notification(notification) => send(socket, &notification),
        Turn::Store { name, descriptor } => {
            send_with(socket, &format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0\n"), &descriptor)
        }
        Turn::Remove { name } => {
            let name = format!("FDNAME={name}");
            send_states(socket, &[NotifyState::Custom("FDSTOREREMOVE=1"), NotifyState::Custom(&name)])
        }
        // Alone in its message, says sd_notify(3).
        Turn::Barrier(theirs) => send_with(socket, "BARRIER=1\n", &theirs),
    }
}

fn send(socket: &OsStr, notification: &Notification) -> io::Result<()> {
    let status = |text: &str| text.replace('\n', " ");
    match notification {
        Notification::Ready(text) => send_states(socket, &[NotifyState::Ready, NotifyState::Status(&status(text))]),
        Notification::Status(text) => send_states(socket, &[NotifyState::Status(&status(text))]),
        Notification::Watchdog => send_states(socket, &[NotifyState::Watchdog]),
        Notification::Stopping(text) => {
            send_states(socket, &[NotifyState::Stopping, NotifyState::Status(&status(text))])
        }
        Notification::Reloading => {
            // The moment of sending, not that of queueing, which may lie before what systemd has seen already.
            let now = NotifyState::monotonic_usec_now()?;
            send_states(socket, &[NotifyState::Reloading, now])
        }
        Notification::MainPid { pid, status: text } => {
            // In one message: READY=1 would not count from this process any more.
            send_states(socket, &[NotifyState::MainPid(*pid), NotifyState::Ready, NotifyState::Status(&status(text))])
        }
        Notification::Failed { status: text, errno } => {
            send_states(socket, &[NotifyState::Status(&status(text)), NotifyState::Errno(*errno)])
        }
    }
}

fn send_states(socket: &OsStr, states: &[NotifyState<'_>]) -> io::Result<()> {
    let Some(name) = socket.as_bytes().strip_prefix(b"@") else {
        return sd_notify::notify(states);
    };
    let mut text = String::new();
    for state in states {
        text.push_str(&format!("{state}\n"));
    }
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &SocketAddr::from_abstract_name(name)?).map(drop)
}

/// Sends a descriptor along. (sd-notify's own way can't reach abstract sockets and needs one more crate.)
fn send_with(socket: &OsStr, text: &str, descriptor: &OwnedFd) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddrUnix::new_abstract_name(name)?,
        None => SocketAddrUnix::new(socket.as_bytes())?,
    };
    let descriptors = [descriptor.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let text = [IoSlice::new(text.as_bytes())];
    let from = UnixDatagram::unbound()?;
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg_addr(&from, &address, &text, &mut ancillary, SendFlags::NOSIGNAL)
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_no_more_than_it_has_to_be() {
        let mut waiting = Waiting::default();
        let status = |number: u32| Notification::Status(format!("{number}"));
        let ready = Notification::Ready("ready".to_owned());
        let stopping = Notification::Stopping("stopping".to_owned());
        for number in 0..3 {
            waiting.add(status(number));
            waiting.add(Notification::Watchdog);
        }
        waiting.add(ready.clone());
        waiting.add(status(4));
        waiting.add(stopping.clone());
        waiting.add(status(5));
        waiting.add(status(6));
        let said = |turn| match turn {
            Turn::Notification(notification) => notification,
            other => panic!("{other:?}"),
        };
        let all: Vec<_> = std::iter::from_fn(|| waiting.next()).map(said).collect();
        assert_eq!(all, [ready, stopping, status(6), Notification::Watchdog]);
        assert!(waiting.is_empty());
    }
}
