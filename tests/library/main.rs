//! The library, as a developer meets it: programs that serve by it, each a process of its own.
//!
//! A program is one test of this binary, run alone in a process of its own by a stand-in for systemd: then `is_service()`
//! holds, and it serves.

#![allow(clippy::unwrap_used, reason = "a test may panic; Clippy only knows that of functions marked as tests")]

#[path = "../support/mod.rs"]
mod support;

mod apps;
mod control;
mod draining;
mod errors;
mod journal;
mod reload;
mod signals;
mod without;

use std::net::SocketAddr;

use http::Request;
use outlive::{Body, Ended, Error};
use rustix::process::Signal;
use support::client::Connection;
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
    assert_eq!(service.wait_for_exit().code(), Some(0), "{}", service.story());
}

/// What a program's `main` returns becomes its exit status.
fn exit(ended: Result<Ended, Error>) -> ! {
    std::process::exit(match ended {
        Ok(ended) if ended.is_clean() => 0,
        Ok(_) => 1,
        Err(error) => {
            eprintln!("{error:?}");
            2
        }
    })
}

async fn hello(_: Request<Body>) -> &'static str {
    "hello\n"
}

/// Says which process has answered.
async fn pid(_: Request<Body>) -> String {
    std::process::id().to_string()
}

async fn get(address: SocketAddr, path: &str) -> String {
    Connection::open(address).await.unwrap().get(path).await.unwrap().text().to_owned()
}
