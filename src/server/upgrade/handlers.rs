//! Who goes on with upgraded connections of the process before.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Connection;
use crate::handover::Carried;
use crate::handover::parcel::Parcel;
use crate::handover::record::Standing;
use crate::journal::{self, Event, Pace};
use crate::server::panics;

/// How often it is journaled that nobody goes on with a connection.
const UNHANDLED_REPORTED_EVERY: Duration = Duration::from_secs(1);

type Handler = dyn Fn(Connection, Bytes) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// The handlers that go on with upgraded connections which the process before has
/// [handed over](Connection::hand_over), by name.
#[derive(Clone, Default)]
pub struct Handlers(Arc<BTreeMap<Box<str>, Arc<Handler>>>);

impl Handlers {
    /// None yet. A connection that none is registered for is closed, counted, and named in the journal.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a handler: see [`Server::upgraded`](crate::Server::upgraded).
    #[must_use]
    pub fn on<F, R>(mut self, name: &str, handler: F) -> Self
    where
        F: Fn(Connection, Bytes) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let handler: Arc<Handler> = Arc::new(move |connection, state| Box::pin(handler(connection, state)));
        Arc::make_mut(&mut self.0).insert(name.into(), handler);
        self
    }

    /// Who goes on with a connection, if it is an upgraded one; takes the parcel out of it.
    pub(in crate::server) fn resume(&self, connection: &mut Carried) -> Result<Option<Resume>, Unhandled> {
        if connection.standing != Standing::Upgraded {
            return Ok(None);
        }
        let (parcel, ahead) = Parcel::decode(&connection.ahead).map_err(|error| Unhandled(error.to_string()))?;
        let Some(handler) = self.0.get(&*parcel.handler) else {
            let name = &parcel.handler;
            return Err(Unhandled(format!(
                "an upgraded connection was handed over to `{name}`, and this process has no handler of that name"
            )));
        };
        connection.ahead = ahead;
        Ok(Some(Resume { handler: Arc::clone(handler), parcel }))
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Why nobody goes on with a connection.
pub(in crate::server) struct Unhandled(String);

impl Unhandled {
    pub(in crate::server) fn report(self) {
        static PACE: Pace = Pace::new(UNHANDLED_REPORTED_EVERY);
        if PACE.permits() {
            journal::log(Event::Inconvenience { text: format!("{}: it is closed", self.0) });
        }
    }
}

/// What goes on with one connection.
pub(crate) struct Resume {
    handler: Arc<Handler>,
    parcel: Parcel,
}

impl fmt::Debug for Resume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Resume").field(&self.parcel).finish()
    }
}

impl Resume {
    /// The route that the connection once came by.
    pub(in crate::server) fn route(&self) -> Option<Arc<str>> {
        Some(&self.parcel.route).filter(|route| !route.is_empty()).map(Arc::clone)
    }

    /// Goes on with it to its end.
    pub(in crate::server) async fn run(self, connection: Connection) {
        let Self { handler, parcel } = self;
        let handled = panics::catch(|| handler(connection, parcel.state));
        let panic = match handled {
            Ok(mut future) => poll_fn(|cx| panics::poll(future.as_mut(), cx)).await.err(),
            Err(panic) => Some(panic),
        };
        if let Some(panic) = panic {
            let route = parcel.handler.to_string();
            journal::log(Event::HandlerPanicked { route, message: panic.message, location: panic.location });
        }
    }
}
