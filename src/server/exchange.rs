//! One request and its answer, as the application and the journal see them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use http::{Method, Uri};

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// A TCP client's address.
    Tcp(SocketAddr),
    /// A Unix socket's client: they have no address worth the name.
    Unix,
}

impl Peer {
    /// A TCP client's address.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix => None,
        }
    }
}

/// The address, or `unix`.
impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// What a connection's requests share.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Who is at the other end.
    pub peer: Peer,
    /// The name of the listener that accepted it.
    pub listener: Arc<str>,
}

impl ConnectionInfo {
    /// Of a connection that there needn't be: for tests of applications.
    #[must_use]
    pub fn new(peer: Peer, listener: impl Into<Arc<str>>) -> Self {
        Self { peer, listener: listener.into() }
    }
}

/// One request and its answer: what the server tells the application of it, and the application the server.
#[derive(Debug)]
pub struct Exchange {
    /// The connection it came on.
    pub connection: Arc<ConnectionInfo>,
    /// When its head was complete; to within a quarter of a second if nobody [observes](crate::Server::observe).
    pub began: Instant,
    /// The request's method.
    pub method: Method,
    /// The request's target.
    pub uri: Uri,
    request_id: OnceLock<Box<str>>,
    route: OnceLock<Arc<str>>,
    logged_fields: OnceLock<Box<str>>,
    bytes: AtomicU64,
    body_limit_hit: AtomicBool,
    body_touched: AtomicBool,
    body_complete: AtomicBool,
}

/// One that there needn't be: for tests of applications.
impl Default for Exchange {
    fn default() -> Self {
        Self::new(Arc::new(ConnectionInfo::new(Peer::Unix, "")), Method::default(), Uri::default())
    }
}

impl Exchange {
    /// A new exchange that begins now.
    #[must_use]
    pub fn new(connection: Arc<ConnectionInfo>, method: Method, uri: Uri) -> Self {
        Self::beginning(connection, method, uri, Instant::now())
    }

    pub(super) fn beginning(connection: Arc<ConnectionInfo>, method: Method, uri: Uri, began: Instant) -> Self {
        Self {
            connection,
            began,
            method,
            uri,
            request_id: OnceLock::new(),
            route: OnceLock::new(),
            logged_fields: OnceLock::new(),
            bytes: AtomicU64::new(0),
            body_limit_hit: AtomicBool::new(false),
            body_touched: AtomicBool::new(false),
            body_complete: AtomicBool::new(false),
        }
    }

    /// Names the route that answers, for the journal and for the list of requests that a drain had to cut. The first
    /// call counts.
    pub fn set_route(&self, route: Arc<str>) {
        let _ = self.route.set(route);
    }

    /// The route that answers, once the application has named it.
    #[must_use]
    pub fn route(&self) -> Option<&Arc<str>> {
        self.route.get()
    }

    /// The route that answers; where the application has named none, what was asked for: `GET /slow`.
    pub(super) fn label(&self) -> Arc<str> {
        self.route().map_or_else(|| format!("{} {}", self.method, self.uri.path()).into(), Arc::clone)
    }

    /// Sets the request's id, the client's own (`X-Request-Id`) or one that was made. The first call counts.
    pub fn set_request_id(&self, id: impl Into<Box<str>>) {
        let _ = self.request_id.set(id.into());
    }

    /// The request's id, if anyone has set one.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.get().map(AsRef::as_ref)
    }

    /// Keeps the request's fields that the journal is to show, as text. The first call counts.
    pub fn set_logged_fields(&self, fields: impl Into<Box<str>>) {
        let _ = self.logged_fields.set(fields.into());
    }

    /// The request's fields that the journal is to show.
    #[must_use]
    pub fn logged_fields(&self) -> Option<&str> {
        self.logged_fields.get().map(AsRef::as_ref)
    }

    /// Bytes of the answer's body that have been given to the connection so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn add_bytes(&self, more: u64) {
        // The worker alone counts; a read-modify-write instruction would be a lock for nothing.
        self.bytes.store(self.bytes() + more, Ordering::Relaxed);
    }

    /// Whether the request's body was longer than its limit.
    #[must_use]
    pub fn body_limit_hit(&self) -> bool {
        self.body_limit_hit.load(Ordering::Relaxed)
    }

    pub(super) fn set_body_limit_hit(&self) {
        self.body_limit_hit.store(true, Ordering::Relaxed);
    }

    /// Whether anyone has begun to read the request's body.
    pub(super) fn body_touched(&self) -> bool {
        self.body_touched.load(Ordering::Relaxed)
    }

    pub(super) fn set_body_touched(&self) {
        self.body_touched.store(true, Ordering::Relaxed);
    }

    /// Whether the whole of the request's body has arrived and was read.
    pub(super) fn body_complete(&self) -> bool {
        self.body_complete.load(Ordering::Relaxed)
    }

    pub(super) fn set_body_complete(&self) {
        self.body_complete.store(true, Ordering::Relaxed);
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The whole answer was given to the connection.
    Complete,
    /// The client went away, or its connection failed, before the whole answer was given.
    Aborted,
    /// The application failed while it sent the body.
    Failed,
    /// A drain's window ended first.
    Cut,
}

impl Outcome {
    /// In one word, for a log: `complete`, `aborted`, `failed`, `cut`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Aborted => "aborted",
            Self::Failed => "failed",
            Self::Cut => "cut",
        }
    }
}
