//! Real servers from Debian's packages: what their restarts and reloads are known to do must show, and nothing else.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::rehearsal::{Outcome, Rehearsal};

/// The load: enough for every close to meet somebody.
const LOAD: &str = "--connections 32 --fresh 8 --idle 100 --half 10 --rounds 3 --every 700ms --expect hello";

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// nginx with a configuration of its own; stopped in the end.
struct Nginx {
    folder: TempDir,
    address: SocketAddr,
}

impl Nginx {
    /// Starts it, with further directives of its `http` block.
    fn start(directives: &str) -> Self {
        let nginx = Self { folder: tempfile::tempdir().unwrap(), address: free_address() };
        let (folder, address) = (nginx.folder.path().display(), nginx.address);
        let configuration = format!(
            "pid {folder}/pid; error_log {folder}/error.log; worker_processes 2;
            events {{ worker_connections 1024; }}
            http {{
                access_log off; keepalive_requests 1000000; {directives}
                server {{ listen {address} backlog=4096; location / {{ return 200 hello; }} }}
            }}"
        );
        std::fs::write(nginx.path("nginx.conf"), configuration).unwrap();
        assert!(nginx.command().status().expect("nginx is needed: apt-get install nginx").success());
        nginx
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn command(&self) -> Command {
        let mut command = Command::new("nginx");
        command.args(["-c", &self.path("nginx.conf"), "-e", &self.path("error.log")]);
        command
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        _ = self.command().args(["-s", "stop"]).status();
        let pid = self.path("pid");
        wait_until("nginx ends", || !Path::new(&pid).exists());
    }
}

fn class(outcome: &Outcome, class: &str) -> u64 {
    outcome.failures().get(class).copied().unwrap_or_default()
}

#[test]
fn nginx_stopped_and_started_refuses_connections() {
    // So long it waits for the rest of half a head, with its port closed: long enough for every round to meet that.
    let nginx = Nginx::start("client_header_timeout 1500ms;");
    // What `systemctl restart nginx` does, by Debian's unit: a stop that waits for the end, then a start.
    let [configuration, log, pid] = ["nginx.conf", "error.log", "pid"].map(|name| nginx.path(name));
    let nginx_command = format!("nginx -c {configuration} -e {log}");
    let script = format!("{nginx_command} -s quit; while [ -e {pid} ]; do sleep 0.01; done; {nginx_command}");
    let outcome = Rehearsal::of(nginx.address).with(LOAD).command(&["sh", "-c", &script]).run();
    assert_eq!((outcome.status, outcome.number("/commands_failed")), (1, 0.0), "{}", outcome.summary);
    for round in 0..3 {
        assert!(outcome.number(&format!("/rounds/{round}/failures/refused")) >= 100.0, "{}", outcome.progress);
    }
    assert_eq!(outcome.number("/clients/idle/failures/stale"), 300.0, "{}", outcome.summary);
    assert_eq!(class(&outcome, "own-limit"), 0);
}

#[test]
fn nginx_reloaded_closes_idle_connections_and_refuses_none() {
    let nginx = Nginx::start("");
    let [configuration, log] = ["nginx.conf", "error.log"].map(|name| nginx.path(name));
    let command = ["nginx", "-c", &configuration, "-e", &log, "-s", "reload"];
    let outcome = Rehearsal::of(nginx.address).with(LOAD).command(&command).run();
    assert_eq!((outcome.status, outcome.number("/commands_failed")), (1, 0.0), "{}", outcome.summary);
    let failures = outcome.failures();
    assert!(failures.keys().all(|class| class == "stale" || class == "race"), "{failures:?}");
    assert_eq!(outcome.number("/clients/fresh/failed"), 0.0, "{}", outcome.summary);
    assert_eq!(outcome.number("/clients/idle/failures/stale"), 300.0, "{}", outcome.summary);
    // The busy ones are mostly found between two requests.
    assert!(outcome.number("/clients/busy/failures/stale") >= 48.0, "{}", outcome.summary);
}

/// haproxy with a master process, which SIGUSR2 reloads; its whole process group is ended in the end.
struct Haproxy {
    folder: TempDir,
    address: SocketAddr,
    master: Child,
}

impl Haproxy {
    fn start(option: &str) -> Self {
        let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
        let socket = folder.path().join("socket");
        let configuration = format!(
            "global
                stats socket {} expose-fd listeners
            defaults
                mode http
                timeout client 60s
                timeout http-request 60s
                timeout connect 5s
                timeout server 60s
                {option}
            frontend all
                bind {address}
                http-request return status 200 content-type text/plain string hello\n",
            socket.display()
        );
        let path = folder.path().join("haproxy.cfg");
        std::fs::write(&path, configuration).unwrap();
        let mut command = Command::new("haproxy");
        command.args(["-W", "-q", "-f"]).arg(&path).process_group(0);
        let master = command.spawn().expect("haproxy is needed: apt-get install haproxy");
        wait_until("haproxy listens", || TcpStream::connect(address).is_ok());
        Self { folder, address, master }
    }

    fn rehearse(&self) -> Outcome {
        let reload = format!("kill -USR2 {}", self.master.id());
        Rehearsal::of(self.address).with(LOAD).command(&["sh", "-c", &reload]).run()
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        // Workers that still wait for their last clients are in the group too.
        _ = kill_process(Pid::from_child(&self.master), Signal::TERM);
        _ = kill_process_group(Pid::from_child(&self.master), Signal::KILL);
        _ = self.master.wait();
        assert!(self.folder.path().exists());
    }
}

#[test]
fn haproxy_reloaded_closes_idle_connections_and_refuses_none() {
    let outcome = Haproxy::start("").rehearse();
    assert_eq!(outcome.number("/commands_failed"), 0.0);
    let failures = outcome.failures();
    assert!(failures.keys().all(|class| class == "stale" || class == "race"), "{failures:?}");
    assert_eq!(outcome.number("/clients/fresh/failed"), 0.0, "{}", outcome.summary);
    assert_eq!(outcome.number("/clients/idle/failures/stale"), 300.0, "{}", outcome.summary);
}

#[test]
fn haproxy_that_announces_its_closes_fails_nobody() {
    let outcome = Haproxy::start("option idle-close-on-response").rehearse();
    outcome.assert_failures(&[]);
    assert_eq!(outcome.number("/survived"), 0.0);
    assert!(outcome.number("/closed_in_order") >= 3.0 * 132.0, "{}", outcome.summary);
}
