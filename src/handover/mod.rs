//! Handover: connections leave one process and go on in the next.
//!
//! A worker gives a connection that waits for a request away as a [`Carried`]: its socket, what it is in the middle of,
//! and the bytes that were read ahead of need. A [`Carrier`] takes it across, and in the next process it is a `Carried`
//! again, which a worker adopts. What crosses of each is its descriptor and a [record].
//!
//! Nothing here knows HTTP.

pub mod elders;
pub mod launch;
pub mod link;
pub mod predecessor;
pub mod record;
pub mod successor;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use record::Standing;

/// A connection between two processes: everything that there is of it.
///
/// Dropping it closes this process's copy of the socket, without a word to the client.
#[derive(Debug)]
pub struct Carried {
    /// Its socket.
    pub socket: OwnedFd,
    /// What it waits for.
    pub standing: Standing,
    /// The name of the listener that accepted it.
    pub listener: Arc<str>,
    /// Who is at the other end; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Since when it waits.
    pub since: Instant,
    /// Requests served on it.
    pub requests: u64,
    /// Bytes that were read from the socket and belong to requests that nobody has begun to serve.
    pub ahead: Bytes,
}

/// A way to the next process.
pub trait Carrier: Send + Sync + std::fmt::Debug {
    /// Takes connections along, and returns those that it cannot: they stay where they are.
    ///
    /// Once it returns, the connections taken go on in the next process even if this one is killed.
    fn carry(&self, connections: Vec<Carried>) -> Vec<Carried>;
}
