//! Restarts and reloads under load.

use outlive::journal::message_id;

use crate::support::container::{Container, Suite};
use crate::support::rehearsal::{Results, nothing_is_lost, rounds};
use crate::{HELLO, on_every_systemd, quiet, wait_for_processes, with_outlive};

on_every_systemd!(restarts_and_reloads_lose_nothing, a_reload_is_no_gap);

const LOAD: &str = "--connections 64 --fresh 16 --idle 1000 --half 50 --every 1s";

/// The n-th call does what (n % 2) says.
const ALTERNATE: &str = "#!/bin/sh
n=$(cat /run/calls 2>/dev/null || echo 0)
echo $((n + 1)) >/run/calls
if [ $((n % 2)) = 0 ]; then exec sh -c \"$1\"; else exec sh -c \"$2\"; fi
";

/// How often ten rounds are measured, until the best of all are good enough.
const ATTEMPTS: u32 = 4;

/// How much longer nobody may be answered because of a reload, in milliseconds.
const LONGER: f64 = 10.0;

fn host(suite: Suite) -> Container {
    let host = with_outlive(Container::boot_alone(suite), &quiet());
    host.write("/usr/bin/alternate", ALTERNATE);
    host.run("chmod 755 /usr/bin/alternate && systemctl start outlive.service");
    host
}

/// Runs a command so many times under load.
#[track_caller]
fn rehearse(host: &Container, rounds: u64, command: &str) -> Results {
    nothing_is_lost(host, &format!("{HELLO} {LOAD} --rounds {rounds}"), command)
}

/// What a process has: descriptors, and KiB of memory.
#[derive(Debug)]
struct Has {
    descriptors: usize,
    memory: u64,
}

/// Reloads, and looks at the new process, which has served nobody yet. There must be no other one.
fn reload_and_look(host: &Container) -> Has {
    host.run("systemctl reload outlive.service");
    wait_for_processes(host, 1);
    let pid = host.main_pid();
    // Questions to systemd come and go.
    let mut looks = Vec::new();
    for _ in 0..5 {
        looks.push(host.run(&format!("ls /proc/{pid}/fd | wc -l")).trim().parse().unwrap());
    }
    let memory = host.run(&format!("grep VmRSS: /proc/{pid}/status"));
    let memory = memory.split_whitespace().nth(1).unwrap().parse().unwrap();
    Has { descriptors: looks.into_iter().min().unwrap(), memory }
}

fn restarts_and_reloads_lose_nothing(suite: Suite) {
    let host = host(suite);
    let second = reload_and_look(&host);
    let (restart, reload) = ("systemctl restart outlive.service", "systemctl reload outlive.service");
    let rounds = rounds(6);
    rehearse(&host, rounds, reload);
    let last = reload_and_look(&host);
    println!("generation 2 had {second:?}, the one after {} reloads {last:?}", rounds + 2);
    assert!(last.descriptors <= second.descriptors, "{last:?}, {second:?}");
    assert!(last.memory <= second.memory + second.memory / 10, "{last:?}, {second:?}");

    rehearse(&host, rounds, restart);
    rehearse(&host, rounds.min(20), &format!("alternate '{restart}' '{reload}'"));
    assert_eq!(host.property("outlive.service", "NFileDescriptorStore"), "0");
    assert_eq!(host.property("outlive.service", "NRestarts"), "0");
    for id in [message_id::RELOAD_FAILED, message_id::HANDOVER_REFUSED, message_id::HANDOVER_IMPOSSIBLE] {
        let entries = host.journal(&format!("MESSAGE_ID={id}"));
        assert!(entries.is_empty(), "{entries:?}");
    }
}

/// The longest time without an answer, with a reload and without, in turns. The best of several: the machine may be busy
/// with something else, and then it takes more of them.
fn a_reload_is_no_gap(suite: Suite) {
    let host = host(suite);
    let (mut without, mut with) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ATTEMPTS {
        let results = rehearse(&host, 10, "alternate true 'systemctl reload outlive.service'");
        let gaps = (0..10).map(|round| results.number(&format!("/rounds/{round}/gap_ms")));
        let best = |offset: usize| gaps.clone().skip(offset).step_by(2).fold(f64::INFINITY, f64::min);
        (without, with) = (without.min(best(0)), with.min(best(1)));
        println!("longest time without an answer: {without:.1} ms without a reload, {with:.1} ms with one");
        if with <= without + LONGER {
            return;
        }
    }
    panic!("{with} ms, and {without} ms without a reload");
}
