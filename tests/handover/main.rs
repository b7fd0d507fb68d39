//! Connections that outlive the process: a service ends, the next one starts, and clients notice nothing.
//!
//! Real processes, and a stand-in for systemd that keeps what they store. The real one: `tests/system/handover.rs`.

#![allow(clippy::unwrap_used, reason = "a test may panic; Clippy only knows that of functions marked as tests")]

#[path = "../support/mod.rs"]
mod support;

mod hostile;
mod killed;
mod left_behind;
mod not_kept;
mod versions;
mod without_loss;

use rustix::io::pread;
use rustix::process::Signal;
use support::bytewise as client;
use support::fake_systemd::FakeSystemd;
use support::service::Service;

/// Routes to ask for. `/live` tells which process has answered.
const CONFIG: &str = r#"
[limits]
request_timeout = "2h"

[drain]
window = "20s"

[[route]]
path = "/live"
welcome = {}

[[route]]
path = "/hello"
methods = ["GET", "POST"]
respond = { body = "hello\n" }

[[route]]
path = "/slow"
respond = { body = "slow\n", delay = "500ms" }

[[route]]
path = "/slower"
respond = { body = "slower\n", delay = "1500ms" }
"#;

/// A systemd that keeps descriptors, with one TCP socket.
fn systemd() -> FakeSystemd {
    FakeSystemd::with_http().keeping(64)
}

/// Ends a service in good order, as the first half of a restart does.
#[track_caller]
fn end(service: &mut Service) {
    service.signal(Signal::TERM);
    assert_eq!(service.wait_for_exit().code(), Some(0), "{}", service.story());
}

/// The line in which a service says what it has adopted.
#[track_caller]
fn adopted(service: &Service) -> String {
    let line = service.wait_for_line("Adopted ");
    line[line.find("Adopted").unwrap()..].to_owned()
}

/// How many connections the ledgers that are kept say wait: they must all go on.
fn waiting(systemd: &FakeSystemd) -> usize {
    const SLOTS: u64 = 65_536;
    const SLOT: usize = 64;
    let kept = systemd.store.duplicates();
    let names: Vec<_> = kept.iter().map(|(name, _)| name.as_str()).collect();
    // Without its vault, which comes after it, there is nothing to go on with.
    let is_whole = |name: &str| name.contains("ledger") && names.contains(&name.replace("ledger", "vault").as_str());
    let ledgers = kept.iter().filter(|(name, _)| is_whole(name));
    let count = |ledger| {
        let mut deposited = [0; 4];
        pread(ledger, &mut deposited, 12).unwrap();
        let mut slots = vec![0; u32::from_le_bytes(deposited) as usize * SLOT];
        assert_eq!(pread(ledger, &mut slots, SLOTS).unwrap(), slots.len());
        slots.chunks(SLOT).filter(|slot| slot[7] == 0).count()
    };
    ledgers.map(|(_, ledger)| count(ledger)).sum()
}
