//! An upgrade and a downgrade between two builds that don't read each other's formats, over a restart. Over a reload:
//! `tests/reload/versions.rs`.

use std::path::Path;

use crate::client::Client;
use crate::support::OUTLIVE;
use crate::support::fake_systemd::FakeSystemd;
use crate::support::other_build::other_build;
use crate::support::service::Service;
use crate::{CONFIG, adopted, end, systemd};

#[track_caller]
fn start(systemd: &FakeSystemd, program: &Path) -> Service {
    let launch = systemd.service(CONFIG).installed();
    systemd.install(program);
    launch.start()
}

#[test]
fn connections_are_closed_and_counted() {
    let this = Path::new(OUTLIVE);
    for (old, new) in [(this, other_build()), (other_build(), this)] {
        let systemd = systemd();
        let mut first = start(&systemd, old);
        let mut clients: Vec<_> = (0..5).map(|_| Client::tcp(systemd.http())).collect();
        clients.iter_mut().for_each(|client| drop(client.get("/live?live")));
        end(&mut first);
        first.wait_for_line("5 connections handed over");

        let second = start(&systemd, new);
        let said = adopted(&second);
        assert!(
            said.contains("Adopted 0 of 5") && said.contains("5 in a format that this version can't read"),
            "{said}"
        );
        clients.iter_mut().for_each(Client::assert_closed);
        assert_eq!(Client::tcp(systemd.http()).get("/live?live").generation(), 2);
        second.wait_until("the store to be empty", |_| systemd.store.names().is_empty().then_some(()));
    }
}
