//! Serving: listeners in, answers out, and an end that loses nothing.

pub mod app;
pub mod body;
pub mod exchange;
pub mod gauges;
pub mod limits;
