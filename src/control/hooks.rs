//! What the user wants done when a signal comes, before and after what it does here.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::journal::{self, Event};

/// A signal that a server heeds: see signal(7).
///
/// | signal | does by itself |
/// |---|---|
/// | `Term`, `Int` | drains; the second one cuts the drain short |
/// | `Hup` | starts the program on disk as the successor |
/// | `Usr1` | writes the counters to the journal |
/// | `Usr2` | cuts a drain short; ends at once where none has begun |
/// | `Tstp` | what it does by default, suspending the process, unless there is a hook: then nothing but that |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// SIGHUP.
    Hup,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
    /// SIGINT: ctrl-C.
    Int,
    /// SIGTERM: `systemctl stop`, `systemctl restart`.
    Term,
    /// SIGTSTP: ctrl-Z.
    Tstp,
}

impl Signal {
    /// `SIGTERM`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hup => "SIGHUP",
            Self::Usr1 => "SIGUSR1",
            Self::Usr2 => "SIGUSR2",
            Self::Int => "SIGINT",
            Self::Term => "SIGTERM",
            Self::Tstp => "SIGTSTP",
        }
    }
}

/// `SIGTERM`.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

type Hook = Box<dyn FnMut() + Send>;

/// Whether a hook is called before or after what the signal does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum When {
    Before,
    After,
}

/// All hooks.
#[derive(Default)]
pub(crate) struct Hooks(HashMap<(Signal, When), Vec<Hook>>);

impl Hooks {
    pub(crate) fn add(&mut self, signal: Signal, when: When, hook: Hook) {
        self.0.entry((signal, when)).or_default().push(hook);
    }

    pub(super) fn any(&self, signal: Signal) -> bool {
        [When::Before, When::After].iter().any(|when| self.0.contains_key(&(signal, *when)))
    }

    /// Calls those for a signal, in the order in which they were added. One that panics is the user's loss only.
    pub(super) fn call(&mut self, signal: Signal, when: When) {
        for hook in self.0.get_mut(&(signal, when)).into_iter().flatten() {
            if catch_unwind(AssertUnwindSafe(hook)).is_err() {
                journal::log(Event::Inconvenience { text: format!("A hook for {signal} has panicked") });
            }
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
