//! outlive: your connections outlive your process.

// A panic on input is a defect here: say why it cannot fail, or return an error.
#![warn(clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[doc(hidden)]
pub mod cli;
pub mod config;
#[doc(hidden)]
pub mod control;
pub mod handover;
pub mod journal;
pub mod rehearse;
pub mod route;
pub mod server;
pub mod status;
pub mod systemd;
