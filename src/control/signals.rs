//! The signals that the service heeds.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// From its making on, a signal is heard instead of ending the process.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr1: Signal,
    usr2: Signal,
}

pub(super) enum Heard {
    /// SIGTERM, SIGINT: end.
    End(&'static str),
    /// SIGUSR2: end at once.
    Hammer(&'static str),
    /// SIGUSR1: say how things are.
    Snapshot,
    /// SIGHUP: reload.
    Reload,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
        })
    }

    pub(super) async fn next(&mut self) -> Heard {
        tokio::select! {
            _ = self.term.recv() => Heard::End("SIGTERM"), // systemctl stop, systemctl restart
            _ = self.int.recv() => Heard::End("SIGINT"),   // ctrl-C
            _ = self.usr2.recv() => Heard::Hammer("SIGUSR2"), // an impatient operator
            _ = self.usr1.recv() => Heard::Snapshot,       // a curious one
            _ = self.hup.recv() => Heard::Reload,          // systemctl reload
        }
    }
}
