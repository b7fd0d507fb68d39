//! Handover: connections leave one process and go on in the next.
//!
//! A worker gives a connection that waits for a request away as a [`Carried`]: its socket, what it is in the middle of,
//! and the bytes that were read ahead of need. A [`Carrier`] takes it across, and in the next process it is a `Carried`
//! again, which a worker adopts. What crosses of each is its descriptor and a [record].
//!
//! On a restart the way leads through systemd's descriptor store: [`deposit`] puts descriptors into a vault (`vault`) and
//! records into the ledger beside it (`ledger`), and [`adopt`] reads both back. It does so from the beginning of the
//! drain, while everything is still served: each connection has its [`place`] then, so that it outlives a SIGKILL, too.
//!
//! On a reload the [`successor`] is started by way of [`launch`], and as soon as it is ready connections go straight to it,
//! over the [`link`] to its [`predecessor`] ([`passage`]). Older processes still finish their requests then ([`elders`]).
//!
//! Nothing here knows HTTP.

pub mod adopt;
pub mod deposit;
pub mod elders;
pub mod launch;
mod ledger;
pub mod link;
pub mod parcel;
pub mod passage;
pub mod place;
pub mod predecessor;
pub mod record;
pub mod successor;
mod vault;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use place::Place;
use record::Standing;

/// The version of what is written for the next process. A debug build can be made one of another version, so that two
/// builds can be tested on each other; a release build can't.
const FORMAT: u16 = match option_env!("OUTLIVE_TEST_FORMAT") {
    Some(text) if cfg!(debug_assertions) => match u16::from_str_radix(text, 10) {
        Ok(version) => version,
        Err(_) => panic!("OUTLIVE_TEST_FORMAT is no number"),
    },
    _ => 1,
};

const VAULT: &str = "outlive-vault-";
const LEDGER: &str = "outlive-ledger-";

fn vault_name(generation: u64, number: usize) -> String {
    format!("{VAULT}{generation}-{number}")
}

fn ledger_name(generation: u64, number: usize) -> String {
    format!("{LEDGER}{generation}-{number}")
}

/// Whether a descriptor of that name has been stored by this program, in any of its versions.
#[must_use]
pub fn is_stored(name: &str) -> bool {
    name.starts_with(VAULT) || name.starts_with(LEDGER)
}

/// Whether it is a vault, of which generation, and which of that.
fn parse_name(name: &str) -> Option<(bool, u64, u64)> {
    let vault = name.strip_prefix(VAULT);
    let (generation, number) = vault.or_else(|| name.strip_prefix(LEDGER))?.split_once('-')?;
    Some((vault.is_some(), generation.parse().ok()?, number.parse().ok()?))
}

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
    /// Bytes that were read from the socket and belong to requests that nobody has begun to serve. Of an upgraded
    /// connection, first its [parcel](parcel).
    pub ahead: Bytes,
}

/// A way to the next process.
pub trait Carrier: Send + Sync + std::fmt::Debug {
    /// Takes connections along, and returns those that it cannot: they stay where they are.
    ///
    /// Once it returns, the connections taken go on in the next process even if this one is killed.
    fn carry(&self, connections: Vec<Carried>) -> Vec<Carried>;
}

/// Keeps copies of connections that go on being served here, in case this process is killed.
pub trait Custodian: Send + Sync + std::fmt::Debug {
    /// Takes copies. Returns the places of as many as it could take, in their order; none of the connections has left.
    ///
    /// Never waits, and is not to be asked again for those that it couldn't take.
    fn entrust(&self, copies: &[Carried]) -> Vec<Place>;

    /// Notes what a connection with a place waits for now. Says whether it could.
    fn renew(&self, place: &mut Place, connection: &Carried) -> bool;

    /// Whether a connection with a place may leave, since the next process is known to get its copy. May have to wait
    /// for systemd.
    fn keeps(&self, place: &Place) -> bool;
}
