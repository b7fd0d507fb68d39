//! **outlive: your connections outlive your process.** Three lines, and your own axum router, tower or hyper service, or
//! function, survives its restarts without a lost request or a closed connection:
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<outlive::Ended, outlive::Error> {
//! # let app = axum::Router::<()>::new();
//! outlive::Server::new()
//!     .bind("http", "127.0.0.1:8080") // or what systemd passes under that name
//!     .serve(app).await
//! # }
//! ```
//!
//! # What comes with it
//!
//! - **Restart** (`systemctl restart`). The old process says STOPPING, finishes the requests that run while it still serves
//!   everybody else, hands every cleartext HTTP/1.1 connection over through systemd's descriptor store, and exits. The next
//!   one goes on with them: idle, fresh, with half a request's head read. Who connects meanwhile waits in the backlog.
//! - **Reload** ([`Control::reload`], for `systemctl reload`; SIGHUP; also without systemd). The program that is on disk by
//!   then is started, gets the listeners, and takes over once it serves; connections go straight to it. If it can't serve,
//!   nothing has changed, and whoever asked is told why.
//! - **The end** ([`Drain`]). Everything is bounded by a window: the unit's own `TimeoutStopSec=`, unless you say
//!   otherwise. What still runs then is cut, counted and named in the log. A second signal, or SIGUSR2, cuts it short.
//!   Handlers and background tasks can know ([`Draining`]) and be waited for ([`Tasks`]).
//! - READY, STATUS and STOPPING for systemd, its watchdog (fed only while every worker answers), [`Limits`] and timeouts,
//!   [its status](Control::status) for who asks, hooks on signals ([`Server::on`]), upgraded connections that are told of the end and can be handed
//!   over as well ([`upgrade`]).
//!
//! Each can be left out (`without_…`). HTTP/2 connections are ended by GOAWAY without losing a stream, and don't move.
//! After SIGKILL or a crash, what was idle at the start of the drain or before may go on; requests that ran are lost.
//! [The guide](guide::handover) says all of that exactly, and [how to get here](guide::migration) from what you have.
//!
//! # Where your code runs
//!
//! `serve` can be awaited on any runtime, `#[tokio::main]`'s included. The server has threads of its own: one for itself,
//! and a *worker* for each processor, with a single-threaded runtime on which it accepts, speaks HTTP, and polls your
//! futures. They needn't be `Send`, and a request isn't passed from thread to thread. In return, a handler that
//! blocks holds up the connections of its worker: [`tokio::task::spawn_blocking`] is for that.
//! [`serve_with`](Server::serve_with) runs handlers on your own runtime instead; `benches/README.md` has what that costs.
//!
//! # Features
//!
//! - `journal`: [`Server::journal`] writes what happens to journald with all fields, or as lines to a terminal; [`log`]
//!   does so with what you have to say. Without it, and unless it is called, events go to your `tracing` subscriber.
//! - `service` (default): the program `outlive`. Leave it out (`default-features = false`) for the library alone, with
//!   52 crates instead of 122.
//!
//! # What is public
//!
//! Everything on this page. In its types there are only those of `http`, `http-body`, `bytes`, `hyper`, `tower-service`,
//! `tokio` and the standard library. Modules that are hidden here are no interface, whatever their visibility.

// A panic on input is a defect here: say why it cannot fail, or return an error.
#![warn(clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod api;
mod control;
pub mod guide;

pub use api::{Answer, Drain, IntoApp, IntoSendApp, Reload, Server};
pub use control::{Address, AddressError, Draining, Ended, Error, Signal, Task, Tasks};
pub use journal::own::{connected_to_journal, log};
pub use server::app::Observer;
pub use server::body::{BodyTooLong, RequestBody as Body};
pub use server::exchange::{ConnectionInfo, Exchange, Outcome, Peer};
pub use server::gauges::Gauges;
pub use server::limits::Limits;
pub use server::upgrade;
pub use status::{Control, ControlError, InUse, Status};

// What follows is no public interface. It is visible for the program that is built of it, and for tests, and may change
// with any version.

#[cfg(feature = "service")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "service")]
#[doc(hidden)]
pub mod config;
#[cfg(feature = "service")]
#[doc(hidden)]
pub mod entries;
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
#[cfg(feature = "journal")]
mod visible;
