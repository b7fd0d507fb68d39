//! The service under a real systemd: every test runs with 252 and with 257.

#[path = "../support/mod.rs"]
mod support;

mod rehearse;
mod start;
