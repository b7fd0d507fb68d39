//! Whether measuring distorts: the latencies that `outlive rehearse` sees beside those that wrk sees, at the same load
//! of about 20 000 requests a second, each on one thread, against one nginx worker.
//!
//!     cargo bench --bench rehearse
//!
//! Needs nginx and wrk. Prints a table; exits with 1 if the p99 is more than 0.2 ms above wrk's. The two take turns, each
//! is compared with its neighbour, and the median counts: what else the machine does meets both alike.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, ExitCode};

use serde_json::Value;

/// Pairs of runs.
const TURNS: usize = 5;

/// With think times of 0-20 ms and timers that tick in ms: about 20 000 requests a second.
const CONNECTIONS: &str = "230";

/// The overhead that is allowed, in ms.
const MOST: f64 = 0.2;

/// Latencies in ms.
#[derive(Clone, Copy, Debug)]
struct Figures {
    rate: f64,
    p50: f64,
    p99: f64,
}

fn main() -> ExitCode {
    let folder = tempfile::tempdir().expect("a folder for nginx");
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let url = format!("http://{address}/");
    let nginx = nginx(folder.path(), address);
    assert!(nginx(&[]).status().expect("nginx").success(), "nginx did not start");
    let turns: Vec<_> = (0..TURNS).map(|_| (wrk(&url), rehearse(&url, folder.path()))).collect();
    assert!(nginx(&["-s", "stop"]).status().expect("nginx").success());
    println!("| | requests/s | p50 | p99 |\n|---|---|---|---|");
    for (wrk, rehearse) in &turns {
        for (name, Figures { rate, p50, p99 }) in [("wrk", wrk), ("outlive rehearse", rehearse)] {
            println!("| {name} | {rate:.0} | {p50:.2} ms | {p99:.2} ms |");
        }
    }
    let overhead = median(turns.iter().map(|(wrk, rehearse)| rehearse.p99 - wrk.p99).collect());
    println!("\nOverhead at p99: {overhead:.2} ms, allowed are {MOST} ms.");
    if overhead < MOST { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// nginx with one worker, as a command that further arguments can be given to.
fn nginx(folder: &Path, address: SocketAddr) -> impl Fn(&[&str]) -> Command {
    let configuration = folder.join("nginx.conf");
    let log = folder.join("error.log");
    let text = format!(
        "pid {}; worker_processes 1; events {{ worker_connections 1024; }}
        http {{
            access_log off; keepalive_requests 1000000000;
            server {{ listen {address}; location / {{ return 200 hello; }} }}
        }}",
        folder.join("pid").display()
    );
    std::fs::write(&configuration, text).expect("a configuration for nginx");
    move |arguments| {
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&configuration).arg("-e").arg(&log).args(arguments);
        command
    }
}

fn wrk(url: &str) -> Figures {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/think.lua");
    let mut command = Command::new("wrk");
    command.args(["-t1", "-c", CONNECTIONS, "-d5s", "--latency", "-s", script, url]);
    let output = command.output().expect("wrk");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
        line.unwrap_or_else(|| panic!("wrk says nothing of {name}:\n{text}")).trim().to_owned()
    };
    let rate = value("Requests/sec:").parse().expect("a rate");
    Figures { rate, p50: millis(&value("50%")), p99: millis(&value("99%")) }
}

/// `537.00us` or `1.42ms`, in ms.
fn millis(text: &str) -> f64 {
    let unit = text.find(|c: char| c.is_ascii_alphabetic()).expect("a unit");
    let number: f64 = text[..unit].parse().expect("a number");
    match &text[unit..] {
        "us" => number / 1e3,
        "ms" => number,
        "s" => number * 1e3,
        other => panic!("wrk's unit {other} is not known"),
    }
}

fn rehearse(url: &str, folder: &Path) -> Figures {
    let json = folder.join("out.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_outlive"));
    command.args(["rehearse", "--url", url, "--connections", CONNECTIONS, "--post", "0", "--rounds", "1"]);
    command.args(["--every", "5s", "--fresh", "0", "--idle", "0", "--half", "0", "--json"]).arg(&json);
    let output = command.output().expect("outlive");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results: Value =
        serde_json::from_slice(&std::fs::read(&json).expect("results")).expect("results that can be read");
    let number = |pointer: &str| results.pointer(pointer).and_then(Value::as_f64).expect("a number");
    Figures {
        rate: number("/answers") / number("/seconds"),
        p50: number("/latency/p50_ms"),
        p99: number("/latency/p99_ms"),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
