//! An upgrade and a downgrade between two builds that don't read each other's formats, over a reload. Over a restart:
//! `tests/handover/versions.rs`.

use std::path::Path;

use crate::client::Client;
use crate::support::OUTLIVE;
use crate::support::fake_systemd::FakeSystemd;
use crate::support::other_build::{VERSION, other_build};
use crate::{CONFIG, be_service_manager, reload, wait_for_end};

/// The old process knows it before anything has left, and ends its connections in good order.
#[test]
fn what_runs_is_finished_and_the_rest_is_closed() {
    let this = Path::new(OUTLIVE);
    for (old, new) in [(this, other_build()), (other_build(), this)] {
        let systemd = FakeSystemd::with_http();
        be_service_manager();
        let launch = systemd.service(CONFIG).installed();
        systemd.install(old);
        let service = launch.start();
        let mut idle: Vec<_> = (0..5).map(|_| Client::tcp(systemd.http())).collect();
        idle.iter_mut().for_each(|client| drop(client.get("/hello")));
        let mut running = Client::asking(systemd.http(), "/slow");
        Client::tcp(systemd.http()).get("/hello");

        systemd.install(new);
        reload(&systemd, &service);

        assert_eq!(Client::tcp(systemd.http()).get("/live?live").generation(), 2);
        idle.iter_mut().for_each(Client::assert_closed);
        let answer = running.answer();
        assert!(answer.body == "slow\n" && answer.is_last(), "{answer:?}");
        wait_for_end(service.pid());
        let said = service.story();
        let [theirs, ours] = if new == this { [1, VERSION] } else { [VERSION, 1] };
        let why = format!("the successor reads records of version {theirs}, and this process writes version {ours}");
        assert!(said.contains(&why) && said.contains("none cut") && said.contains("6 connections closed"), "{said}");
    }
}
