//! A worker that is stuck gets the service restarted.

use std::fs;

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use outlive::journal::message_id;

use crate::support::container::{Container, Suite};
use crate::{Live, host, on_every_systemd};

on_every_systemd!(a_stuck_worker_gets_the_service_restarted);

fn a_stuck_worker_gets_the_service_restarted(suite: Suite) {
    let host = host(suite);
    host.edit("outlive.service", "[Service]\nWatchdogSec=2s\n");
    let before = host.in_network(async || Live::fresh().await).unwrap();
    let mut journal = host.follow_journal("UNIT=outlive.service + _SYSTEMD_UNIT=outlive.service");

    let stuck = stick(&host, before.pid, "worker-0");

    // Its other threads go on, and one of them notices.
    let noticed = journal.wait_for("that a worker is stuck", |e| e.get("MESSAGE_ID") == Some(message_id::WORKER_STUCK));
    assert_eq!(noticed.field("WORKER"), "0");
    journal.wait_for("the watchdog's verdict", |entry| entry.get("UNIT_RESULT") == Some("watchdog"));
    stuck.join().expect("the stuck thread ended with its process");
    journal.wait_for("the new process", |entry| entry.get("MESSAGE_ID") == Some(message_id::READY));

    let after = host.in_network(async || Live::fresh().await).unwrap();
    assert_ne!(after.pid, before.pid);
    assert_eq!(after.generation, before.generation + 1);
    assert_eq!(host.property("outlive.service", "NRestarts"), "1");
}

/// Stops one thread of a process and keeps it so until the process ends.
fn stick(host: &Container, pid: u32, thread: &str) -> std::thread::JoinHandle<()> {
    let process = host.host_pid(pid);
    let thread = fs::read_dir(format!("/proc/{process}/task"))
        .unwrap()
        .map(|task| task.unwrap().path())
        .find(|task| fs::read_to_string(task.join("comm")).unwrap_or_default().trim_end() == thread)
        .unwrap_or_else(|| panic!("no thread {thread} in process {process}"));
    let thread = nix::unistd::Pid::from_raw(thread.file_name().unwrap().to_str().unwrap().parse().unwrap());

    let (stopped, is_stopped) = std::sync::mpsc::channel();
    // Only the thread that seized it may wait for it, and a traced thread that has ended stays until it does.
    let tracer = std::thread::spawn(move || {
        ptrace::seize(thread, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(thread).unwrap();
        while let Ok(status) = waitpid(thread, Some(WaitPidFlag::__WALL)) {
            match status {
                WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return,
                _ => drop(stopped.send(())),
            }
        }
    });
    is_stopped.recv_timeout(crate::support::wait::SOON).expect("the thread stopped");
    tracer
}
