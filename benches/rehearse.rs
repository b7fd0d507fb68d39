//! Whether measuring distorts: the latencies that `outlive rehearse` sees beside those that wrk sees, at the same load
//! of about 20 000 requests a second, each on one thread, against one nginx worker.
//!
//!     cargo bench --bench rehearse
//!
//! Needs nginx and wrk. Prints a table; exits with 1 if the p99 is more than 0.2 ms above wrk's. The two take turns,
//! and the best turn of each is compared: what else the machine does can only add to a latency.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde_json::Value;

/// Pairs of runs.
const TURNS: usize = 16;

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
    let _nginx = Nginx::start(folder.path(), address);
    let turns: Vec<_> = (0..TURNS).map(|_| (wrk(&url), rehearse(&url, folder.path()))).collect();
    println!("| | requests/s | p50 | p99 |\n|---|---|---|---|");
    for (wrk, rehearse) in &turns {
        for (name, Figures { rate, p50, p99 }) in [("wrk", wrk), ("outlive rehearse", rehearse)] {
            println!("| {name} | {rate:.0} | {p50:.2} ms | {p99:.2} ms |");
        }
    }
    let best = |p99s: Vec<f64>| p99s.into_iter().fold(f64::INFINITY, f64::min);
    let of_wrk = best(turns.iter().map(|turn| turn.0.p99).collect());
    let of_rehearse = best(turns.iter().map(|turn| turn.1.p99).collect());
    let overhead = of_rehearse - of_wrk;
    println!(
        "\nBest p99: wrk {of_wrk:.2} ms, outlive rehearse {of_rehearse:.2} ms; more than {MOST} ms above is too much."
    );
    if overhead < MOST { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// nginx with one worker; stopped in the end.
struct Nginx {
    configuration: PathBuf,
    log: PathBuf,
}

impl Nginx {
    fn start(folder: &Path, address: SocketAddr) -> Self {
        let text = format!(
            "pid {}; worker_processes 1; events {{ worker_connections 1024; }}
            http {{
                access_log off; keepalive_requests 1000000000;
                server {{ listen {address}; location / {{ return 200 hello; }} }}
            }}",
            folder.join("pid").display()
        );
        let nginx = Self { configuration: folder.join("nginx.conf"), log: folder.join("error.log") };
        std::fs::write(&nginx.configuration, text).expect("a configuration for nginx");
        assert!(nginx.command().status().expect("nginx").success(), "nginx did not start");
        nginx
    }

    fn command(&self) -> Command {
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&self.configuration).arg("-e").arg(&self.log);
        command
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        _ = self.command().args(["-s", "stop"]).status();
    }
}

fn wrk(url: &str) -> Figures {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/think.lua");
    let mut command = Command::new("wrk");
    command.args(["-t1", "-c", CONNECTIONS, "-d1s", "--latency", "-s", script, url]);
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
    command.args(["--every", "1s", "--fresh", "0", "--idle", "0", "--half", "0", "--json"]).arg(&json);
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
