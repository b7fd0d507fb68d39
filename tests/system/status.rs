//! What `systemctl status` shows.

use crate::support::client::{Connection, get};
use crate::support::container::{SERVICE, Suite};
use crate::{host, on_every_systemd, running};

on_every_systemd!(the_status_follows_what_goes_on);

fn the_status_follows_what_goes_on(suite: Suite) {
    let host = host(suite);
    host.in_network(async || {
        let mut idle = Connection::open(SERVICE).await.unwrap();
        idle.get("/hello").await.unwrap();
        let slow = tokio::spawn(get(SERVICE, "/slow"));
        running(1).await;
        let serving = "Serving 6 routes: 2 connections, 1 request";
        host.wait_for_status(serving, |status| status == serving).await;

        let stop = host.start("systemctl stop outlive.service");
        let draining =
            |status: &str| status.starts_with("Draining: 1 request left, ") && status.ends_with(" s of 27 s");
        host.wait_for_status("Draining: 1 request left, N s of 27 s", draining).await;

        assert_eq!(slow.await.unwrap().unwrap().text(), crate::SLOW);
        stop.finished().await;
    });
}
