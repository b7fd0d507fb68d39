//! A worker that is stuck gets the service restarted.

use outlive::journal::message_id;

use crate::support::container::Suite;
use crate::support::held::Held;
use crate::{Live, host, on_every_systemd};

on_every_systemd!(a_stuck_worker_gets_the_service_restarted);

fn a_stuck_worker_gets_the_service_restarted(suite: Suite) {
    let host = host(suite);
    host.edit("outlive.service", "[Service]\nWatchdogSec=2s\n");
    let before = host.in_network(async || Live::fresh().await).unwrap();
    let mut journal = host.follow_journal("UNIT=outlive.service + _SYSTEMD_UNIT=outlive.service");

    let _stuck = Held::thread(host.host_pid(before.pid), "worker-0");

    // Its other threads go on, and one of them notices.
    let noticed = journal.wait_for("that a worker is stuck", |e| e.get("MESSAGE_ID") == Some(message_id::WORKER_STUCK));
    assert_eq!(noticed.field("WORKER"), "0");
    journal.wait_for("the watchdog's verdict", |entry| entry.get("UNIT_RESULT") == Some("watchdog"));
    journal.wait_for("the new process", |entry| entry.get("MESSAGE_ID") == Some(message_id::READY));

    let after = host.in_network(async || Live::fresh().await).unwrap();
    assert_ne!(after.pid, before.pid);
    assert_eq!(after.generation, before.generation + 1);
    assert_eq!(host.property("outlive.service", "NRestarts"), "1");
}
