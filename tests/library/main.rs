//! The library, as a developer meets it: programs that serve by it, each a process of its own.
//!
//! A program is one test of this binary, run alone in a process of its own by a stand-in for systemd: then `is_service()`
//! holds, and it serves.

#![allow(clippy::unwrap_used, reason = "a test may panic; Clippy only knows that of functions marked as tests")]

#[path = "../support/mod.rs"]
mod support;

mod apps;

use rustix::process::Signal;
use support::fake_systemd::FakeSystemd;
use support::service::Service;

/// Starts a test as a program, on one socket.
#[track_caller]
fn program(systemd: &FakeSystemd, test: &str) -> Service {
    systemd.service("").test(test).start()
}

/// Ends a program, which should go well.
#[track_caller]
fn end(mut service: Service) {
    service.signal(Signal::TERM);
    assert!(service.wait_for_exit().success(), "{}", service.story());
}
