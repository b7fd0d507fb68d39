//! The port stays open, whatever becomes of the service.

use crate::support::client;
use crate::support::container::{Container, SERVICE, Suite};
use crate::support::rehearsal::{Rehearsal, Results};
use crate::{HELLO, Live, host, on_every_systemd};

on_every_systemd!(
    a_bad_configuration_leaves_the_port_open,
    a_program_that_crashes_leaves_the_port_open,
    a_process_that_is_killed_is_replaced,
    a_socket_that_is_restarted_often_listens
);

/// Longer than any of systemd's limits on activations and starts looks back.
const HAMMER_FOR: &str = "12s";

/// systemd begins to start a unit: SD_MESSAGE_UNIT_STARTING of sd-messages(3).
const UNIT_STARTING: &str = "7d4958e842da4a758f6c1cdc7b36dcc5";

/// More would be a burden.
const STARTS_A_SECOND_AT_MOST: f64 = 10.0;

/// Clients that connect one after the other, with so many others at their side, and leave when nobody answers.
const HAMMERING: &str = "--connections 0 --fresh 16 --fresh-every 200ms --idle 0 --half 0 --timeout 200ms";

/// Clients that wait, and some that are connected already: those must survive. None leaves a head half sent for so long,
/// since `head_timeout` would be over.
const PATIENT: &str = "--connections 8 --fresh 2 --fresh-every 500ms --idle 100 --half 0 --timeout 60s --all-survive";

/// A mistake, and no leave to serve the last configuration that was good.
const BAD: &str = "strict = true\n[drain]\nwindwo = \"30s\"\n";

fn a_bad_configuration_leaves_the_port_open(suite: Suite) {
    let host = host(suite);
    host.write("/etc/outlive/bad", BAD);
    hammer(
        &host,
        "cd /etc/outlive && mv outlive.toml good && mv bad outlive.toml",
        "cd /etc/outlive && mv good outlive.toml",
    );
}

fn a_program_that_crashes_leaves_the_port_open(suite: Suite) {
    let host = host(suite);
    host.write("/usr/bin/crash", "#!/bin/sh\nkill -ABRT $$\n");
    hammer(
        &host,
        "cd /usr/bin && chmod +x crash && mv outlive outlive.whole && mv crash outlive",
        "cd /usr/bin && mv outlive.whole outlive",
    );
}

/// Hammers on the port of a service that cannot start, mends it, and sees that all who wait are answered.
///
/// One rehearsal's clients are patient, and lose nothing. What it runs as its command is another one, whose command
/// breaks the service and whose clients leave after a while.
fn hammer(host: &Container, breaking: &str, mending: &str) {
    // A start that fails is what is wanted.
    host.write("/run/break", &format!("{breaking}\nsystemctl restart outlive.service || :\n"));
    host.write(
        "/run/outage",
        &format!(
            "outlive rehearse {HELLO} {HAMMERING} --rounds 1 --every {HAMMER_FOR} \\\n\
             --json /run/hammering -- sh -e /run/break || :\n\
             systemctl show --value --property=ActiveState --property=Result outlive.socket >/run/socket\n\
             {mending}\n"
        ),
    );
    let patient = format!("{HELLO} {PATIENT} --rounds 1 --every 1s");
    let results = Rehearsal::start(host, &patient, "sh -e /run/outage").finish();

    let hammering = Results::read(&host.run("cat /run/hammering"));
    assert_eq!(hammering.failed(), ["timeout"], "nobody is refused, nobody answers, and nobody hangs up");
    assert!(hammering.number("/failed") > 500.0, "{:#}", hammering.0);
    let mut socket: Vec<_> = host.run("cat /run/socket").lines().map(str::to_owned).collect();
    socket.sort();
    assert_eq!(socket, ["active", "success"]);
    let starts = host.journal(&format!("_PID=1 UNIT=outlive.service MESSAGE_ID={UNIT_STARTING}")).len();
    let pace = starts as f64 / (results.number("/rounds/0/command/took_ms") / 1000.0);
    println!("{pace:.1} starts a second");
    assert!((1.0..=STARTS_A_SECOND_AT_MOST).contains(&pace), "{pace:.1} starts a second");

    println!("nobody was answered for {} ms", results.number("/gap_ms"));
    assert!(results.number("/gap_ms") > 10_000.0, "nobody could have answered: {:#}", results.0);
    // Who waits is answered, those included that were connected when it broke.
    results.assert_all_well();
    host.wait_for_property("outlive.service", "SubState", "running");
    assert_eq!(host.property("outlive.socket", "SubState"), "running");
}

fn a_process_that_is_killed_is_replaced(suite: Suite) {
    let host = host(suite);
    let before = host.in_network(async || Live::fresh().await).unwrap();

    let load = format!("{HELLO} --connections 0 --fresh 8 --fresh-every 10ms --idle 0 --half 0 --rounds 5 --every 1s");
    let kill = "systemctl kill --kill-who=main --signal=SIGKILL outlive.service";
    let results = Rehearsal::start(&host, &load, kill).finish();

    println!("nobody was answered for {} ms", results.number("/gap_ms"));
    assert_eq!(results.number("/commands_failed"), 0.0);
    // What the process was at is lost with it. Nobody else is, and nobody waits for long.
    for class in results.failed() {
        assert!(["reset", "closed", "cut"].contains(&class), "{class}: {:#}", results.0);
    }
    let after = host.in_network(async || Live::fresh().await).unwrap();
    assert_ne!(after.pid, before.pid);
    assert_eq!(after.generation, before.generation + 5);
}

fn a_socket_that_is_restarted_often_listens(suite: Suite) {
    let host = host(suite);
    for _ in 0..10 {
        host.run("systemctl stop outlive.socket outlive.service && systemctl start outlive.socket outlive.service");
    }
    assert_eq!(host.in_network(async || client::get(SERVICE, "/hello").await).unwrap().text(), "hello\n");
}
