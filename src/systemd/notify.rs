//! What this process tells systemd: sd_notify(3).
//!
//! sd-notify formats and sends. This layer adds what it leaves out: abstract sockets (`NOTIFY_SOCKET=@…`), and a thread
//! of its own, because systemd may be slow to read and a datagram to a full socket blocks whoever sends it.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::mpsc;
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
    /// `STATUS=` and `ERRNO=`: why the start failed.
    Failed {
        /// One line for people.
        status: String,
        /// An errno(3), as systemd wants it.
        errno: u32,
    },
}

enum Message {
    Send(Notification),
    Flush(mpsc::Sender<()>),
}

/// Sends notifications without ever blocking its caller; without a `NOTIFY_SOCKET` it does nothing.
#[derive(Clone, Debug)]
pub struct Notifier {
    queue: Option<mpsc::Sender<Message>>,
}

impl Notifier {
    /// A notifier for the socket that `NOTIFY_SOCKET` names, if any. Starts a thread.
    #[must_use]
    pub fn from_env() -> Self {
        let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self { queue: None };
        };
        let (queue, messages) = mpsc::channel();
        let run = move || {
            for message in messages {
                match message {
                    // systemd acknowledges nothing, so there is nothing to do about an error; it will find out by
                    // its own timeouts.
                    Message::Send(notification) => drop(send(&socket, &notification)),
                    Message::Flush(done) => drop(done.send(())),
                }
            }
        };
        match thread::Builder::new().name("notify".to_owned()).spawn(run) {
            Ok(_) => Self { queue: Some(queue) },
            Err(_) => Self { queue: None },
        }
    }

    /// Whether systemd, or anything else, listens.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.queue.is_some()
    }

    /// Queues a notification.
    pub fn send(&self, notification: Notification) {
        if let Some(queue) = &self.queue {
            let _ = queue.send(Message::Send(notification));
        }
    }

    /// Waits until everything queued has been sent, or `limit` is over.
    pub fn flush(&self, limit: Duration) {
        if let Some(queue) = &self.queue {
            let (done, wait) = mpsc::channel();
            let _ = queue.send(Message::Flush(done));
            let _ = wait.recv_timeout(limit);
        }
    }
}

fn send(socket: &OsString, notification: &Notification) -> io::Result<()> {
    let status = |text: &str| text.replace('\n', " ");
    match notification {
        Notification::Ready(text) => send_states(socket, &[NotifyState::Ready, NotifyState::Status(&status(text))]),
        Notification::Status(text) => send_states(socket, &[NotifyState::Status(&status(text))]),
        Notification::Watchdog => send_states(socket, &[NotifyState::Watchdog]),
        Notification::Stopping(text) => {
            send_states(socket, &[NotifyState::Stopping, NotifyState::Status(&status(text))])
        }
        Notification::Failed { status: text, errno } => {
            send_states(socket, &[NotifyState::Status(&status(text)), NotifyState::Errno(*errno)])
        }
    }
}

fn send_states(socket: &OsString, states: &[NotifyState<'_>]) -> io::Result<()> {
    let Some(name) = socket.as_bytes().strip_prefix(b"@") else {
        return sd_notify::notify(states);
    };
    let mut text = String::new();
    for state in states {
        text.push_str(&format!("{state}\n"));
    }
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &SocketAddr::from_abstract_name(name)?).map(drop)
}
