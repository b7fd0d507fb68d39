//! The port stays open, whatever becomes of the service.

use std::time::{Duration, Instant};

use crate::support::client::{self, Connection};
use crate::support::container::{Container, SERVICE, Suite};
use crate::{CONFIG, Live, host, on_every_systemd};

on_every_systemd!(
    a_bad_configuration_leaves_the_port_open,
    a_program_that_crashes_leaves_the_port_open,
    a_process_that_is_killed_is_replaced,
    a_socket_that_is_restarted_often_listens
);

/// Longer than any of systemd's limits on activations and starts looks back.
const HAMMER_FOR: Duration = Duration::from_secs(12);

/// systemd begins to start a unit: SD_MESSAGE_UNIT_STARTING of sd-messages(3).
const UNIT_STARTING: &str = "7d4958e842da4a758f6c1cdc7b36dcc5";

/// More would be a burden.
const STARTS_A_SECOND_AT_MOST: f64 = 10.0;

/// Clients that connect one after the other, each with so many others at its side.
const CLIENTS: usize = 16;

/// How long a client waits before it leaves and another one comes.
const CLIENT_WAITS: Duration = Duration::from_millis(200);

fn a_bad_configuration_leaves_the_port_open(suite: Suite) {
    let host = host(suite);
    host.configure("this is no TOML\n");
    hammer(&host, || host.configure(CONFIG));
}

fn a_program_that_crashes_leaves_the_port_open(suite: Suite) {
    let host = host(suite);
    host.run("mv /usr/bin/outlive /usr/bin/outlive.whole");
    host.run("printf '#!/bin/sh\\nkill -ABRT $$\\n' >/usr/bin/outlive && chmod +x /usr/bin/outlive");
    hammer(&host, || drop(host.run("mv /usr/bin/outlive.whole /usr/bin/outlive")));
}

/// Hammers on the port of a service that cannot start, mends it meanwhile, and sees that all who wait are answered.
fn hammer(host: &Container, mend: impl FnOnce() + Send) {
    host.in_network(async || {
        let began = Instant::now();
        let mut comers = tokio::task::JoinSet::new();
        for _ in 0..CLIENTS {
            comers.spawn(async move {
                while began.elapsed() < HAMMER_FOR {
                    let mut client = Connection::open(SERVICE).await.expect("nobody is refused");
                    let answer = tokio::time::timeout(CLIENT_WAITS, client.get("/hello")).await;
                    assert!(answer.is_err(), "nobody answers, and nobody hangs up: {answer:?}");
                }
            });
        }
        while let Some(done) = comers.join_next().await {
            done.unwrap();
        }
        assert_eq!(host.property("outlive.socket", "ActiveState"), "active");
        assert_eq!(host.property("outlive.socket", "Result"), "success");
        let starts = host.journal(&format!("_PID=1 UNIT=outlive.service MESSAGE_ID={UNIT_STARTING}")).len();
        let pace = starts as f64 / began.elapsed().as_secs_f64();
        println!("{pace:.1} starts a second");
        assert!((1.0..=STARTS_A_SECOND_AT_MOST).contains(&pace), "{pace:.1} starts a second");

        let waits = tokio::spawn(client::get(SERVICE, "/hello"));
        mend();
        let mended = Instant::now();
        assert_eq!(waits.await.unwrap().expect("who waited is answered").text(), "hello\n");
        println!("answered {} ms after it was mended", mended.elapsed().as_millis());
    });
    host.wait_for_property("outlive.service", "SubState", "running");
    assert_eq!(host.property("outlive.socket", "SubState"), "running");
}

fn a_process_that_is_killed_is_replaced(suite: Suite) {
    let host = host(suite);
    let before = host.in_network(async || Live::fresh().await).unwrap();

    host.run("systemctl kill --kill-who=main --signal=SIGKILL outlive.service");
    let killed = Instant::now();
    // systemd's entry, so that no connection gets to the process that is about to die.
    let mut journal = host.follow_journal("_PID=1 UNIT=outlive.service");
    journal.wait_for("the end of the process", |entry| entry.get("EXIT_STATUS") == Some("9"));
    let after = host.in_network(async || Live::fresh().await).unwrap();

    println!("answered {} ms after SIGKILL", killed.elapsed().as_millis());
    assert_ne!(after.pid, before.pid);
    assert_eq!(after.generation, before.generation + 1);
}

fn a_socket_that_is_restarted_often_listens(suite: Suite) {
    let host = host(suite);
    for _ in 0..10 {
        host.run("systemctl stop outlive.socket outlive.service && systemctl start outlive.socket outlive.service");
    }
    assert_eq!(host.in_network(async || client::get(SERVICE, "/hello").await).unwrap().text(), "hello\n");
}
