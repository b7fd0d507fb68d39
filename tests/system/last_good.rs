//! A start with a broken configuration.

use outlive::entries;
use outlive::journal::message_id;

use crate::support::container::Suite;
use crate::support::rehearsal::nothing_is_lost;
use crate::support::wait::{SOON, until};
use crate::{HELLO, Live, host, on_every_systemd};

on_every_systemd!(a_typo_does_not_make_the_port_go_dead, strict_does);

const BROKEN: &str = "[drain]\nwindwo = \"30s\"\n";

fn a_typo_does_not_make_the_port_go_dead(suite: Suite) {
    let host = host(suite);
    host.in_network(async || Live::fresh().await).unwrap();
    until(SOON, "what is kept", || {
        if host.path("/var/lib/private/outlive/last-good-configuration.json").exists() {
            Ok(())
        } else {
            Err("nothing".to_owned())
        }
    });
    host.configure(BROKEN);

    let load = format!("{HELLO} --connections 8 --fresh 4 --idle 50 --half 10 --rounds 1 --every 10ms");
    nothing_is_lost(&host, &load, "systemctl restart outlive.service");

    let told = host.wait_for_journal(entries::message_id::LAST_GOOD_SERVED);
    assert_eq!(told.field("PRIORITY"), "3");
    assert!(told.field("MESSAGE").contains("unknown key `windwo`"), "{told:?}");
    let status = host.property("outlive.service", "StatusText");
    assert!(status.contains("last good configuration") && status.contains("outlive.toml:2:1"), "{status}");
    let report = host.run("outlive status");
    println!("{report}");
    assert!(report.contains("the last good one, of "), "{report}");
    let mode = host.run("stat --format=%a /var/lib/private/outlive/last-good-configuration.json");
    assert_eq!(mode, "600");
}

fn strict_does(suite: Suite) {
    let host = host(suite);
    host.in_network(async || Live::fresh().await).unwrap();
    host.run("systemctl stop outlive.service");
    host.configure(&format!("strict = true\n{BROKEN}"));
    assert!(!host.output("systemctl start outlive.service").status.success());
    let failed = host.wait_for_journal(message_id::START_FAILED);
    assert!(failed.field("MESSAGE").contains("windwo"), "{failed:?}");
}
