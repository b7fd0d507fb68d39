//! Where nobody keeps descriptors: whose fault that is, and what to do about it.

use crate::client::Client;
use crate::support::fake_systemd::FakeSystemd;
use crate::{CONFIG, end};

fn is_told(cgroup: &str, reason: &str) {
    let systemd = FakeSystemd::with_http();
    let mut service = systemd.service(CONFIG).in_unit(cgroup).script("busctl", "exit 1").start();
    let mut idle = Client::tcp(systemd.http());
    idle.get("/live?live");
    end(&mut service);
    service.wait_for_line(&format!("cannot be handed over to the next process and will be closed: {reason}"));
    idle.assert_closed();
}

#[test]
fn a_unit_keeps_none() {
    is_told("outlive.service", "systemd has not kept the vault: raise FileDescriptorStoreMax= of the unit");
}

/// A container's runtime takes notifications, say.
#[test]
fn there_is_no_unit() {
    is_told("session-1.scope", "what listens at NOTIFY_SOCKET keeps no descriptors, as systemd would for a unit");
}
