//! The life of the .rpm, with rpm's own tools and a real systemd.
//!
//! The host is a Debian, with an rpm database of its own. This proves that rpm reads the package, runs its scripts in
//! their order with their arguments, that they call systemctl as they should, and that an upgrade loses nothing. It does
//! not prove what Fedora and RHEL do besides: file triggers of their systemd package, SELinux, dependencies on packages
//! (rpm is told not to look for them here), dnf.

use std::fs;

use crate::built::{current, newer};
use crate::installed::{REHEARSE, RUNS_WHAT_IS_INSTALLED, all_is_well, boot, edit_configuration, rehearse, rpm};
use crate::on_every_systemd;
use crate::support::container::{Container, Suite};

on_every_systemd!(from_the_first_install_to_the_erasure);

/// It knows nothing of what dpkg has installed.
const RPM: &str = "rpm --nodeps --define '_install_script_path /root/watched:/usr/sbin:/usr/bin:/sbin:/bin'";

/// What scripts call instead of systemctl: it notes its arguments.
const WATCHED: &str = "#!/bin/sh\nprintf '%s\\n' \"$*\" >>/root/calls\nexec /usr/bin/systemctl \"$@\"\n";

const LOAD: &str = "--url http://127.0.0.1:8080/hello --connections 32 --fresh 8 --idle 500 --half 20";

fn from_the_first_install_to_the_erasure(suite: Suite) {
    let host = boot(suite);
    host.write("/root/watched/systemctl", WATCHED);
    host.run("chmod +x /root/watched/systemctl && mkdir -p /var/lib/rpm");
    it_is_installed(&host);
    it_goes_up_and_down_under_load(&host);
    it_is_erased(&host);
    presets_are_honoured(&host);
}

fn it_is_installed(host: &Container) {
    host.run(&format!("{RPM} --install {}", rpm(current())));
    let calls = ["--no-reload preset outlive.socket", "daemon-reload", "--quiet is-enabled outlive.socket"];
    assert_eq!(called(host), [&calls[..], &["start outlive.socket"]].concat());
    assert_eq!(host.property("outlive.service", "ActiveState"), "inactive");
    assert_eq!(host.run("curl --silent --fail http://127.0.0.1:8080/healthz | wc -c | tr -d 0-9"), "");
    assert_eq!(host.run("getent passwd outlive | cut -d: -f1"), "outlive");
    host.run(&format!("journalctl --list-catalog | grep -q 'outlive:' && cp /usr/bin/outlive {REHEARSE}"));
    host.run("rpm --verify --nodeps outlive && outlive check");
    all_is_well(host);
}

fn it_goes_up_and_down_under_load(host: &Container) {
    edit_configuration(host);
    let swap = format!(
        "#!/bin/sh\nset -eu\n\
         case $(rpm --query --queryformat '%{{VERSION}}' outlive) in\n{}) other={} ;;\n*) other={} ;;\nesac\n\
         {RPM} --upgrade --oldpackage \"$other\"\n{RUNS_WHAT_IS_INSTALLED}\n\
         test -z \"$(systemctl --failed --plain --no-legend)\"\n",
        newer().version,
        rpm(current()),
        rpm(newer()),
    );
    host.write("/root/swap", &swap);
    let socket = host.property("outlive.socket", "ActiveEnterTimestampMonotonic");
    rehearse(host, &format!("{LOAD} --rounds 4 --every 2s"), "sh /root/swap");
    let reloaded = ["daemon-reload", "--quiet is-active outlive.service", "reload outlive.service"];
    assert_eq!(called(host), reloaded.repeat(4));
    assert_eq!(host.property("outlive.socket", "ActiveEnterTimestampMonotonic"), socket, "it has listened all along");

    let unit = "/usr/lib/systemd/system/outlive.service";
    host.run(&format!("sed -i 's/^Description=.*/Description=of old/' {unit} && systemctl daemon-reload"));
    rehearse(host, &format!("{LOAD} --rounds 1 --every 3s"), "sh /root/swap");
    assert_eq!(called(host), ["daemon-reload", "--quiet is-active outlive.service", "restart outlive.service"]);

    host.run("systemctl stop outlive.service && (sh /root/swap || :)");
    assert_eq!(called(host), ["daemon-reload", "--quiet is-active outlive.service"]);
    assert_eq!(host.property("outlive.service", "ActiveState"), "inactive", "its next connection starts it");
    assert_eq!(host.run("curl --silent http://127.0.0.1:8080/hello"), "hello", "the edited configuration is kept");
    all_is_well(host);
}

fn it_is_erased(host: &Container) {
    host.run(&format!("{RPM} --erase outlive"));
    let units = "outlive.socket outlive.service";
    let calls = [format!("stop {units}"), format!("--no-reload disable {units}"), "daemon-reload".to_owned()];
    assert_eq!(called(host), [&calls[..], &[format!("reset-failed {units}")]].concat());
    assert_eq!(host.run("systemctl --failed --plain --no-legend"), "");
    assert!(!host.output("curl --silent http://127.0.0.1:8080/").status.success(), "nobody listens");
    host.run("grep -q '^# An edit' /etc/outlive/outlive.toml.rpmsave && test -d /var/lib/private/outlive");
    host.run("test ! -e /etc/systemd/system/sockets.target.wants/outlive.socket && test ! -e /usr/bin/outlive");
}

/// A distribution that enables nothing unasked.
fn presets_are_honoured(host: &Container) {
    host.write("/etc/systemd/system-preset/99-default-disable.preset", "disable *\n");
    host.run(&format!("{RPM} --install {}", rpm(current())));
    assert_eq!(host.property("outlive.socket", "UnitFileState"), "disabled");
    assert_eq!(host.property("outlive.socket", "ActiveState"), "inactive");
    host.run("systemctl enable --now outlive.socket && curl --silent --fail http://127.0.0.1:8080/");
    all_is_well(host);
}

/// What the package's scripts have had systemctl do since this was last asked.
fn called(host: &Container) -> Vec<String> {
    let path = host.path("/root/calls");
    let calls = fs::read_to_string(&path).unwrap_or_default();
    let _ = fs::remove_file(&path);
    calls.lines().map(str::to_owned).collect()
}
