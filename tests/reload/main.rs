//! Reloads: a successor takes over while everything is served, or fails and changes nothing. Besides, what a start with
//! a broken configuration does, and what the service says of itself.
//!
//! Real processes, and a stand-in for systemd. The real one: `tests/system/reload.rs`.

#![allow(clippy::unwrap_used, reason = "a test may panic; Clippy only knows that of functions marked as tests")]

#[path = "../support/mod.rs"]
mod support;

mod control;
mod failed;
mod last_good;
mod linger;
mod taken_over;
mod versions;

use std::fs;
use std::process::{Command, Output};
use std::sync::Once;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use support::OUTLIVE;
use support::bytewise as client;
use support::fake_systemd::FakeSystemd;
use support::service::Service;
use support::wait::{SOON, until};

/// Routes to ask for. `/live` tells which process has answered.
const CONFIG: &str = r#"
[limits]
request_timeout = "2h"

[drain]
window = "5s"

[[route]]
path = "/live"
welcome = {}

[[route]]
path = "/hello"
respond = { body = "hello\n" }

[[route]]
path = "/slow"
respond = { body = "slow\n", delay = "1s" }

[[route]]
path = "/never"
respond = { body = "never\n", delay = "1h" }
"#;

/// Makes this process the one that adopts orphans, as the service manager is for a service.
fn be_service_manager() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap());
}

/// Starts a service whose program can be replaced.
#[track_caller]
fn start(systemd: &FakeSystemd) -> Service {
    be_service_manager();
    systemd.service(CONFIG).installed().start()
}

/// Runs a subcommand as in the service's unit.
#[track_caller]
fn outlive(systemd: &FakeSystemd, arguments: &[&str]) -> Output {
    let mut command = Command::new(OUTLIVE);
    command.args(arguments).env_clear().env("RUNTIME_DIRECTORY", systemd.path("run"));
    command.output().unwrap()
}

/// Reloads, and returns the process that has taken over.
#[track_caller]
fn reload(systemd: &FakeSystemd, service: &Service) -> Pid {
    let before = service.successions();
    let output = outlive(systemd, &["reload"]);
    assert!(output.status.success(), "{output:?}\n{}", service.story());
    service.wait_for_successor(before + 1)
}

/// What `outlive status --json` says.
#[track_caller]
fn status(systemd: &FakeSystemd) -> serde_json::Value {
    let output = outlive(systemd, &["status", "--json"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Waits for the end of a process, whoever's child it is.
#[track_caller]
fn wait_for_end(process: Pid) {
    wait_for_end_within(process, SOON);
}

#[track_caller]
fn wait_for_end_within(process: Pid, limit: Duration) {
    // One that nobody has waited for yet has ended too, and then its descriptor is readable.
    let Ok(descriptor) = pidfd_open(process, PidfdFlags::empty()) else { return };
    let mut ended = [PollFd::new(&descriptor, PollFlags::IN)];
    let limit = limit.try_into().unwrap();
    let events = rustix::io::retry_on_intr(|| poll(&mut ended, Some(&limit))).unwrap();
    assert!(events > 0, "process {process} goes on");
}

/// The processes that run the service's program or a script in its place, without those that have ended.
fn processes(systemd: &FakeSystemd) -> Vec<i32> {
    let folder = systemd.path("").display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(&folder) {
            found.push(pid);
        }
    }
    found
}

/// Waits until only these processes of the service's are left.
#[track_caller]
fn wait_for_only(systemd: &FakeSystemd, wanted: &[Pid]) {
    let wanted: Vec<_> = wanted.iter().map(|pid| pid.as_raw_nonzero().get()).collect();
    until(SOON, &format!("only {wanted:?}"), || {
        let now = processes(systemd);
        if now == wanted { Ok(()) } else { Err(format!("{now:?}")) }
    });
}

/// A variable of the environment that a process was started with.
#[track_caller]
fn environment(process: Pid, name: &str) -> Option<String> {
    let all = fs::read(format!("/proc/{process}/environ")).unwrap();
    let all = String::from_utf8_lossy(&all).into_owned();
    all.split('\0').find_map(|variable| Some(variable.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}

fn descriptors(process: Pid) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}
