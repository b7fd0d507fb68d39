//! outlive: your connections outlive your process.

//HOLD#[doc(hidden)]
//HOLDpub mod cli;
pub mod config;
//HOLD#[doc(hidden)]
//HOLDpub mod control;
pub mod journal;
pub mod route;
pub mod server;
pub mod systemd;
