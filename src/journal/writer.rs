//! The journal's own thread: a bounded queue, and who empties it.

use std::io::{self, IsTerminal, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::Dispatch;
use tracing_subscriber::fmt::format;
use tracing_subscriber::layer::SubscriberExt;

use super::journald::Journald;
use super::{Event, Pace, connected_to_journal};
use crate::visible::visible;

/// Events that may wait for a slow journald: a few seconds of a busy access log, about 2 MiB.
const QUEUE: usize = 8192;

/// How many of them can't be the program's own: however busy its access log is, there is room for what an operator looks
/// for.
const RESERVED: usize = 256;

/// How often to look whether journald is there again, or there is room in the queue.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How often drops are reported while they go on.
const DROPS_REPORTED_EVERY: Duration = Duration::from_secs(1);

static JOURNAL: OnceLock<Journal> = OnceLock::new();

struct Journal {
    target: Target,
    queue: SyncSender<Message>,
    waiting: AtomicUsize,
    dropped: AtomicU64,
}

enum Message {
    Event(Event),
    Own(Box<dyn FnOnce() + Send>),
    Flush(mpsc::Sender<()>),
}

/// Where entries go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// journald's native protocol, with all fields.
    Journald,
    /// Lines on standard error, one an event.
    Lines,
}

impl Target {
    /// Journald if standard error is connected to it (`JOURNAL_STREAM`, see systemd.exec(5)), else lines.
    #[must_use]
    pub fn detect() -> Self {
        if connected_to_journal() { Self::Journald } else { Self::Lines }
    }
}

/// Starts the journal's thread. Until then, and without it, events go to the program's own `tracing` subscriber, on the
/// thread where they happen. The second call does nothing.
pub fn start(target: Target) {
    let (queue, messages) = mpsc::sync_channel(QUEUE);
    let journal = Journal { target, queue, waiting: AtomicUsize::new(0), dropped: AtomicU64::new(0) };
    if JOURNAL.set(journal).is_ok() {
        let run = move || {
            let (dispatch, journald) = dispatch(target);
            tracing::dispatcher::with_default(&dispatch, || write_all(&messages, journald.as_ref()));
        };
        if let Err(error) = thread::Builder::new().name("journal".to_owned()).spawn(run) {
            complain(&format!("cannot start the journal's thread: {error}"));
        }
    }
}

/// Queues an event, or drops and counts it when the queue is full; returns it if there is no queue.
pub(super) fn queue(event: Event) -> Option<Event> {
    let Some(journal) = JOURNAL.get() else { return Some(event) };
    journal.queue(Message::Event(event), QUEUE);
    None
}

/// The same for what the program itself has to say.
pub(super) fn queue_own<F: FnOnce() + Send + 'static>(say: F) -> Option<F> {
    let Some(journal) = JOURNAL.get() else { return Some(say) };
    journal.queue(Message::Own(Box::new(say)), QUEUE - RESERVED);
    None
}

impl Journal {
    fn queue(&self, message: Message, room: usize) {
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        if waiting >= room || self.queue.try_send(message).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Whether what is said gets to journald, with its fields.
pub(super) fn is_journald() -> bool {
    JOURNAL.get().is_some_and(|journal| journal.target == Target::Journald)
}

/// Waits until all that was said so far has been written, or `limit` is over.
pub fn flush(limit: Duration) {
    let Some(journal) = JOURNAL.get() else { return };
    let deadline = Instant::now() + limit;
    let (done, wait) = mpsc::channel();
    let mut message = Message::Flush(done);
    while let Err(TrySendError::Full(unsent)) = journal.queue.try_send(message) {
        if Instant::now() >= deadline {
            return;
        }
        message = unsent;
        thread::sleep(LOOK_EVERY);
    }
    let _ = wait.recv_timeout(deadline.saturating_duration_since(Instant::now()));
}

fn write_all(messages: &Receiver<Message>, journald: Option<&Journald>) {
    loop {
        match messages.recv_timeout(DROPS_REPORTED_EVERY) {
            Ok(Message::Event(event)) => {
                taken();
                write(|| event.emit(), journald);
            }
            Ok(Message::Own(say)) => {
                taken();
                // It is the program's; the journal goes on without this entry.
                write(|| drop(catch_unwind(AssertUnwindSafe(say))), journald);
            }
            Ok(Message::Flush(done)) => drop(done.send(())),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        report_drops(journald);
    }
}

/// There is room for one more in the queue.
fn taken() {
    if let Some(journal) = JOURNAL.get() {
        journal.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

fn write(say: impl FnOnce(), journald: Option<&Journald>) {
    if let Some(journald) = journald {
        journald.wait();
    }
    say();
}

fn report_drops(journald: Option<&Journald>) {
    static PACE: Pace = Pace::new(DROPS_REPORTED_EVERY);
    if let Some(journal) = JOURNAL.get()
        && journal.dropped.load(Ordering::Relaxed) > 0
        && PACE.permits()
    {
        write(|| Event::Dropped { count: journal.dropped.swap(0, Ordering::Relaxed) }.emit(), journald);
    }
}

fn dispatch(target: Target) -> (Dispatch, Option<Journald>) {
    if target == Target::Journald {
        match Journald::layer() {
            Ok((layer, journald)) => {
                return (Dispatch::new(tracing_subscriber::registry().with(layer)), Some(journald));
            }
            Err(error) => complain(&format!("journald cannot be reached, logging lines instead: {error}")),
        }
    }
    (lines(), None)
}

/// Says what the journal can't say because it is about the journal.
fn complain(what: &str) {
    let _ = writeln!(io::stderr(), "outlive: {what}");
}

/// Lines for people: time, level and message; the fields are in the message already.
fn lines() -> Dispatch {
    // One line an event, and nothing that a client can write does anything to a terminal.
    let message_only = format::debug_fn(|writer, field, value| {
        if field.name() == "message" { writer.write_str(&visible(&format!("{value:?}"))) } else { Ok(()) }
    });
    let layer = tracing_subscriber::fmt::layer()
        .fmt_fields(message_only)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_writer(io::stderr);
    Dispatch::new(tracing_subscriber::registry().with(layer))
}
