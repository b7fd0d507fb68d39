//! outlive: your connections outlive your process.

pub mod config;
pub mod rehearse;
pub mod route;
pub mod server;
