//! The port stays open, whatever becomes of the service.

use std::time::{Duration, Instant};

use crate::support::client::{self, Connection};
use crate::support::container::{Container, SERVICE, Suite};
use crate::{CONFIG, host, on_every_systemd};

on_every_systemd!(a_bad_configuration_leaves_the_port_open, a_program_that_crashes_leaves_the_port_open,);

/// Longer than any of systemd's limits on activations and starts looks back.
const HAMMER_FOR: Duration = Duration::from_secs(12);

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
        let starts: f64 = host.property("outlive.service", "NRestarts").parse().unwrap();
        println!("{:.1} starts a second", starts / began.elapsed().as_secs_f64());
        assert!(starts / began.elapsed().as_secs_f64() <= 10.0, "RestartSec= sets the pace");

        let waits = tokio::spawn(client::get(SERVICE, "/hello"));
        mend();
        let mended = Instant::now();
        assert_eq!(waits.await.unwrap().expect("who waited is answered").text(), "hello\n");
        println!("answered {} ms after it was mended", mended.elapsed().as_millis());
    });
    host.wait_for_property("outlive.service", "SubState", "running");
    assert_eq!(host.property("outlive.socket", "SubState"), "running");
}
