//! What `systemctl status` shows.

use crate::support::client::{Connection, get};
use crate::support::container::{Container, SERVICE, Suite};
use crate::support::wait::{SOON, until};
use crate::{host, on_every_systemd, running};

on_every_systemd!(the_status_follows_what_goes_on);

fn wait_for_status(host: &Container, matches: impl Fn(&str) -> bool, what: &str) -> String {
    until(SOON, what, || {
        let status = host.property("outlive.service", "StatusText");
        if matches(&status) { Ok(status) } else { Err(status) }
    })
}

fn the_status_follows_what_goes_on(suite: Suite) {
    let host = host(suite);
    host.in_network(async || {
        let mut idle = Connection::open(SERVICE).await.unwrap();
        idle.get("/hello").await.unwrap();
        let slow = tokio::spawn(get(SERVICE, "/slow"));
        running(1).await;
        let serving = "Serving 6 routes: 2 connections, 1 request";
        wait_for_status(&host, |status| status == serving, serving);

        let stop = host.start("systemctl stop outlive.service");
        let draining = wait_for_status(&host, |status| status.starts_with("Draining: 1 request left, "), "draining");
        assert!(draining.ends_with(" s of 27 s"), "{draining}");

        assert_eq!(slow.await.unwrap().unwrap().text(), crate::SLOW);
        stop.finished().await;
    });
}
