//! The journal: what happens, said once, to journald or to a terminal, without ever holding up a worker.
//!
//! Whoever has something to say hands an [`Event`] to [`log`], which never blocks: events go into a bounded queue that a
//! thread of its own empties. tracing-journald sends on the thread that emits, waits when journald is slow, and drops
//! silently what it can't send; here that thread is the journal's own and waits for journald to be there, and what
//! doesn't fit in the queue is counted and reported.

mod event;
#[cfg(feature = "journal")]
mod journald;
pub mod own;
mod pace;
#[cfg(feature = "journal")]
mod writer;

use std::time::Duration;

pub use event::{DrainSummary, Event, count, human, message_id};
pub use own::connected_to_journal;
pub use pace::Pace;
#[cfg(feature = "journal")]
pub use writer::{Target, start};

/// Says what has happened. Once the journal's thread was started this never blocks; until then it is for the program's
/// own `tracing` subscriber to take.
pub fn log(event: Event) {
    #[cfg(feature = "journal")]
    let Some(event) = writer::queue(event) else { return };
    event.emit();
}

/// Says what is returned as an error as well, if that gets to journald, with the id by which it is looked for. Everyone
/// else is told by the error: said here too, it would be said twice.
pub fn log_returned(event: Event) {
    #[cfg(feature = "journal")]
    if writer::is_journald() {
        log(event);
    }
    #[cfg(not(feature = "journal"))]
    let _ = event;
}

/// Waits until all that was said so far has been written, or `limit` is over.
pub fn flush(limit: Duration) {
    #[cfg(feature = "journal")]
    writer::flush(limit);
    #[cfg(not(feature = "journal"))]
    let _ = limit; // nothing waits
}
