//! SIGKILL in the middle of a drain: once it has begun, only busy connections are lost.
//!
//! These claims are about a kill at a moment of the drain, in which requests are lost by intent, and about connections on
//! which nothing was sent: what `outlive rehearse` can't do. So clients of their own count.

use outlive::journal::message_id;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::bytewise::Client;
use crate::support::container::{Container, SERVICE, Suite};
use crate::support::journal::Follower;
use crate::support::killed::{ALL, Waiting, moment, rounds, wait_exactly};
use crate::{CONFIG, on_every_systemd, with_outlive};

on_every_systemd!(
    what_waits_goes_on_whatever_began_the_drain,
    what_was_sent_to_systemd_outlives_its_sender,
    a_stop_ends_what_waits_and_leaves_nothing,
);

/// Drains that settle, and drains that close at once.
const SETTLE: [&str; 2] = ["auto", "0s"];

/// What begins them. After the last, no job but `Restart=` starts the service again.
const BEGIN: [&str; 2] =
    ["systemctl restart outlive.service", "systemctl kill --kill-who=main --signal=TERM outlive.service"];

fn config(settle: &str) -> String {
    let quiet = CONFIG.replace("access = \"all\"", "access = \"off\"");
    format!("[drain]\nsettle = \"{settle}\"\n{quiet}")
}

fn generation() -> u64 {
    Client::tcp(SERVICE).get("/live?live").generation()
}

/// The service's main process, as the test sees it, and what the journal will say of its drain.
fn main_process(host: &Container) -> (Pid, String) {
    let pid = host.main_pid();
    (host.host_pid(pid), pid.to_string())
}

fn wait_for_drain(journal: &mut Follower, pid: &str) {
    journal.wait_for("a drain that begins", |entry| {
        entry.get("MESSAGE_ID") == Some(message_id::DRAIN_BEGAN) && entry.get("_PID") == Some(pid)
    });
}

fn what_waits_goes_on_whatever_began_the_drain(suite: Suite) {
    let host = with_outlive(Container::boot(suite), &config(SETTLE[0]));
    let mut journal = host.follow_journal("--unit=outlive.service");
    let rounds = rounds(6);
    host.in_network(async || {
        for round in 0..rounds {
            let before = generation();
            let mut running = Client::tcp(SERVICE);
            running.ask("/slow");
            let mut waiting = Waiting::connect(SERVICE);
            let (main, pid) = main_process(&host);
            // The next process's.
            host.configure(&config(SETTLE[(round + 1) as usize % 2]));

            let begin = host.start(BEGIN[(round / 2) as usize % 2]);
            wait_for_drain(&mut journal, &pid);
            // While it closes, most of the course is over when systemd says whether the service will start again.
            wait_exactly(moment(round) * 2);
            kill_process(main, Signal::KILL).unwrap();
            begin.finish();

            let gone_on = waiting.gone_on();
            assert_eq!(gone_on, ALL, "round {round}: {}", host.run("journalctl --unit=outlive.service --lines=20"));
            running.try_answer().expect_err("it was busy");
            assert_eq!(generation(), before + 1);
            host.wait_for_property("outlive.service", "NFileDescriptorStore", "0");
        }
    });
    println!("{} connections went on, none was lost", rounds as usize * ALL);
}

/// systemd reads its notifications before it takes notice of a child's end, descriptors included.
fn what_was_sent_to_systemd_outlives_its_sender(suite: Suite) {
    let host = with_outlive(Container::boot(suite), &config(SETTLE[0]));
    let mut journal = host.follow_journal("--unit=outlive.service");
    host.in_network(async || {
        let mut running = Client::tcp(SERVICE);
        running.ask("/slow");
        let mut waiting = Waiting::connect(SERVICE);
        let (main, pid) = main_process(&host);

        let systemd = host.host_pid(1);
        kill_process(systemd, Signal::STOP).unwrap();
        kill_process(main, Signal::TERM).unwrap();
        wait_for_drain(&mut journal, &pid);
        kill_process(main, Signal::KILL).unwrap();
        kill_process(systemd, Signal::CONT).unwrap();

        assert_eq!(waiting.gone_on(), ALL, "{}", host.run("journalctl --unit=outlive.service --lines=20"));
        running.try_answer().expect_err("it was busy");
        assert_eq!(generation(), 2);
    });
}

/// Copies don't delay it: while a request still runs, they are taken out of the store again.
fn a_stop_ends_what_waits_and_leaves_nothing(suite: Suite) {
    let host = with_outlive(Container::boot(suite), &config("0s"));
    host.in_network(async || {
        let mut running = Client::tcp(SERVICE);
        running.ask("/slow");
        let mut waiting = Waiting::connect(SERVICE);
        let stop = host.start("systemctl stop outlive.service");
        waiting.idle.iter_mut().for_each(Client::assert_closed);
        waiting.half.iter_mut().for_each(Client::assert_closed);
        waiting.fresh.iter_mut().for_each(Client::assert_closed);
        host.wait_for_property("outlive.service", "NFileDescriptorStore", "0");
        assert_eq!(host.property("outlive.service", "ActiveState"), "deactivating", "one request still runs");
        assert_eq!(running.answer().body, "slow, but whole\n");
        stop.finish();
    });
    let drained = host.wait_for_journal(message_id::DRAIN_ENDED);
    assert_eq!((drained.number("HANDED_OVER"), drained.number("CUT")), (0, 0), "{drained:?}");
}
