//! outlive: your connections outlive your process.

pub mod config;
pub mod journal;
pub mod route;
pub mod server;
pub mod systemd;
