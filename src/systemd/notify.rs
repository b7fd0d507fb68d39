//! What this process tells systemd: sd_notify(3).
//!
//! sd-notify formats and sends. This layer adds what it leaves out: abstract sockets (`NOTIFY_SOCKET=@…`), and a thread
//! of its own, because systemd may be slow to read and a datagram to a full socket blocks whoever sends it.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

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
    turns: VecDeque<Notification>,
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
                self.turns.push_back(turn);
            }
        }
    }

    fn next(&mut self) -> Option<Notification> {
        if let Some(turn) = self.turns.pop_front() {
            Some(turn)
        } else if std::mem::take(&mut self.watchdog) {
            Some(Notification::Watchdog)
        } else {
            self.status.take().map(Notification::Status)
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
            waiting = if let Some(notification) = next {
                drop(waiting);
                // systemd acknowledges nothing, so there is nothing to do about an error; it will find out by its own
                // timeouts.
                let _ = send(socket, &notification);
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

    /// Waits until everything queued has been sent, or `limit` is over.
    pub fn flush(&self, limit: Duration) {
        if let Some(outbox) = &self.outbox {
            let _ = outbox.changed.wait_timeout_while(outbox.lock(), limit, |waiting| !waiting.is_empty());
        }
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
        let all: Vec<_> = std::iter::from_fn(|| waiting.next()).collect();
        assert_eq!(all, [ready, stopping, Notification::Watchdog, status(6)]);
        assert!(waiting.is_empty());
    }
}
