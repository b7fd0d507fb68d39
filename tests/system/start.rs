//! From nothing to serving.

use outlive::journal::message_id;

use crate::support::client::get;
use crate::support::container::{Container, SERVICE, Suite};
use crate::support::running::Text as _;
use crate::support::wait::{SOON, until};
use crate::{Live, host, on_every_systemd};

on_every_systemd!(
    the_first_connection_starts_it,
    without_a_configuration_it_welcomes,
    a_start_that_fails_says_why,
    systemctl_start_returns_once_it_is_ready
);

fn the_first_connection_starts_it(suite: Suite) {
    let host = host(suite);
    assert_eq!(host.property("outlive.socket", "SubState"), "listening");
    assert_eq!(host.property("outlive.service", "ActiveState"), "inactive");

    let live = host.in_network(async || Live::fresh().await).unwrap();

    assert_eq!(live.pid, host.main_pid());
    assert_eq!(live.generation, 1);
    host.wait_for_property("outlive.service", "SubState", "running");
    assert_eq!(host.property("outlive.socket", "SubState"), "running");
}

fn without_a_configuration_it_welcomes(suite: Suite) {
    let host = Container::boot(suite);
    host.install_outlive();
    host.run("rm -rf /etc/outlive");

    let answer = host.in_network(async || get(SERVICE, "/").await).unwrap();

    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("<html"), "{answer:?}");
}

fn a_start_that_fails_says_why(suite: Suite) {
    let host = host(suite);
    host.configure("[drain]\nwindwo = \"30s\"\n");

    let started = host.output("systemctl start outlive.service");

    assert!(!started.status.success(), "{}", started.text());
    let failed = host.wait_for_journal(message_id::START_FAILED);
    assert_eq!(failed.field("PRIORITY"), "3");
    assert!(failed.field("MESSAGE").contains("windwo"), "{failed:?}");
    // It is started again and again, and each start forgets what the last one said.
    until(SOON, "a status that says why", || {
        let status = host.property("outlive.service", "StatusText");
        if status.starts_with("Cannot start: ") && status.contains("outlive.toml") { Ok(()) } else { Err(status) }
    });
    until(SOON, "EINVAL", || match host.property("outlive.service", "StatusErrno").as_str() {
        "22" => Ok(()),
        other => Err(other.to_owned()),
    });
    until(SOON, "exit status 78", || match host.property("outlive.service", "ExecMainStatus").as_str() {
        "78" => Ok(()),
        other => Err(other.to_owned()),
    });
}

fn systemctl_start_returns_once_it_is_ready(suite: Suite) {
    let host = host(suite);

    host.run("systemctl start outlive.service");

    assert_eq!(host.property("outlive.service", "ActiveState"), "active");
    let ready = host.wait_for_journal(message_id::READY);
    let started = host
        .journal("_PID=1 UNIT=outlive.service JOB_TYPE=start JOB_RESULT=done")
        .pop()
        .expect("systemd says that it has started the service");
    let at = |entry: &crate::support::journal::Entry| entry.number("__MONOTONIC_TIMESTAMP");
    println!("ready to started: {} µs", at(&started).saturating_sub(at(&ready)));
    assert!(ready.field("MESSAGE").contains("127.0.0.1:8080"), "{ready:?}");
}
