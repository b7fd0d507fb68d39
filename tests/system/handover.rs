//! `systemctl restart`, and connections that outlive it.

use std::time::Duration;

use outlive::journal::message_id;

use crate::support::container::{Container, Suite};
use crate::support::rehearsal::{Rehearsal, nothing_is_lost};
use crate::{HELLO, on_every_systemd, quiet, with_outlive};

on_every_systemd!(
    ten_thousand_idle_connections_survive,
    a_restart_in_every_state_of_systemd_leaves_the_store_empty,
    a_stop_hands_nothing_over,
);

/// What out and in together may take for ten thousand connections, as logged.
const ATTAINABLE: Duration = Duration::from_millis(100);

/// How often the service is restarted under the idle connections.
const RESTARTS: u64 = 3;

/// Clients that lie idle, and no others.
const IDLE_ALONE: &str = "--connections 0 --fresh 0 --half 0 --idle";

fn idle_connections() -> u64 {
    std::env::var("OUTLIVE_TEST_IDLE").ok().and_then(|number| number.parse().ok()).unwrap_or(10_000)
}

fn ten_thousand_idle_connections_survive(suite: Suite) {
    let host = with_outlive(Container::boot_alone(suite), &quiet());
    let number = idle_connections();
    let load = format!("{HELLO} {IDLE_ALONE} {number} --rounds {RESTARTS} --every 10ms");
    let results = nothing_is_lost(&host, &load, "systemctl restart outlive.service");
    assert_eq!(results.number("/survived") as u64, number * RESTARTS);

    let entries = |id: &str| host.journal(&format!("MESSAGE_ID={id}"));
    let (drained, adopted) = (entries(message_id::DRAIN_ENDED), entries(message_id::HANDOVER_ADOPTED));
    assert_eq!((drained.len() as u64, adopted.len() as u64), (RESTARTS, RESTARTS));
    let mut quickest = Duration::MAX;
    for (former, (out, back)) in (1..).zip(drained.iter().zip(&adopted)) {
        println!("{}\n{}", out.field("MESSAGE"), back.field("MESSAGE"));
        assert_eq!(out.number("HANDED_OVER"), number);
        assert_eq!(back.number("EXPECTED"), number);
        assert_eq!(back.number("ADOPTED"), number);
        assert_eq!(back.number("REJECTED"), 0);
        assert_eq!(back.number("FORMER_GENERATION"), former);
        let took = Duration::from_micros(out.number("HANDOVER_USEC") + back.number("DURATION_USEC"));
        quickest = quickest.min(took / u32::try_from(number.div_ceil(10_000)).unwrap());
    }
    // A build that isn't optimized takes longer: OUTLIVE_TEST_PROFILE=release has this measured. The quickest, since the
    // machine may have been busy with something else.
    let attainable = if cfg!(debug_assertions) { ATTAINABLE * 5 } else { ATTAINABLE };
    assert!(quickest < attainable, "{quickest:?}");
}

/// Runs the next of the commands in /run/commands. Not every one waits for the next process, nor that for its store to be
/// emptied.
const NEXT: &str = r#"
show() { systemctl show --value --property="$1" outlive.service; }
command=$(head -n 1 /run/commands)
sed -i 1d /run/commands
before=$(show MainPID)
sh -euc "$command"
until [ "$(show SubState)" = running ] && [ "$(show MainPID)" != "$before" ] &&
  [ "$(show NFileDescriptorStore)" = 0 ]; do :; done
"#;

fn a_restart_in_every_state_of_systemd_leaves_the_store_empty(suite: Suite) {
    let host = with_outlive(Container::boot(suite), &quiet());
    let commands = [
        "systemctl restart outlive.service",
        // No job, but Restart=always.
        "systemctl kill --kill-who=main outlive.service",
        "systemctl daemon-reload; systemctl restart outlive.service",
        "systemctl daemon-reexec; systemctl restart outlive.service",
        "systemctl try-restart outlive.service",
    ];
    // Requires= takes the service along. More than once: nothing may hold the old socket as the new one is opened.
    let socket = ["systemctl restart outlive.socket"; 12];
    let commands = [&commands[..], &socket].concat();
    host.write("/run/commands", &format!("{}\n", commands.join("\n")));
    host.write("/run/next", NEXT);

    // No fresh ones: while its socket restarts, the port is closed.
    let load = format!("{HELLO} --connections 4 --fresh 0 --idle 50 --half 4 --rounds {} --every 10ms", commands.len());
    nothing_is_lost(&host, &load, "timeout 60 sh -eu /run/next");

    let adopted = host.journal(&format!("MESSAGE_ID={}", message_id::HANDOVER_ADOPTED));
    let by: Vec<_> = adopted.iter().map(|entry| entry.number("FORMER_GENERATION") as usize).collect();
    assert_eq!(by, (1..=commands.len()).collect::<Vec<_>>(), "each was another process's end: {adopted:#?}");
}

/// They are told at once: nobody will adopt them.
fn a_stop_hands_nothing_over(suite: Suite) {
    let host = with_outlive(Container::boot(suite), &quiet());
    let load = format!("{HELLO} {IDLE_ALONE} 20 --rounds 1 --every 10ms");
    let results = Rehearsal::start(&host, &load, "systemctl stop outlive.service").finish();
    assert_eq!(results.0["failures"], serde_json::json!({ "stale": 20 }), "{:#}", results.0);
    let drained = host.wait_for_journal(message_id::DRAIN_ENDED);
    assert_eq!((drained.number("HANDED_OVER"), drained.number("CLOSED")), (0, 20), "{drained:?}");
}
