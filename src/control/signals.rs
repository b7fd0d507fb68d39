//! The signals that a server heeds, and what the program itself asks for.

use tokio::signal::unix::{self, SignalKind, signal};
use tokio::sync::mpsc;

use super::hooks::{Hooks, Signal, When};

/// From its making on, a signal is heard instead of ending the process.
pub(super) struct Signals {
    term: unix::Signal,
    int: unix::Signal,
    hup: unix::Signal,
    usr1: unix::Signal,
    usr2: unix::Signal,
    /// Only if there is a hook for it: being heard, it no longer suspends the process.
    tstp: Option<unix::Signal>,
    hooks: Hooks,
    /// The signal that was heard last, whose hooks for afterwards haven't been called yet.
    last: Option<Signal>,
    wishes: Option<mpsc::UnboundedReceiver<&'static str>>,
}

#[derive(Clone, Copy)]
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
    pub(super) fn new(hooks: Hooks, wishes: Option<mpsc::UnboundedReceiver<&'static str>>) -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
            tstp: hooks.any(Signal::Tstp).then(|| signal(SignalKind::from_raw(SIGTSTP))).transpose()?,
            hooks,
            last: None,
            wishes,
        })
    }

    /// Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Heard {
        // By now whoever asked has begun to do what the one before is for.
        if let Some(last) = self.last.take() {
            self.hooks.call(last, When::After);
        }
        loop {
            let signal = tokio::select! {
                _ = self.term.recv() => Signal::Term, // systemctl stop, systemctl restart
                _ = self.int.recv() => Signal::Int,   // ctrl-C
                _ = self.usr2.recv() => Signal::Usr2, // an impatient operator
                _ = self.usr1.recv() => Signal::Usr1, // a curious one
                _ = self.hup.recv() => Signal::Hup,   // systemctl reload
                () = heard(&mut self.tstp) => Signal::Tstp, // ctrl-Z
                cause = wish(&mut self.wishes) => return Heard::End(cause),
            };
            self.hooks.call(signal, When::Before);
            if signal == Signal::Tstp {
                self.hooks.call(signal, When::After);
                continue;
            }
            self.last = Some(signal);
            return match signal {
                Signal::Usr2 => Heard::Hammer(signal.name()),
                Signal::Usr1 => Heard::Snapshot,
                Signal::Hup => Heard::Reload,
                Signal::Term | Signal::Int | Signal::Tstp => Heard::End(signal.name()),
            };
        }
    }
}

/// Of signal(7); tokio has a name for each signal but those that stop a process.
const SIGTSTP: i32 = rustix::process::Signal::TSTP.as_raw();

async fn heard(signal: &mut Option<unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

async fn wish(wishes: &mut Option<mpsc::UnboundedReceiver<&'static str>>) -> &'static str {
    match wishes {
        // The engine itself holds a sender.
        Some(wishes) => match wishes.recv().await {
            Some(cause) => cause,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
