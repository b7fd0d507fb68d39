//! The public interface: a builder, and what it takes.
//!
//! A [`Server`] collects how it is to be run (`control`'s `Setup`), makes an application of what it is given to serve
//! ([`app`]), and lets the engine (`control`) run it. The engine knows nothing of this folder, and the service
//! (`outlive serve`) nothing of the engine.

pub(crate) mod app;
mod drain;
mod each;
mod function;
mod hyper_service;
mod reload;
mod server;
mod spawned;
mod tower_service;

pub use app::{IntoApp, IntoSendApp};
pub use drain::Drain;
pub use function::Answer;
pub use reload::Reload;
pub use server::Server;
