//! outlive: your connections outlive your process.

#[doc(hidden)]
pub mod cli;
pub mod config;
#[doc(hidden)]
pub mod control;
pub mod journal;
pub mod route;
pub mod server;
pub mod systemd;
