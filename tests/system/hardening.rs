//! The sandbox: what the unit files say, and whether it is there.

use crate::support::container::Suite;
use crate::support::running::Text as _;
use crate::support::unit::EXPOSURE_AT_MOST;
use crate::{Live, host, on_every_systemd};

on_every_systemd!(systemd_has_nothing_to_say_against_the_units, the_sandbox_is_active);

fn systemd_has_nothing_to_say_against_the_units(suite: Suite) {
    let host = host(suite);
    let units = "outlive.service outlive.socket";
    // Man pages can't be looked up: there is no man in the container.
    let verified = host.output(&format!("systemd-analyze verify --man=no {units}"));
    assert!(verified.status.success() && verified.text().is_empty(), "{}", verified.text());

    let report = host.run("systemd-analyze security --no-pager outlive.service");
    let level = report.lines().last().and_then(|line| line.split("outlive.service: ").nth(1));
    let level: f64 = level.and_then(|level| level.split(' ').next()?.parse().ok()).expect("an overall level");
    println!("exposure: {level}");
    assert!(level <= EXPOSURE_AT_MOST, "{report}");
}

fn the_sandbox_is_active(suite: Suite) {
    let host = host(suite);
    let live = host.in_network(async || Live::fresh().await).unwrap();

    let status = host.run(&format!("cat /proc/{}/status", live.pid));
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        line.unwrap_or_else(|| panic!("no {name} in {status}")).to_owned()
    };
    assert_eq!(field("NoNewPrivs"), "1");
    assert_eq!(field("Seccomp"), "2", "a filter is active");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("Uid").split('\t').next(), Some(host.run("id -u outlive").as_str()));

    for (property, value) in [
        ("DynamicUser", "yes"),
        ("PrivateUsers", "yes"),
        ("PrivateDevices", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("ProtectProc", "invisible"),
        ("MemoryDenyWriteExecute", "yes"),
        ("RestrictNamespaces", "yes"),
        ("WatchdogUSec", "30s"),
        ("Restart", "always"),
    ] {
        assert_eq!(host.property("outlive.service", property), value, "{property}");
    }

    // Nobody, root included, writes where the service may not.
    let write = |path: &str| host.output(&format!("nsenter --target {} --mount -- touch {path}/x", live.pid));
    for path in ["/usr", "/etc/outlive", "/srv/www"] {
        let tried = write(path);
        assert!(tried.text().contains("Read-only file system"), "{path}: {}", tried.text());
    }
    for path in ["/run/outlive", "/var/lib/outlive", "/tmp"] {
        let tried = write(path);
        assert!(tried.status.success(), "{path}: {}", tried.text());
    }
    assert!(!host.path("/tmp/x").exists(), "it has a /tmp of its own");
}
