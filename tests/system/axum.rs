//! `examples/axum.rs` restarted and reloaded under the load of `outlive rehearse`, beside the same application on axum's
//! own server (`examples/axum_plain.rs`).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::on_every_systemd;
use crate::support::OUTLIVE;
use crate::support::container::{Container, Suite};
use crate::support::example::example;
use crate::support::running::Text as _;

on_every_systemd!(restarts_and_reloads_beside_plain_axum);

const LOAD: &str = "--connections 64 --fresh 16 --idle 1000 --every 700ms";

/// Clients who have sent half of a request's head when the command begins, and send the rest once it has ended. axum's
/// graceful shutdown has no deadline and waits for them, so that each restart would take until systemd kills it.
const HALF: [&str; 2] = ["--half 50", "--half 0"];

/// How often each of them is done. `OUTLIVE_TEST_RESTARTS=100` for the full length.
fn rounds() -> u64 {
    std::env::var("OUTLIVE_TEST_RESTARTS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(8)
}

/// Installs an example as a service on a socket that systemd holds.
fn install(host: &Container, name: &str, port: u16, service: &str) {
    let copy = |from: &std::path::Path, to: &str| {
        fs::copy(from, host.path(to)).unwrap();
        fs::set_permissions(host.path(to), fs::Permissions::from_mode(0o755)).unwrap();
    };
    copy(OUTLIVE.as_ref(), "/usr/bin/outlive");
    copy(&example(name), &format!("/usr/bin/{name}"));
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

/// What becomes of the clients while a command is run over and over.
fn rehearse(host: &Container, port: u16, half: &str, command: &str) -> Value {
    let rounds = rounds();
    let output = host.output(&format!(
        "outlive rehearse --url http://127.0.0.1:{port}/ {LOAD} {half} --rounds {rounds} --json - -- {command}"
    ));
    let results: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", output.text()));
    assert_eq!(results["commands_failed"], 0, "{results:#}");
    results
}

/// A line of the table that is shown.
fn row(what: &str, results: &Value) -> String {
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

    let restarts = rehearse(&host, 8080, HALF[0], "systemctl restart axum.service");
    let reloads = rehearse(&host, 8080, HALF[0], "systemctl reload axum.service");
    let plain = rehearse(&host, 8081, HALF[1], "systemctl restart axum_plain.service");

    println!("| | answers | failures | lost | of these kinds | connections that survived | longest gap, ms |");
    println!("|---|---:|---:|---:|---|---:|---:|");
    println!("{}", row("restarts of axum on outlive", &restarts));
    println!("{}", row("reloads of axum on outlive", &reloads));
    println!("{}", row("restarts of axum, listenfd, graceful shutdown", &plain));
    for results in [&restarts, &reloads] {
        assert_eq!(results["failed"], 0, "{results:#}");
        assert_eq!(results["closed_in_order"], 0, "{results:#}");
        assert!(results["kept"].as_u64() >= Some(1000 * rounds()), "{results:#}");
        assert_eq!(results["survived"], results["kept"], "{results:#}");
    }
    // It says what the comparison is worth: had these survived too, the load would have proven nothing.
    assert!(plain["failed"].as_u64() >= Some(1000 * rounds()), "{plain:#}");
    assert_eq!(plain["survived"], 0, "{plain:#}");
}
