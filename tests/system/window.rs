//! The drain's window is the unit's own `TimeoutStopSec=`, drop-ins included, less a margin.

use outlive::journal::message_id;

use crate::support::client::get;
use crate::support::container::{Container, SERVICE, Suite};
use crate::support::wait::{SOON, until};
use crate::{SLOW, host, on_every_systemd, running};

on_every_systemd!(
    the_window_is_that_of_the_unit,
    the_window_follows_a_drop_in,
    the_window_may_be_infinite,
    a_drop_in_counts_for_a_service_that_runs,
);

fn the_window_is_that_of_the_unit(suite: Suite) {
    let host = host(suite);
    assert_eq!(drain(&host, Some("27 s")), Some(27_000_000), "30 s, less a tenth");
}

fn the_window_follows_a_drop_in(suite: Suite) {
    let host = host(suite);
    host.edit("outlive.service", "[Service]\nTimeoutStopSec=2min\n");
    assert_eq!(drain(&host, Some("115 s")), Some(115_000_000), "two minutes, less five seconds");
}

fn the_window_may_be_infinite(suite: Suite) {
    let host = host(suite);
    host.edit("outlive.service", "[Service]\nTimeoutStopSec=infinity\n");
    assert_eq!(drain(&host, None), None);
}

/// Stops the service while a request runs, waits for a status with the window, and returns the window that the drain
/// began with.
fn drain(host: &Container, window: Option<&str>) -> Option<u64> {
    host.in_network(async || {
        let slow = tokio::spawn(get(SERVICE, "/slow"));
        running(1).await;
        let stop = host.start("systemctl stop outlive.service");
        let end = window.map_or_else(|| "without a limit".to_owned(), |window| format!("of {window}"));
        until(SOON, &end, || {
            let status = host.property("outlive.service", "StatusText");
            if status.starts_with("Draining: ") && status.ends_with(&end) { Ok(()) } else { Err(status) }
        });
        assert_eq!(slow.await.unwrap().unwrap().text(), SLOW);
        stop.finished().await;
    });
    assert!(
        host.journal(&format!("MESSAGE_ID={}", message_id::WINDOW_UNKNOWN)).is_empty(),
        "the service could ask systemd, in spite of its sandbox"
    );
    let began = host.wait_for_journal(message_id::DRAIN_BEGAN);
    began.get("WINDOW_USEC").map(|usec| usec.parse().unwrap())
}

/// Were it to go on with the 30 s that held when it started, it would be killed.
fn a_drop_in_counts_for_a_service_that_runs(suite: Suite) {
    let host = host(suite);
    host.in_network(async || {
        let never = tokio::spawn(get(SERVICE, "/never"));
        running(1).await;
        host.edit("outlive.service", "[Service]\nTimeoutStopSec=3s\n");

        host.start("systemctl stop outlive.service").finished().await;

        never.await.unwrap().expect_err("the connection was cut");
    });
    assert_eq!(host.property("outlive.service", "Result"), "exit-code", "cut in time, not killed");
    assert_eq!(host.property("outlive.service", "ExecMainStatus"), "1");
}
