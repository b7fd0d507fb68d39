//! docs/install.md, command by command.

use std::net::{Ipv4Addr, SocketAddr};

use crate::built::{current, newer};
use crate::document::commands;
use crate::installed::{REHEARSE, all_is_well, boot, deb, edit_configuration, rehearse};
use crate::on_every_systemd;
use crate::support::client::Connection;
use crate::support::container::{Container, Suite};

on_every_systemd!(every_recipe_works_and_outlasts_an_upgrade);

fn every_recipe_works_and_outlasts_an_upgrade(suite: Suite) {
    let host = boot(suite);
    host.run(&format!("dpkg --install {} && cp /usr/bin/outlive {REHEARSE}", deb(current())));
    edit_configuration(&host);
    host.run(&recipe("## What it is doing"));

    host.in_network(async || {
        let mut client = Connection::open(local(8080)).await.unwrap();
        ask(&mut client).await;
        run(&host, "## Another address or port").await;
        // It goes on, although the address that it was made to is gone.
        ask(&mut client).await;
        assert!(Connection::open(local(8080)).await.is_err());
        ask(&mut Connection::open(local(8000)).await.unwrap()).await;

        run(&host, "## Ports 80 and 443").await;
        ask(&mut Connection::open(local(80)).await.unwrap()).await;
        ask(&mut Connection::open(local(443)).await.unwrap()).await;
        assert!(Connection::open(local(8000)).await.is_err());

        run(&host, "## Several sockets").await;
        host.start("curl --silent --fail --unix-socket /run/outlive.sock http://x/hello").finished().await;
        run(&host, "## More time, more files, another limit").await;
        ask(&mut client).await;
    });
    assert_eq!(host.property("outlive.service", "TimeoutStopUSec"), "2min");
    all_is_well(&host);
    systemctl_edit_works(&host);

    let load = "--url http://127.0.0.1:443/hello --connections 16 --fresh 4 --idle 100 --half 10 --rounds 1 --every 3s";
    rehearse(&host, load, &format!("apt-get install --yes --quiet {}", deb(newer())));
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

/// Runs a recipe while the clients of this thread go on.
async fn run(host: &Container, heading: &str) {
    host.start(&recipe(heading)).finished().await;
}

async fn ask(client: &mut Connection) {
    let answer = client.get("/hello").await.unwrap();
    assert_eq!(answer.text(), "hello\n");
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
