//! The kept-alive connections: how many there are, and how many of them survive a command.

use std::cell::Cell;
use std::rc::Rc;

/// A kept-alive connection's place in the count: open as long as this lives.
#[derive(Debug)]
pub(super) struct Kept {
    census: Rc<Census>,
    /// How many commands had started when it was opened, or when it last became a survivor.
    epoch: usize,
    survivor: bool,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.census.open.set(self.census.open.get() - 1);
        if self.survivor && self.epoch == self.census.commands.get() {
            self.census.survivors.set(self.census.survivors.get() - 1);
        }
    }
}

/// The kept-alive connections, counted.
#[derive(Debug, Default)]
pub(super) struct Census {
    open: Cell<usize>,
    /// Those that were open when the last command started and have given an answer since it ended. One that is closed
    /// after all is taken out again: a command may return before what it set off is over.
    survivors: Cell<usize>,
    /// Commands that have started.
    commands: Cell<usize>,
}

impl Census {
    /// How many are open.
    pub(super) fn open(&self) -> usize {
        self.open.get()
    }

    /// How many survived the last command, as far as is known.
    pub(super) fn survivors(&self) -> usize {
        self.survivors.get()
    }

    /// A connection begins to be kept alive.
    pub(super) fn keep(self: &Rc<Self>) -> Kept {
        self.open.set(self.open.get() + 1);
        Kept { census: Rc::clone(self), epoch: self.commands.get(), survivor: false }
    }

    pub(super) fn command_starts(&self) {
        self.commands.set(self.commands.get() + 1);
        self.survivors.set(0);
    }

    /// An answer came, and no command runs.
    pub(super) fn answered(&self, kept: &mut Kept) {
        if kept.epoch < self.commands.get() {
            kept.epoch = self.commands.get();
            kept.survivor = true;
            self.survivors.set(self.survivors.get() + 1);
        }
    }
}
