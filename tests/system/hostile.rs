//! A hundred drains that clients try to keep from ending: fifty under each systemd.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use outlive::journal::message_id;

use crate::support::container::{Container, Suite};
use crate::support::hostile::Hostiles;
use crate::support::unit;
use crate::{host, on_every_systemd};

on_every_systemd!(no_client_keeps_it_from_leaving_in_time);

/// Services at a time. A drain with such clients takes its whole window, so they drain side by side.
const SERVICES: u16 = 10;

/// How often each is drained.
const ROUNDS: usize = 5;

/// `TimeoutStopSec=` of each.
const STOP_WITHIN: &str = "4s";

/// Below it, one port a service.
const FIRST_PORT: u16 = 9000;

fn no_client_keeps_it_from_leaving_in_time(suite: Suite) {
    let host = host(suite);
    host.run("truncate --size=64M /srv/www/big");
    let names: Vec<String> = (0..SERVICES).map(|number| format!("outlive-{number}")).collect();
    for (name, port) in names.iter().zip(FIRST_PORT..) {
        install_as(&host, name, port);
    }
    host.run("systemctl daemon-reload");
    let all = |suffix: &str| {
        names.iter().fold(String::new(), |mut all, name| write!(all, " {name}{suffix}").map(|()| all).unwrap())
    };
    host.run(&format!("systemctl start{}", all(".socket")));

    for round in 0..ROUNDS {
        host.in_network(async || {
            let mut clients = Vec::new();
            for port in (FIRST_PORT..).take(names.len()) {
                clients.push(beleaguer(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await);
            }
            host.start(&format!("systemctl stop{}", all(".service"))).finished().await;
        });
        for name in &names {
            let unit = format!("{name}.service");
            // Cut in time, exit status 1; a SIGKILL would make it "timeout".
            assert_eq!(host.property(&unit, "Result"), "exit-code", "{unit}, round {round}");
            assert_eq!(host.property(&unit, "ExecMainStatus"), "1", "{unit}, round {round}");
        }
    }
    let cuts = host.journal(&format!("MESSAGE_ID={}", message_id::REQUESTS_CUT));
    assert_eq!(cuts.len(), names.len() * ROUNDS, "every drain said that it had to cut");
    for cut in &cuts {
        let routes = cut.field("CUT_ROUTES");
        assert!(routes.contains("/never") && routes.contains("/files"), "{routes}");
    }
}

/// The service once more, under another name and on another port.
fn install_as(host: &Container, name: &str, port: u16) {
    let rename = |text: String| {
        text.replace("=outlive.socket", &format!("={name}.socket")).replace("=outlive\n", &format!("={name}\n"))
    };
    let socket = rename(unit::text("outlive.socket")).replace(":8080\n", &format!(":{port}\n"));
    let service = rename(unit::text("outlive.service"))
        .replace("TimeoutStopSec=30s", &format!("TimeoutStopSec={STOP_WITHIN}"))
        .replace(&format!("User={name}"), "User=outlive");
    host.write(&format!("/etc/systemd/system/{name}.socket"), &socket);
    host.write(&format!("/etc/systemd/system/{name}.service"), &service);
}

/// One client of each kind that doesn't want to come to an end.
async fn beleaguer(server: SocketAddr) -> Hostiles {
    let mut clients = Hostiles::of(server);
    clients.never_reads("/files/big").await.unwrap();
    clients.drips_head().await.unwrap();
    clients.drips_body("/hello").await.unwrap();
    clients.waits("/never").await.unwrap();
    clients
}
