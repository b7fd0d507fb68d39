//! What the program itself has to say.

use std::io;

/// Says something of the program's own where [`Server::journal`](crate::Server::journal) writes: `say` is called on the
/// journal's thread, where what it says by `tracing`'s macros goes to journald with all its fields, or to the terminal.
///
/// ```
/// let (order, cents) = (4711, 1990);
/// outlive::log(move || tracing::info!(ORDER = order, CENTS = cents, "order {order} is paid"));
/// ```
///
/// This never blocks. If more than eight thousand entries wait because journald is slow, further ones are dropped, and
/// the journal says how many. Where the program has a `tracing` subscriber of its own instead of the journal, `say` is
/// called at once.
///
/// Fields with names in capitals are the journal's own kind: `journalctl ORDER=4711` finds the entry, and with
/// [`MESSAGE_ID`](https://systemd.io/CATALOG/) it can be explained by `journalctl -x`. See systemd.journal-fields(7).
pub fn log(say: impl FnOnce() + Send + 'static) {
    #[cfg(feature = "journal")]
    let Some(say) = super::writer::queue_own(say) else { return };
    say();
}

/// Whether what this process writes to standard error goes to journald: `JOURNAL_STREAM` of systemd.exec(5).
///
/// For programs that write otherwise to people than to a journal: in colours, say, or at greater length.
#[must_use]
pub fn connected_to_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let here = rustix::fs::fstat(io::stderr()).map(|stat| format!("{}:{}", stat.st_dev, stat.st_ino));
    here.is_ok_and(|here| here == stream)
}
