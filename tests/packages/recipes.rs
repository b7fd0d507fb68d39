//! docs/install.md, command by command.

use std::net::{Ipv4Addr, SocketAddr};

use crate::built::{current, newer};
use crate::document::commands;
use crate::installed::{REHEARSE, all_is_well, boot, deb, edit_configuration, rehearse};
use crate::on_every_systemd;
use crate::support::client::{Answer, Failure, get};
use crate::support::container::{Container, Suite};

on_every_systemd!(every_recipe_works_and_outlasts_an_upgrade);

fn every_recipe_works_and_outlasts_an_upgrade(suite: Suite) {
    let host = boot(suite);
    host.run(&format!("dpkg --install {} && cp /usr/bin/outlive {REHEARSE}", deb(current())));
    edit_configuration(&host);
    host.run(&recipe("## What it is doing"));

    // Nobody new is there for the address that goes; who is connected to it goes on.
    follow(&host, "## Another address or port", &on_port(8080, "--fresh 0"));
    assert!(hello(&host, 8080).is_err());
    hello(&host, 8000).unwrap();

    follow(&host, "## Ports 80 and 443", &on_port(8000, "--fresh 0"));
    hello(&host, 80).unwrap();
    hello(&host, 443).unwrap();
    assert!(hello(&host, 8000).is_err());

    follow(&host, "## Several sockets", &on_port(80, "--fresh 4"));
    host.run("curl --silent --fail --unix-socket /run/outlive.sock http://x/hello");
    follow(&host, "## More time, more files, another limit", &on_port(443, "--fresh 4"));
    assert_eq!(host.property("outlive.service", "TimeoutStopUSec"), "2min");
    all_is_well(&host);
    systemctl_edit_works(&host);

    rehearse(&host, &on_port(443, "--fresh 4"), &format!("apt-get install --yes --quiet {}", deb(newer())));
    all_is_well(&host);
    let own = host.run("systemctl show --property=TimeoutStopUSec,LimitNOFILE,Wants outlive.service");
    for setting in ["TimeoutStopUSec=1min 30s", "LimitNOFILE=1048576", "outlive-local.socket"] {
        assert!(own.contains(setting), "{own}");
    }
    host.run(
        "curl --silent --fail http://127.0.0.1/hello && curl --silent --fail --unix-socket /run/outlive.sock http://x/",
    );
    as_a_user(&host);
}

/// With an editor that types what an administrator would.
fn systemctl_edit_works(host: &Container) {
    let editor = "#!/bin/sh\nfor file; do :; done\nprintf '[Service]\\nTimeoutStopSec=90s\\n' >\"$file\"\n";
    host.write("/root/editor", editor);
    host.run("chmod +x /root/editor");
    host.run(
        "SYSTEMD_EDITOR=/root/editor script --quiet --return --command 'systemctl edit outlive.service' /dev/null",
    );
    host.run("mv /etc/systemd/system/outlive.service.d/override.conf /etc/systemd/system/outlive.service.d/zz.conf");
    host.run("systemctl daemon-reload && systemctl restart outlive.service");
    assert_eq!(host.property("outlive.service", "TimeoutStopUSec"), "1min 30s");
}

fn as_a_user(host: &Container) {
    // As her first login would, or `loginctl enable-linger`.
    host.run("useradd --create-home --shell /bin/sh ada && systemctl start user@1000.service");
    let as_ada = |commands: &str| {
        host.write("/home/ada/commands", &format!("set -eu\n{commands}\n"));
        host.run("cd /home/ada && runuser -u ada -- env HOME=/home/ada XDG_RUNTIME_DIR=/run/user/1000 sh ./commands")
    };
    as_ada(&recipe("## As a user, without root"));
    let load = "--url http://127.0.0.1:8081/hello --connections 8 --fresh 4 --idle 50 --half 10 --rounds 2 --every 2s";
    for verb in ["restart", "reload"] {
        let command = format!("runuser -u ada -- env XDG_RUNTIME_DIR=/run/user/1000 systemctl --user {verb} outlive");
        rehearse(host, load, &command);
    }
    let journal = host.journal("_SYSTEMD_USER_UNIT=outlive.service");
    let drains: Vec<_> = journal.iter().filter_map(|entry| entry.get("WINDOW_USEC")).collect();
    assert!(drains.contains(&"27000000"), "TimeoutStopSec= of the user's unit: {drains:?}");
    assert_eq!(as_ada("systemctl --user --failed --plain --no-legend"), "");
}

fn recipe(heading: &str) -> String {
    commands("docs/install.md", heading)
}

/// Clients of a port.
fn on_port(port: u16, fresh: &str) -> String {
    format!(
        "--url http://127.0.0.1:{port}/hello --expect 'hello\n' --connections 16 {fresh} --idle 100 --half 10 --rounds 1 \
         --every 1s"
    )
}

/// Does what a recipe says, while clients use the service.
#[track_caller]
fn follow(host: &Container, heading: &str, load: &str) {
    host.write("/root/recipe", &recipe(heading));
    rehearse(host, load, "sh -eu /root/recipe");
}

/// Asks on a port, over a connection of its own.
fn hello(host: &Container, port: u16) -> Result<Answer, Failure> {
    host.in_network(async || get(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), "/hello").await)
}
