//! outlive: your connections outlive your process.

// A panic on input is a defect here: say why it cannot fail, or return an error.
#![warn(clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod api;
mod control;

pub use api::{Answer, Drain, IntoApp, IntoSendApp, Reload, Server};
pub use control::{Address, AddressError, Draining, Ended, Error, Signal, Task, Tasks};
pub use server::app::Observer;
pub use server::body::{BodyTooLong, RequestBody as Body};
pub use server::exchange::{ConnectionInfo, Exchange, Outcome, Peer};
pub use server::gauges::Gauges;
pub use server::limits::Limits;
pub use server::upgrade;
pub use status::InUse;

// What follows is no public interface. It is visible for the program that is built of it, and for tests, and may change
// with any version.

#[cfg(feature = "service")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "service")]
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod handover;
#[doc(hidden)]
pub mod journal;
#[cfg(feature = "service")]
#[doc(hidden)]
pub mod rehearse;
#[cfg(feature = "service")]
#[doc(hidden)]
pub mod route;
#[doc(hidden)]
pub mod server;
#[cfg(feature = "service")]
mod service;
#[doc(hidden)]
pub mod status;
#[doc(hidden)]
pub mod systemd;
