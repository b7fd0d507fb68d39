//! `systemctl stop`, and what becomes of the requests that run.

use outlive::journal::message_id;

use crate::support::client::get;
use crate::support::container::{Container, SERVICE, Suite};
use crate::{SLOW, host, on_every_systemd, one_idle_and_one_busy, running};

on_every_systemd!(
    a_stop_lets_requests_finish,
    the_end_of_the_window_cuts_what_still_runs,
    a_hammer_cuts_at_once,
    a_second_sigterm_cuts_at_once
);

/// Asserts how the last main process ended: with which status, and what systemd thinks of that.
#[track_caller]
fn assert_ended(host: &Container, status: &str, result: &str) {
    assert_eq!(host.property("outlive.service", "ExecMainCode"), "1", "CLD_EXITED: it wasn't killed");
    assert_eq!(host.property("outlive.service", "ExecMainStatus"), status);
    assert_eq!(host.property("outlive.service", "Result"), result);
}

fn a_stop_lets_requests_finish(suite: Suite) {
    let host = host(suite);
    host.in_network(async || {
        let (_idle, slow) = one_idle_and_one_busy().await;

        let stop = host.start("systemctl stop outlive.service");

        assert_eq!(slow.await.unwrap().unwrap().text(), SLOW);
        stop.finished().await;
    });
    assert_ended(&host, "0", "success");
    assert_eq!(host.property("outlive.service", "ActiveState"), "inactive");
    let drained = host.wait_for_journal(message_id::DRAIN_ENDED);
    assert_eq!(drained.field("CAUSE"), "SIGTERM");
    assert_eq!(drained.field("CUT"), "0");
    assert!(drained.number("FINISHED") >= 1, "{drained:?}");
    // The port is still there, and the next connection starts the service.
    let answer = host.in_network(async || get(SERVICE, "/hello").await).unwrap();
    assert_eq!(answer.text(), "hello\n");
}

fn the_end_of_the_window_cuts_what_still_runs(suite: Suite) {
    let host = host(suite);
    host.edit("outlive.service", "[Service]\nTimeoutStopSec=3s\n");
    host.in_network(async || {
        let never = tokio::spawn(get(SERVICE, "/never"));
        running(1).await;

        host.start("systemctl stop outlive.service").finished().await;

        never.await.unwrap().expect_err("the connection was cut");
    });
    assert_ended(&host, "1", "exit-code");
    let cut = host.wait_for_journal(message_id::REQUESTS_CUT);
    assert_eq!(cut.field("PRIORITY"), "4");
    assert_eq!(cut.field("CUT"), "1");
    assert!(cut.field("CUT_ROUTES").contains("/never"), "{cut:?}");
    // What `window_within` leaves of three seconds, and no more.
    assert!((2_400_000..3_000_000).contains(&(cut.number("SETTLE_USEC") + cut.number("CLOSE_USEC"))), "{cut:?}");
}

fn a_hammer_cuts_at_once(suite: Suite) {
    hammered_by(suite, "SIGUSR2");
}

fn a_second_sigterm_cuts_at_once(suite: Suite) {
    hammered_by(suite, "SIGTERM");
}

fn hammered_by(suite: Suite, signal: &str) {
    let host = host(suite);
    host.in_network(async || {
        let never = tokio::spawn(get(SERVICE, "/never"));
        running(1).await;
        let stop = host.start("systemctl stop outlive.service");
        host.wait_for_journal(message_id::DRAIN_BEGAN);

        host.run(&format!("systemctl kill --kill-who=main --signal={signal} outlive.service"));

        never.await.unwrap().expect_err("the connection was cut");
        stop.finished().await;
    });
    assert_ended(&host, "1", "exit-code");
    assert_eq!(host.wait_for_journal(message_id::HAMMER).field("CAUSE"), signal);
    let cut = host.wait_for_journal(message_id::REQUESTS_CUT);
    assert!(cut.number("SETTLE_USEC") + cut.number("CLOSE_USEC") < 5_000_000, "{cut:?}");
}
