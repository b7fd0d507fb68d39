//! The latencies that `outlive rehearse` sees beside those that wrk sees: at the same load of about 20 000 requests a
//! second, each on one thread, against one nginx worker. The clients have one core, nginx has another.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// With think times of 0-20 ms and timers that tick in ms: about 20 000 requests a second.
const CONNECTIONS: &str = "230";

/// What is allowed between the best p99 of each, in ms.
pub const MOST: f64 = 0.2;

/// Latencies in ms.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Requests a second.
    pub rate: f64,
    pub p50: f64,
    pub p99: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, p50, p99 } = self;
        write!(f, "{rate:.0} | {p50:.2} ms | {p99:.2} ms")
    }
}

impl Figures {
    /// The best p99 of several turns: what else the machine does can only add to a latency.
    pub fn best<'turns>(turns: impl Iterator<Item = &'turns Self>) -> f64 {
        turns.map(|turn| turn.p99).fold(f64::INFINITY, f64::min)
    }
}

/// nginx with one worker, for wrk and `program` to take turns at; stopped in the end.
pub struct Nginx {
    folder: TempDir,
    url: String,
    program: OsString,
}

impl Nginx {
    pub fn start(program: impl Into<OsString>) -> Self {
        let folder = tempfile::tempdir().expect("a folder for nginx");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address: SocketAddr = listener.local_addr().expect("its address");
        drop(listener);
        let path = folder.path().display();
        let text = format!(
            "pid {path}/pid; worker_processes 1; events {{ worker_connections 1024; }}
            http {{
                access_log off; keepalive_requests 1000000000;
                client_body_temp_path {path}/b; proxy_temp_path {path}/p; fastcgi_temp_path {path}/f;
                uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;
                server {{ listen {address}; location / {{ return 200 hello; }} }}
            }}"
        );
        std::fs::write(folder.path().join("nginx.conf"), text).expect("a configuration for nginx");
        let nginx = Self { folder, url: format!("http://{address}/"), program: program.into() };
        assert!(nginx.command().status().expect("taskset, of util-linux").success(), "nginx did not start");
        nginx
    }

    fn command(&self) -> Command {
        let mut command = on_core("0", "nginx");
        command.arg("-c").arg(self.path("nginx.conf")).arg("-e").arg(self.path("error.log"));
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A second of wrk.
    pub fn wrk(&self) -> Figures {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/think.lua");
        let mut command = on_core("1", "wrk");
        command.args(["-t1", "-c", CONNECTIONS, "-d1s", "--latency", "-s"]).arg(script).arg(&self.url);
        let output = command.output().expect("taskset, of util-linux");
        assert!(output.status.success(), "wrk is needed: apt-get install wrk");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
            line.unwrap_or_else(|| panic!("wrk says nothing of {name}:\n{text}")).trim().to_owned()
        };
        let rate = value("Requests/sec:").parse().expect("a rate");
        Figures { rate, p50: millis(&value("50%")), p99: millis(&value("99%")) }
    }

    /// As long a rehearsal.
    pub fn rehearse(&self) -> Figures {
        let json = self.path("out.json");
        let mut command = on_core("1", &self.program);
        command.args(["rehearse", "--url", &self.url, "--connections", CONNECTIONS, "--post", "0", "--rounds", "1"]);
        command.args(["--every", "1s", "--fresh", "0", "--idle", "0", "--half", "0", "--json"]).arg(&json);
        let output = command.output().expect("taskset, of util-linux");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = std::fs::read(&json).expect("results");
        let results: Value = serde_json::from_slice(&text).expect("results that can be read");
        let number = |pointer: &str| results.pointer(pointer).and_then(Value::as_f64).expect("a number");
        Figures {
            rate: number("/answers") / number("/seconds"),
            p50: number("/latency/p50_ms"),
            p99: number("/latency/p99_ms"),
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        _ = self.command().args(["-s", "stop"]).status();
    }
}

fn on_core(core: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", core]).arg(program);
    command
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
