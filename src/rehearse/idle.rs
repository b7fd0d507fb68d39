//! Idle clients: one request, then silence through a whole round, then another on the same connection.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use futures_util::future::join_all;

use super::client::Run;
use super::connection::Connection;
use super::tally::Kind;

/// How many of them ask at once: enough to be quick with 50 000, few enough not to hold up the other clients.
const AT_ONCE: u32 = 32;

/// All idle clients.
pub(super) struct Idle {
    run: Rc<Run>,
    connections: Vec<Cell<Option<Connection>>>,
}

impl Idle {
    pub(super) fn new(run: &Rc<Run>) -> Self {
        let connections = (0..run.plan.idle).map(|_| Cell::new(None)).collect();
        Self { run: Rc::clone(run), connections }
    }

    /// Those without a connection open one and make their first request.
    pub(super) async fn open(&self) {
        self.each(|connection| connection.is_none()).await;
    }

    /// Those with a connection make another request on it.
    pub(super) async fn ask(&self) {
        self.each(Option::is_some).await;
    }

    /// Lets those that are `chosen` ask, a few at once.
    async fn each(&self, chosen: fn(&Option<Connection>) -> bool) {
        let next = Cell::new(0);
        let turns = (0..AT_ONCE.min(self.run.plan.idle)).map(|_| async {
            loop {
                let number = next.replace(next.get() + 1);
                let Some(cell) = self.connections.get(number as usize) else { return };
                let mut connection = cell.take();
                if chosen(&connection) {
                    let source = self.run.sources.of(number);
                    self.run.ask(Kind::Idle, &mut connection, source, &self.run.get, Instant::now()).await;
                }
                cell.set(connection);
            }
        });
        join_all(turns).await;
    }
}
