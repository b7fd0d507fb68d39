//! The life of the .deb on a host.

use crate::built::{current, newer, top};
use crate::document::commands;
use crate::installed::{
    EDIT, PACKAGES, REHEARSE, RUNS_WHAT_IS_INSTALLED, all_is_well, boot, deb, edit_configuration, rehearse,
};
use crate::on_every_systemd;
use crate::support::container::{Container, Suite};
use crate::support::running::Text as _;
use crate::support::unit::EXPOSURE_AT_MOST;

on_every_systemd!(from_the_first_install_to_the_purge);

const APT: &str = "DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --allow-downgrades";

/// What the issue of this package promises to bear.
const LOAD: &str = "--url http://127.0.0.1:8080/hello --connections 64 --fresh 16 --idle 1000 --half 50";

fn from_the_first_install_to_the_purge(suite: Suite) {
    let host = boot(suite);
    // All of it as README has it.
    let block = commands("README.md", "## Install");
    let (install, look) = block.split_at(block.find("systemctl status outlive\n").unwrap());
    let mut typed = host.run(&format!("cd /root\n{install}"));
    // Nobody types the last line before systemd has read that the service is ready: the first answer comes before.
    host.wait_for_property("outlive.service", "ActiveState", "active");
    typed += &host.run(look);
    println!("{typed}");
    is_installed(&host, &typed);
    edit_configuration(&host);
    it_goes_up_and_down_under_load(&host);
    a_changed_unit_is_restarted(&host);
    a_failed_reload_falls_back_to_a_restart(&host);
    policy_is_honoured(&host);
    what_is_stopped_or_disabled_stays_so(&host);
    it_is_removed_and_comes_back(&host);
    a_purge_leaves_nothing(&host);
}

fn is_installed(host: &Container, typed: &str) {
    assert!(typed.contains("Active: active (listening)") && typed.contains("Status: \"Serving"), "{typed}");
    assert_eq!(host.property("outlive.socket", "UnitFileState"), "enabled");
    assert_eq!(host.property("outlive.service", "UnitFileState"), "disabled", "its first connection starts it");
    all_is_well(host);
    let sockets = host.run("systemctl show --property=Listen outlive.socket");
    assert_eq!(sockets, "Listen=127.0.0.1:8080 (Stream)");

    let verified = host.output("systemd-analyze verify --man=no outlive.service outlive.socket");
    assert!(verified.status.success() && verified.text().is_empty(), "{}", verified.text());
    let exposure = host.run("systemd-analyze security --no-pager outlive.service | tail -n 1");
    let level = exposure.split("outlive.service: ").nth(1).and_then(|level| level.split(' ').next()?.parse().ok());
    assert!(level <= Some(EXPOSURE_AT_MOST) && level.is_some(), "{exposure}");

    let explained = host.run("journalctl --sync && journalctl -x --no-pager -u outlive.service");
    println!("{explained}");
    for part in ["Subject: The service accepts connections", "The process of generation 1 accepts", "man:outlive(1)"] {
        assert!(explained.contains(part), "{explained}");
    }
    let installed = "journalctl --update-catalog && journalctl --list-catalog | grep -c outlive";
    let entries = include_str!("../../packaging/usr/lib/systemd/catalog/outlive.catalog").matches("\n-- ").count();
    assert_eq!(host.run(&installed.replace("grep -c outlive", "grep -c 'outlive:'")), entries.to_string());
    host.run(&format!("outlive check && cp /usr/bin/outlive {REHEARSE}"));
    // A folder that they name.
    host.run(
        "mkdir -p /srv/www && for file in /usr/share/doc/outlive/examples/*.toml; do outlive check -c $file; done",
    );
}

/// Ten times, the two versions in turn.
fn it_goes_up_and_down_under_load(host: &Container) {
    let rounds = std::env::var("OUTLIVE_TEST_UPGRADES").unwrap_or_else(|_| "10".to_owned());
    let (current, newer) = (current(), newer());
    let swap = format!(
        "#!/bin/sh\nset -eu\n\
         case $(dpkg-query --show --showformat '${{Version}}' outlive) in\n\
         {}) other={} ;;\n*) other={} ;;\nesac\n\
         {APT} \"$other\"\n{RUNS_WHAT_IS_INSTALLED}\n\
         test -z \"$(systemctl --failed --plain --no-legend)\"\n",
        newer.version,
        deb(current),
        deb(newer),
    );
    host.write("/root/swap", &swap);
    let socket = host.property("outlive.socket", "ActiveEnterTimestampMonotonic");
    let results = rehearse(host, &format!("{LOAD} --rounds {rounds} --every 2s"), "sh /root/swap");
    println!("{}", results.command_output());
    assert_eq!(results.0["rounds"].as_array().unwrap().len().to_string(), rounds);
    assert_eq!(host.property("outlive.socket", "ActiveEnterTimestampMonotonic"), socket, "it has listened all along");
    let configuration = std::fs::read_to_string(host.path("/etc/outlive/outlive.toml")).unwrap();
    let shipped = std::fs::read_to_string(top().join("packaging/etc/outlive/outlive.toml")).unwrap();
    assert_eq!(configuration, format!("{shipped}{EDIT}"), "the administrator's edit is kept");
    all_is_well(host);
}

/// The unit of an older version, say: what an upgrade changes in it takes effect.
fn a_changed_unit_is_restarted(host: &Container) {
    let unit = "/usr/lib/systemd/system/outlive.service";
    host.run(&format!("sed -i 's/^Description=.*/Description=of old/' {unit} && systemctl daemon-reload"));
    let before = host.property("outlive.service", "ExecMainStartTimestampMonotonic");
    rehearse(host, &format!("{LOAD} --rounds 1 --every 4s"), "sh /root/swap");
    assert_ne!(host.property("outlive.service", "Description"), "of old");
    assert_ne!(host.property("outlive.service", "ExecMainStartTimestampMonotonic"), before, "systemd has started it");
    assert_eq!(host.property("outlive.service", "NeedDaemonReload"), "no");
    all_is_well(host);
}

fn a_failed_reload_falls_back_to_a_restart(host: &Container) {
    let drop_in = "/etc/outlive/outlive.toml.d/broken.toml";
    host.write(drop_in, "[drain]\nwinow = \"1s\"\n");
    let results = rehearse(host, &format!("{LOAD} --rounds 1 --every 4s"), "sh /root/swap");
    let text = results.command_output();
    println!("{text}");
    assert!(text.contains("unknown key `winow`") || text.contains("Job for outlive.service failed"), "{text}");
    // The last good configuration is served, by the new program.
    assert_eq!(host.run("curl --silent http://127.0.0.1:8080/hello"), "hello");
    host.run(&format!("rm {drop_in} && systemctl reload outlive.service"));
    all_is_well(host);
}

fn policy_is_honoured(host: &Container) {
    host.run("printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d");
    let before = host.main_pid();
    host.output("sh /root/swap");
    assert_eq!(host.main_pid(), before, "policy forbids to reload it");
    host.run("rm /usr/sbin/policy-rc.d && systemctl reload outlive.service");
    all_is_well(host);
}

fn what_is_stopped_or_disabled_stays_so(host: &Container) {
    let swap = "sh /root/swap || :";
    host.run(&format!("systemctl stop outlive.service && {swap}"));
    assert_eq!(host.property("outlive.service", "ActiveState"), "inactive", "its next connection starts it");
    host.run(&format!("systemctl disable --now outlive.socket && {swap}"));
    assert_eq!(host.property("outlive.socket", "ActiveState"), "inactive");
    assert_eq!(host.property("outlive.socket", "UnitFileState"), "disabled");
    host.run("systemctl enable --now outlive.socket && curl --silent http://127.0.0.1:8080/hello");
    all_is_well(host);
}

fn it_is_removed_and_comes_back(host: &Container) {
    let removed = host.run("apt-get remove --yes --quiet outlive");
    println!("{removed}");
    assert!(!host.output("curl --silent http://127.0.0.1:8080/").status.success(), "nobody listens");
    assert_eq!(host.run("systemctl --failed --plain --no-legend"), "");
    host.run(
        "test ! -e /usr/bin/outlive && test -d /var/lib/private/outlive && grep '^# An edit' /etc/outlive/outlive.toml",
    );
    host.run(&format!("{APT} {}", deb(current())));
    assert_eq!(
        host.run("curl --silent http://127.0.0.1:8080/hello"),
        "hello",
        "it is enabled and configured as before"
    );
    all_is_well(host);
}

fn a_purge_leaves_nothing(host: &Container) {
    // What administrators have done.
    host.edit("outlive.service", "[Service]\nTimeoutStopSec=20s\n");
    host.edit("outlive.socket", "[Socket]\nListenStream=127.0.0.1:8082\n");
    host.write("/etc/outlive/outlive.toml.d/own.toml", "workers = 1\n");
    host.run("systemctl enable outlive.service && systemctl restart outlive.socket");
    let purged = host.run("apt-get purge --yes --quiet outlive");
    println!("{purged}");
    assert_eq!(host.run("systemctl --failed --plain --no-legend"), "");
    assert_eq!(host.property("outlive.socket", "LoadState"), "not-found");
    let left = format!("find / -xdev -path {PACKAGES} -prune -o -path /proc -prune -o -name '*outlive*' -print");
    assert_eq!(host.run(&left), "");
    assert_eq!(host.run("find /run -name '*outlive*' -ls"), "");
    assert_eq!(host.run("grep outlive /etc/passwd /etc/group || :"), "");
    assert_eq!(host.run("journalctl --list-catalog | grep -c 'outlive:' || :"), "0");
}
