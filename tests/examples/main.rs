//! The examples, as somebody who tries them at a terminal sees them: started by hand, asked, sent signals.

#![allow(clippy::unwrap_used, reason = "a test may panic; Clippy only knows that of functions marked as tests")]

#[path = "../support/mod.rs"]
mod support;

mod axum;
mod demonstration;
mod graceful_shutdown;
mod many_listeners;
mod readme;
mod smooth_restart;
mod user_unit;
