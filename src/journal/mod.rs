//! The journal: what happens, said once, to journald or to a terminal, without ever holding up a worker.
//!
//! Whoever has something to say hands an [`Event`] to [`log`], which never blocks: events go into a bounded queue that a
//! thread of its own empties. tracing-journald sends on the thread that emits, waits when journald is slow, and drops
//! errors silently; here that thread is the journal's own, and what doesn't fit in the queue is counted and reported.

mod event;
mod pace;

use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use tracing::Dispatch;
use tracing_subscriber::fmt::format;
use tracing_subscriber::layer::SubscriberExt;

pub use event::{DrainSummary, Event, RequestEntry, count, human, message_id};
pub use pace::Pace;

/// Events that may wait for a slow journald: a few seconds of a busy access log, about 2 MiB.
const QUEUE: usize = 8192;

/// How often drops are reported while they go on.
const DROPS_REPORTED_EVERY: Duration = Duration::from_secs(1);

/// The identifier in the journal: what `journalctl -t` looks for.
const IDENTIFIER: &str = "outlive";

static JOURNAL: OnceLock<Journal> = OnceLock::new();

struct Journal {
    queue: SyncSender<Message>,
    dropped: AtomicU64,
}

enum Message {
    Event(Event),
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
        let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
        let here = rustix::fs::fstat(io::stderr()).map(|stat| format!("{}:{}", stat.st_dev, stat.st_ino));
        if here.is_ok_and(|here| here == stream) { Self::Journald } else { Self::Lines }
    }
}

/// Starts the journal's thread. Until then, and without it, [`log`] does nothing; the second call does nothing.
pub fn start(target: Target) {
    let (queue, messages) = mpsc::sync_channel(QUEUE);
    if JOURNAL.set(Journal { queue, dropped: AtomicU64::new(0) }).is_ok() {
        let run = move || tracing::dispatcher::with_default(&dispatch(target), || write_all(&messages));
        if let Err(error) = thread::Builder::new().name("journal".to_owned()).spawn(run) {
            eprintln!("outlive: cannot start the journal's thread: {error}");
        }
    }
}

/// Says what has happened. Never blocks: when the queue is full the event is dropped and counted.
pub fn log(event: Event) {
    if let Some(journal) = JOURNAL.get()
        && let Err(TrySendError::Full(_)) = journal.queue.try_send(Message::Event(event))
    {
        journal.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits until all that was said so far has been written, or `limit` is over.
pub fn flush(limit: Duration) {
    if let Some(journal) = JOURNAL.get() {
        let (done, wait) = mpsc::channel();
        // A full queue has more to say than can wait: give up on those that don't fit, not on the process's end.
        if journal.queue.try_send(Message::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(limit);
        }
    }
}

fn write_all(messages: &Receiver<Message>) {
    loop {
        match messages.recv_timeout(DROPS_REPORTED_EVERY) {
            Ok(Message::Event(event)) => event.emit(),
            Ok(Message::Flush(done)) => drop(done.send(())),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        report_drops();
    }
}

fn report_drops() {
    static PACE: Pace = Pace::new(DROPS_REPORTED_EVERY);
    if let Some(journal) = JOURNAL.get()
        && journal.dropped.load(Ordering::Relaxed) > 0
        && PACE.permits()
    {
        Event::Dropped { count: journal.dropped.swap(0, Ordering::Relaxed) }.emit();
    }
}

fn dispatch(target: Target) -> Dispatch {
    if target == Target::Journald {
        match journald() {
            Ok(dispatch) => return dispatch,
            Err(error) => eprintln!("outlive: journald cannot be reached, logging lines instead: {error}"),
        }
    }
    lines()
}

fn journald() -> io::Result<Dispatch> {
    use tracing_journald::{Priority, PriorityMappings};
    let layer = tracing_journald::layer()?
        .with_syslog_identifier(IDENTIFIER.to_owned())
        // Without this, fields would be named F_MESSAGE_ID and so on, and journalctl would know none of them.
        .with_field_prefix(None)
        .with_priority_mappings(PriorityMappings {
            error: Priority::Error,
            warn: Priority::Warning,
            info: Priority::Informational,
            debug: Priority::Debug,
            trace: Priority::Debug,
        });
    Ok(Dispatch::new(tracing_subscriber::registry().with(layer)))
}

/// Lines for people: time, level and message; the fields are in the message already.
fn lines() -> Dispatch {
    let message_only = format::debug_fn(
        |writer, field, value| {
            if field.name() == "message" { write!(writer, "{value:?}") } else { Ok(()) }
        },
    );
    let layer = tracing_subscriber::fmt::layer()
        .fmt_fields(message_only)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_writer(io::stderr);
    Dispatch::new(tracing_subscriber::registry().with(layer))
}
