//! `examples/axum.rs` restarted and reloaded under the load of `outlive rehearse`, beside the same application on axum's
//! own server (`examples/axum_plain.rs`).

use crate::on_every_systemd;
use crate::support::OUTLIVE;
use crate::support::container::{Container, Suite};
use crate::support::example::example;
use crate::support::rehearsal::{Rehearsal, Results, nothing_is_lost, rounds};

on_every_systemd!(restarts_and_reloads_beside_plain_axum);

const LOAD: &str = "--connections 64 --fresh 16 --idle 1000 --every 700ms";

/// Clients who have sent half of a request's head when the command begins, and send the rest once it has ended. axum's
/// graceful shutdown has no deadline and waits for them, so that each restart would take until systemd kills it.
const HALF: [&str; 2] = ["--half 50", "--half 0"];

/// Installs an example as a service on a socket that systemd holds.
fn install(host: &Container, name: &str, port: u16, service: &str) {
    host.install(OUTLIVE.as_ref(), "/usr/bin/outlive");
    host.install(&example(name), &format!("/usr/bin/{name}"));
    host.write(
        &format!("/etc/systemd/system/{name}.socket"),
        &format!("[Socket]\nListenStream=127.0.0.1:{port}\nFileDescriptorName=http\nNoDelay=yes\n"),
    );
    host.write(
        &format!("/etc/systemd/system/{name}.service"),
        &format!(
            "[Unit]\nRequires={name}.socket\nAfter={name}.socket\nStartLimitIntervalSec=0\n\
             [Service]\nType=notify\nExecStart=/usr/bin/{name}\nLimitNOFILE=524288\nTimeoutStopSec=30s\n{service}"
        ),
    );
    host.run(&format!("systemctl daemon-reload && systemctl start {name}.socket {name}.service"));
}

/// What is rehearsed of an application on a port.
fn load(port: u16, half: &str) -> String {
    format!("--url http://127.0.0.1:{port}/ {LOAD} {half} --rounds {}", rounds(8))
}

/// A line of the table that is shown.
fn row(what: &str, Results(results): &Results) -> String {
    let failures = results["failures"].as_object().unwrap();
    let classes =
        failures.iter().filter(|(_, number)| **number != 0).map(|(class, number)| format!("{number} {class}"));
    format!(
        "| {} {what} | {} | {} | {} | {} | {} of {} | {:.0} |",
        results["rounds"].as_array().unwrap().len(),
        results["answers"],
        results["failed"],
        results["lost"],
        classes.collect::<Vec<_>>().join(", "),
        results["survived"],
        results["kept"],
        results["gap_ms"].as_f64().unwrap(),
    )
}

fn restarts_and_reloads_beside_plain_axum(suite: Suite) {
    let host = Container::boot_alone(suite);
    let handover = "FileDescriptorStoreMax=64\nRuntimeDirectory=axum\nRuntimeDirectoryPreserve=restart\n\
                    ExecReload=/usr/bin/outlive reload\n";
    install(&host, "axum", 8080, handover);
    install(&host, "axum_plain", 8081, "");

    let restarts = nothing_is_lost(&host, &load(8080, HALF[0]), "systemctl restart axum.service");
    let reloads = nothing_is_lost(&host, &load(8080, HALF[0]), "systemctl reload axum.service");
    let plain = Rehearsal::start(&host, &load(8081, HALF[1]), "systemctl restart axum_plain.service").finish();

    println!("| | answers | failures | lost | of these kinds | connections that survived | longest gap, ms |");
    println!("|---|---:|---:|---:|---|---:|---:|");
    println!("{}", row("restarts of axum on outlive", &restarts));
    println!("{}", row("reloads of axum on outlive", &reloads));
    println!("{}", row("restarts of axum, listenfd, graceful shutdown", &plain));
    // It says what the comparison is worth: had these survived too, the load would have proven nothing.
    assert_eq!(plain.number("/commands_failed"), 0.0, "{:#}", plain.0);
    assert!(plain.number("/failed") as u64 >= 1000 * rounds(8), "{:#}", plain.0);
    assert_eq!(plain.number("/survived"), 0.0, "{:#}", plain.0);
}
