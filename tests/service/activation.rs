//! The sockets that systemd passes, and what becomes of the environment that they come with.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tokio::net::UnixStream;

use crate::CONFIG;
use crate::support::client::{self, Connection};
use crate::support::fake_systemd::FakeSystemd;
use crate::support::wait::{SOON, until};

#[tokio::test]
async fn it_serves_on_every_socket_that_it_is_passed() {
    let systemd = FakeSystemd::with_http().tcp("http", "127.0.0.1:0").tcp("six", "[::1]:0").unix("local");
    let service = systemd.start(CONFIG);
    let mut said = Vec::new();
    for (address, name) in systemd.addresses().zip(["http", "http", "six"]) {
        assert_eq!(client::get(address, "/hello").await.unwrap().text(), "hello\n", "{address}");
        said.push(format!("{address} ({name})"));
    }
    let local = UnixStream::connect(systemd.path("local")).await.unwrap();
    assert_eq!(Connection::over(local).await.unwrap().get("/hello").await.unwrap().text(), "hello\n");
    said.push(format!("unix:{} (local)", systemd.path("local").display()));
    service.wait_for_line(&format!(" INFO Serving 2 routes on {} with ", said.join(", ")));
}

/// CONFIG has no `[listen]` section at all; this one has one, with a `bind` that would fail.
#[tokio::test]
async fn a_socket_that_was_passed_is_not_bound_again() {
    let systemd = FakeSystemd::with_http();
    let config = format!("[listen.http]\nbind = \"{}\"\n{CONFIG}", systemd.http());
    let _service = systemd.start(&config);
    assert_eq!(client::get(systemd.http(), "/hello").await.unwrap().text(), "hello\n");
}

#[tokio::test]
async fn without_names_sockets_are_called_unknown() {
    let systemd = FakeSystemd::with_http();
    let service = systemd.service(CONFIG).through(&["env", "--unset=LISTEN_FDNAMES"]).start();
    service.wait_for_line(&format!(" on {} (unknown) with ", systemd.http()));
    assert_eq!(client::get(systemd.http(), "/hello").await.unwrap().text(), "hello\n");
}

#[tokio::test]
async fn sockets_that_were_passed_to_somebody_else_are_left_alone() {
    let systemd = FakeSystemd::with_http();
    let config = format!("[listen.http]\nbind = \"127.0.0.1:0\"\n{CONFIG}");
    // Even if nothing about them makes sense.
    for theirs in [["LISTEN_PID=1", "LISTEN_FDS=1"], ["LISTEN_PID=1", "LISTEN_FDS=many"]] {
        let service = systemd.service(&config).through(&["env", theirs[0], theirs[1]]).start();
        let own = service.address("http");
        assert_ne!(own, systemd.http());
        assert_eq!(client::get(own, "/hello").await.unwrap().text(), "hello\n");
    }
}

#[tokio::test]
async fn the_next_process_answers_who_waits_in_the_backlog() {
    let systemd = FakeSystemd::with_http();
    let mut first = systemd.start(CONFIG);
    first.signal(Signal::TERM);
    assert_eq!(first.wait_for_exit().code(), Some(0));
    let waiting = tokio::spawn(client::get(systemd.http(), "/hello"));

    let _second = systemd.start(CONFIG);

    assert_eq!(waiting.await.unwrap().unwrap().text(), "hello\n");
}

/// The only child that it ever has is busctl, so that is who looks.
#[test]
fn a_child_inherits_none_of_it() {
    let systemd = FakeSystemd::with_http().unix("local");
    let (seen, ours) = (systemd.path("seen"), systemd.path("ours"));
    let service = systemd
        .service("[drain]\nwindow = \"auto\"")
        .in_unit("outlive.service")
        .script("busctl", "mkdir $INTO.part; cd $INTO.part; env >env; ls -l /proc/$$/fd >fd; mv $INTO.part $INTO")
        .env("INTO", seen.to_str().unwrap())
        .watchdog(SOON)
        .start();
    until(SOON, "busctl", || if seen.exists() { Ok(()) } else { Err("not asked yet".to_owned()) });

    let environment = fs::read_to_string(seen.join("env")).unwrap();
    assert!(environment.contains("PATH="), "{environment:?}");
    for line in environment.lines() {
        let private = ["LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_"].iter().any(|name| line.starts_with(name));
        assert!(!private, "{line}");
    }
    // What every child of this test inherits, from whatever runs it, is not the service's to close.
    assert!(Command::new(systemd.path("bin/busctl")).env("INTO", &ours).status().unwrap().success());
    assert_eq!(descriptors(&seen), descriptors(&ours), "{}", service.story());
}

/// The numbers that `ls -l` shows of descriptors.
fn descriptors(seen: &Path) -> Vec<u32> {
    let listing = fs::read_to_string(seen.join("fd")).unwrap();
    let number = |line: &str| line.split_once(" -> ")?.0.rsplit(' ').next()?.parse().ok();
    let mut numbers: Vec<u32> = listing.lines().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}
