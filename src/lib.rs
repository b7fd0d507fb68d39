//! outlive: your connections outlive your process.

pub mod config;
pub mod route;
pub mod server;
