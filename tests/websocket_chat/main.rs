//! The chat among the examples: its sockets survive restarts and reloads, and not a word is lost.
//!
//! Real processes, and a stand-in for systemd. `OUTLIVE_TEST_RESTARTS` says how often each is done.

#![allow(clippy::unwrap_used, reason = "a test may panic; Clippy only knows that of functions marked as tests")]

#[path = "../support/mod.rs"]
mod support;

mod client;
mod settling;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;

use client::{Member, frames};
use rustix::process::{Pid, Signal};
use support::example::example;
use support::fake_systemd::FakeSystemd;
use support::service::Service;
use support::wait::{SOON, until};

/// How many members talk at the same time.
const MEMBERS: usize = 8;

/// How much is said by each of them between two restarts at least.
const BETWEEN: u64 = 5;

fn rounds() -> usize {
    std::env::var("OUTLIVE_TEST_RESTARTS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(6)
}

#[track_caller]
fn start(systemd: &FakeSystemd) -> Service {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| example("websocket_chat"));
    systemd.service("").program(&PROGRAM).start()
}

#[track_caller]
fn restart(systemd: &FakeSystemd, service: &mut Service) {
    rustix::process::kill_process(service.main_pid(), Signal::TERM).unwrap();
    assert_eq!(service.wait_for_exit().code(), Some(0), "{}", service.story());
    assert_eq!(service.wait_for_exit().code(), Some(0), "{}", service.story());
    *service = start(systemd);
}

/// Reloads, and waits for the old process's end.
#[track_caller]
fn reload(service: &Service) {
    let (old, before) = (service.main_pid(), service.successions());
    rustix::process::kill_process(old, Signal::HUP).unwrap();
    service.wait_for_successor(before + 1);
    wait_for_end(old);
}

#[track_caller]
fn wait_for_end(process: Pid) {
    let stat = format!("/proc/{}/stat", process.as_raw_nonzero());
    until(SOON, "the old process to end", || match std::fs::read_to_string(&stat) {
        Ok(stat) if !stat.contains(") Z ") => Err(stat),
        _ => Ok(()),
    });
}

/// Members who talk, each as fast as it hears itself, and check all that they hear.
struct Talk {
    over: Arc<AtomicBool>,
    said: Arc<AtomicU64>,
    members: Vec<thread::JoinHandle<u64>>,
}

impl Talk {
    #[track_caller]
    fn begin(server: SocketAddr) -> Self {
        let (over, said) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let names: Vec<_> = (0..MEMBERS).map(|index| format!("member{index}")).collect();
        let join = |name: &String| Member::join(server, name);
        let talk = |mut member: Member| {
            let (over, said, names) = (Arc::clone(&over), Arc::clone(&said), names.clone());
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    member.talk();
                    said.fetch_add(1, Ordering::Relaxed);
                }
                member.end();
                member.listen_to_the_end(&names);
                member.said()
            })
        };
        let members = names.iter().map(join).collect::<Vec<_>>().into_iter().map(talk).collect();
        Self { over, said, members }
    }

    /// Waits until some more has been said.
    #[track_caller]
    fn go_on(&self) {
        let enough = self.said.load(Ordering::Relaxed) + BETWEEN * MEMBERS as u64;
        until(SOON, "the talk to go on", || {
            let said = self.said.load(Ordering::Relaxed);
            if said >= enough { Ok(()) } else { Err(format!("{said} of {enough}")) }
        });
    }

    #[track_caller]
    fn end(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.members.into_iter().map(|member| member.join().unwrap()).sum()
    }
}

#[test]
fn every_word_is_heard_over_restarts() {
    let systemd = FakeSystemd::with_http().keeping(64);
    let mut service = start(&systemd);
    let talk = Talk::begin(systemd.http());
    for _ in 0..rounds() {
        talk.go_on();
        restart(&systemd, &mut service);
    }
    talk.go_on();
    println!("{} messages to each of {MEMBERS} over {} restarts", talk.end(), rounds());
}

#[test]
fn every_word_is_heard_over_reloads() {
    be_service_manager();
    let systemd = FakeSystemd::with_http().keeping(64);
    let service = start(&systemd);
    let talk = Talk::begin(systemd.http());
    for _ in 0..rounds() {
        talk.go_on();
        reload(&service);
    }
    talk.go_on();
    println!("{} messages to each of {MEMBERS} over {} reloads", talk.end(), rounds());
}

/// Makes this process the one that adopts orphans, as the service manager is for a service.
fn be_service_manager() {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
}

#[test]
fn half_a_message_goes_along() {
    be_service_manager();
    let systemd = FakeSystemd::with_http().keeping(64);
    let mut service = start(&systemd);
    halves(systemd.http(), || restart(&systemd, &mut service));
    let systemd = FakeSystemd::with_http().keeping(64);
    let service = start(&systemd);
    halves(systemd.http(), || reload(&service));
}

/// Cuts messages in two, and changes the server's process between the halves.
#[track_caller]
fn halves(server: SocketAddr, mut change: impl FnMut()) {
    let mut member = Member::join(server, "anna");
    let heard = |member: &mut Member, text: &str| assert_eq!(member.listen(), ("anna".to_owned(), text.to_owned()));
    let (whole, half) = (frames(&["whole"]), frames(&["in two ", "frames"]));
    for cut in [1, 2, 5, 6, 9, 13, 14, 17, 20] {
        // Together with a message that is answered, so that it was read, not left in the socket.
        member.send_raw(&[&whole[..], &half[..cut]].concat());
        heard(&mut member, "whole");
        change();
        member.send_raw(&half[cut..]);
        heard(&mut member, "in two frames");
    }
}

/// Nobody can say what a killed process had still in its hands.
#[test]
fn a_crash_ends_them() {
    let systemd = FakeSystemd::with_http().keeping(64);
    let mut service = start(&systemd);
    let mut member = Member::join(systemd.http(), "anna");
    member.talk();
    service.signal(Signal::KILL);
    service.wait_for_exit();
    member.lost();
    let _next = start(&systemd);
    Member::join(systemd.http(), "anna").talk();
}

#[test]
fn where_nothing_is_kept_members_are_told() {
    let systemd = FakeSystemd::with_http();
    let mut service = start(&systemd);
    let mut member = Member::join(systemd.http(), "anna");
    member.talk();
    service.signal(Signal::TERM);
    let frame = member.closed().unwrap();
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1012, "come again"));
    drop(member);
    assert_eq!(service.wait_for_exit().code(), Some(0), "{}", service.story());
}
