//! What the tests share: hosts to run the service on, and clients to run against it.
//!
//! Two kinds of host. [`container::Container`] is a real systemd, booted for one test in a third of a second.
//! [`fake_systemd::FakeSystemd`] is none, but does to the service what systemd does: for tests that need many processes
//! or need to see each notification.
//!
//! Every wait has a deadline, and every failure shows what the process in question had to say.

#![allow(dead_code, reason = "each test binary uses its part")]

pub mod arrivals;
pub mod bytewise;
pub mod cgroup;
pub mod client;
pub mod container;
pub mod datagram;
pub mod example;
pub mod fake_journald;
pub mod fake_systemd;
pub mod held;
pub mod hostile;
pub mod in_process;
pub mod journal;
pub mod killed;
pub mod other_build;
pub mod rehearsal;
pub mod running;
pub mod service;
pub mod store;
pub mod unit;
pub mod wait;

/// The program under test.
pub const OUTLIVE: &str = env!("CARGO_BIN_EXE_outlive");
