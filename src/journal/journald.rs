//! journald by its native protocol.
//!
//! tracing-journald formats and sends. This layer adds what it leaves out: the names and priorities that journalctl
//! knows, and a look whether journald is there before an entry is sent, because what can't be sent is lost without a
//! word.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::thread;

use tracing_journald::{Layer, Priority, PriorityMappings};

use super::writer::LOOK_EVERY;
use crate::status::program;

/// Where journald listens: systemd-journald.service(8). tracing-journald sends there and nowhere else.
const SOCKET: &str = "/run/systemd/journal/socket";

/// Tells whether journald is there.
pub(super) struct Journald {
    probe: UnixDatagram,
}

impl Journald {
    /// What writes to journald, and what tells whether it is there.
    pub(super) fn layer() -> io::Result<(Layer, Self)> {
        let program = program().unwrap_or_default();
        let layer = tracing_journald::layer()?
            // What `journalctl -t` looks for, the same as systemd's own for what the program writes to standard error.
            .with_syslog_identifier(program.to_string_lossy().into_owned())
            // Without this, fields would be named F_MESSAGE_ID and so on, and journalctl would know none of them.
            .with_field_prefix(None)
            .with_priority_mappings(PriorityMappings {
                error: Priority::Error,
                warn: Priority::Warning,
                info: Priority::Informational,
                debug: Priority::Debug,
                trace: Priority::Debug,
            });
        Ok((layer, Self { probe: UnixDatagram::unbound()? }))
    }

    /// Waits until journald is there; meanwhile entries wait in the queue, and are counted when that is full.
    pub(super) fn wait(&self) {
        // Connecting sends nothing, and doesn't wait when journald is slow to read.
        while self.probe.connect(SOCKET).is_err() {
            thread::sleep(LOOK_EVERY);
        }
    }
}
