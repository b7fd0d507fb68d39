//! The drain's window is the unit's own `TimeoutStopSec=`, drop-ins included, less a margin.

use outlive::journal::message_id;

use crate::support::client::get;
use crate::support::container::{Container, SERVICE, Suite};
use crate::{SLOW, host, on_every_systemd, running};

on_every_systemd!(
    the_window_is_that_of_the_unit,
    the_window_follows_a_drop_in,
    the_window_may_be_infinite,
    a_drop_in_counts_for_a_service_that_runs
);

fn the_window_is_that_of_the_unit(suite: Suite) {
    let host = host(suite);
    drains(&host, "of 27 s"); // 30 s, less a tenth
}

fn the_window_follows_a_drop_in(suite: Suite) {
    let host = host(suite);
    host.edit("outlive.service", "[Service]\nTimeoutStopSec=2min\n");
    drains(&host, "of 115 s"); // less five seconds
}

fn the_window_may_be_infinite(suite: Suite) {
    let host = host(suite);
    host.edit("outlive.service", "[Service]\nTimeoutStopSec=infinity\n");
    drains(&host, "without a limit");
}

/// Stops the service while a request runs, and asserts what its status says of the window.
#[track_caller]
fn drains(host: &Container, window: &str) {
    host.in_network(async || {
        let slow = tokio::spawn(get(SERVICE, "/slow"));
        running(1).await;
        let stop = host.start("systemctl stop outlive.service");
        host.wait_for_status(window, |status| status.starts_with("Draining: ") && status.ends_with(window)).await;
        assert_eq!(slow.await.unwrap().unwrap().text(), SLOW);
        stop.finished().await;
    });
    // It could ask systemd, in spite of its sandbox.
    let unknown = host.journal(&format!("MESSAGE_ID={}", message_id::WINDOW_UNKNOWN));
    assert!(unknown.is_empty(), "{unknown:#?}");
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
