//! `systemctl reload`: a successor takes over, under load too, and everything works afterwards as before.

use std::time::Duration;

use outlive::journal::message_id;

use crate::support::client::get;
use crate::support::container::{Container, SERVICE, Suite};
use crate::support::rehearsal::{Rehearsal, nothing_is_lost};
use crate::support::running::Text as _;
use crate::support::wait::{SOON, until};
use crate::{Live, SLOW, on_every_systemd, quiet, running, wait_for_processes, with_outlive};

on_every_systemd!(
    reloads_in_a_row_lose_nothing,
    a_restart_after_reloads_drains_as_before,
    a_stop_after_a_reload_waits_for_the_old_process,
    the_watchdog_watches_the_successor,
    a_crash_of_the_successor_is_seen,
    a_failed_reload_says_why_and_changes_nothing,
    a_program_that_cannot_run_changes_nothing,
);

/// Clients of each kind.
const LOAD: &str = "--url http://127.0.0.1:8080/hello --connections 8 --fresh 4 --idle 200 --half 10 --every 10ms";

/// It is for the rehearsal to see that what is to fail does.
const RELOAD_FAILS: &str = "sh -c '! systemctl reload outlive.service'";

/// A host whose service is started: to reload one that still starts is nothing to systemd, which says that all is well.
fn serving(suite: Suite) -> Container {
    let host = with_outlive(Container::boot(suite), &quiet());
    host.run("systemctl start outlive.service");
    host
}

/// systemd has no doubt about which process it watches.
#[track_caller]
fn assert_no_complaints(host: &Container) {
    for entry in host.journal("_PID=1 UNIT=outlive.service") {
        let message = entry.get("MESSAGE").unwrap_or_default();
        for complaint in ["not our child", "reception only permitted", "SIGKILL", "timed out", "Failed"] {
            assert!(!message.contains(complaint), "{message}");
        }
    }
}

/// Reloads five times in a row. The successor has it all at once: whoever connects then is answered by the process that
/// systemd has for the main one.
const RELOADS: &str = r#"
for _ in 1 2 3 4 5; do
  systemctl reload outlive.service
  main=$(systemctl show --property=MainPID --value outlive.service)
  answer=$(curl --silent --fail --show-error http://127.0.0.1:8080/live?live)
  case $answer in *'"pid":'"$main,"*) ;; *) echo "not from process $main: $answer"; exit 1 ;; esac
done
"#;

fn reloads_in_a_row_lose_nothing(suite: Suite) {
    let host = serving(suite);
    host.write("/run/reloads", RELOADS);
    nothing_is_lost(&host, &format!("{LOAD} --rounds 6"), "sh -eu /run/reloads");
    wait_for_processes(&host, 1);
    assert_eq!(host.property("outlive.service", "NRestarts"), "0");
    assert_eq!(host.journal(&format!("MESSAGE_ID={}", message_id::RELOAD_DONE)).len(), 30);
    assert_no_complaints(&host);
    let status = host.run("outlive status");
    println!("{status}");
    assert!(status.contains("generation 31"), "{status}");
}

/// A route that busy clients have a request for running nearly all the time.
const PAUSE: &str = "\n[[route]]\npath = \"/pause\"\nrespond = { body = \"after a pause\\n\", delay = \"200ms\" }\n";

fn a_restart_after_reloads_drains_as_before(suite: Suite) {
    let host = serving(suite);
    let first = host.in_network(async || Live::fresh().await).unwrap();
    host.configure(&format!("{}{PAUSE}", quiet()));
    host.run("systemctl reload outlive.service && systemctl reload outlive.service");
    let before = host.in_network(async || Live::fresh().await).unwrap();
    assert_ne!(before.pid, first.pid);
    assert_eq!(host.main_pid(), before.pid);
    let status = host.run(&format!("cat /proc/{}/status", before.pid));
    assert!(status.contains("PPid:\t1\n"), "systemd's own child: {status}");

    let load = "--url http://127.0.0.1:8080/pause --expect 'after a pause\n' --connections 8 --post 0 --fresh 0 --idle 0 \
                --half 0 --rounds 1 --every 10ms";
    nothing_is_lost(&host, load, "systemctl restart outlive.service");

    let after = host.in_network(async || Live::fresh().await).unwrap();
    assert_eq!(after.generation, before.generation + 1);
    wait_for_processes(&host, 1);
    assert_no_complaints(&host);
    let drained = host.journal(&format!("MESSAGE_ID={}", message_id::DRAIN_ENDED)).pop().unwrap();
    assert_eq!(drained.field("CAUSE"), "SIGTERM");
    assert!(drained.number("FINISHED") >= 4, "requests ran, and finished: {drained:?}");
}

/// With a client of its own: those of a rehearsal would connect again, and start the service that is stopped.
fn a_stop_after_a_reload_waits_for_the_old_process(suite: Suite) {
    let host = serving(suite);
    host.in_network(async || {
        Live::fresh().await.unwrap();
        let slow = tokio::spawn(get(SERVICE, "/slow"));
        running(1).await;
        host.start("systemctl reload outlive.service").finished().await;
        let stop = host.start("systemctl stop outlive.service");
        assert_eq!(slow.await.unwrap().unwrap().text(), SLOW);
        stop.finished().await;
    });
    assert_eq!(host.property("outlive.service", "Result"), "success");
    assert_no_complaints(&host);
}

fn the_watchdog_watches_the_successor(suite: Suite) {
    let host = serving(suite);
    host.edit("outlive.service", "[Service]\nWatchdogSec=2s\n");
    host.in_network(async || Live::fresh().await).unwrap();
    host.run("systemctl reload outlive.service");
    let main = host.main_pid();
    let mut journal = host.follow_journal("UNIT=outlive.service + _SYSTEMD_UNIT=outlive.service");
    // It is fed, or it would have been ended by now.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(host.main_pid(), main);

    host.run(&format!("kill -STOP {main}"));

    journal.wait_for("the watchdog's verdict", |entry| entry.get("UNIT_RESULT") == Some("watchdog"));
    until(SOON, "a new process", || match host.main_pid() {
        0 => Err("none".to_owned()),
        pid if pid == main => Err("the same".to_owned()),
        _ => Ok(()),
    });
    let after = host.in_network(async || Live::fresh().await).unwrap();
    assert_eq!(after.generation, 3);
}

fn a_crash_of_the_successor_is_seen(suite: Suite) {
    let host = serving(suite);
    host.in_network(async || Live::fresh().await).unwrap();
    host.run("systemctl reload outlive.service");
    let main = host.main_pid();
    host.run(&format!("kill -KILL {main}"));
    until(SOON, "a restart", || match host.property("outlive.service", "NRestarts").as_str() {
        "1" => Ok(()),
        other => Err(other.to_owned()),
    });
    let after = host.in_network(async || Live::fresh().await).unwrap();
    assert_eq!(after.generation, 3);
    assert_ne!(after.pid, main);
}

fn a_failed_reload_says_why_and_changes_nothing(suite: Suite) {
    let host = serving(suite);
    let before = host.in_network(async || Live::fresh().await).unwrap();
    host.configure("[drain]\nwindwo = \"30s\"\n");

    let results = nothing_is_lost(&host, &format!("{LOAD} --rounds 1"), RELOAD_FAILS);

    let failed = host.wait_for_journal(message_id::RELOAD_FAILED);
    assert_eq!(failed.field("PRIORITY"), "3");
    assert!(failed.field("MESSAGE").contains("unknown key `windwo` in [drain]"), "{failed:?}");
    // What ExecReload= says is in the unit's journal, too, and the status has the gist.
    let told = host.run("journalctl --sync && journalctl --unit=outlive.service --output=cat");
    assert!(told.lines().any(|line| line.starts_with("/etc/outlive/outlive.toml:2:1: unknown key `windwo`")), "{told}");
    let status = host.property("outlive.service", "StatusText");
    assert!(status.contains("reload failed: /etc/outlive/outlive.toml:2:1"), "{status}");
    // Where systemctl tells the operator to look.
    println!("{}", results.command_output());
    let shown = host.output("systemctl status --no-pager --full outlive.service").text();
    println!("{shown}");
    let line = |start: &str| shown.lines().find(|line| line.trim_start().starts_with(start)).unwrap_or_default();
    assert!(line("Status:").contains("reload failed: /etc/outlive/outlive.toml:2:1: unknown key `windwo`"), "{shown}");
    assert!(shown.contains("the reload has failed, and nothing has changed: /etc/outlive"), "{shown}");
    assert_eq!(host.property("outlive.service", "ActiveState"), "active");
    assert_eq!(host.property("outlive.service", "SubState"), "running");
    let after = host.in_network(async || Live::fresh().await).unwrap();
    assert_eq!((after.pid, after.generation), (before.pid, before.generation));

    host.configure(&quiet());
    host.run("systemctl reload outlive.service");
    let after = host.in_network(async || Live::fresh().await).unwrap();
    assert_eq!(after.generation, before.generation + 1);
    wait_for_processes(&host, 1);
}

fn a_program_that_cannot_run_changes_nothing(suite: Suite) {
    let host = serving(suite);
    let before = host.in_network(async || Live::fresh().await).unwrap();
    host.run("mv /usr/bin/outlive /usr/bin/outlive.good; printf 'no program\\n' >/usr/bin/outlive; chmod 755 /usr/bin/outlive");

    let rehearsal = Rehearsal::start_with(&host, "outlive.good", &format!("{LOAD} --rounds 1"), RELOAD_FAILS);
    rehearsal.finish().assert_nothing_lost();
    host.run(&format!("kill -HUP {}", before.pid));
    let failed = host.wait_for_journal(message_id::RELOAD_FAILED);
    assert!(failed.field("MESSAGE").contains("cannot run /usr/bin/outlive"), "{failed:?}");
    host.wait_for_property("outlive.service", "SubState", "running");
    let after = host.in_network(async || Live::fresh().await).unwrap();
    assert_eq!(after.pid, before.pid);

    // As an upgrade does it.
    host.run("cp /usr/bin/outlive.good /usr/bin/outlive.new && mv /usr/bin/outlive.new /usr/bin/outlive");
    host.run("systemctl reload outlive.service");
    let after = host.in_network(async || Live::fresh().await).unwrap();
    assert_eq!(after.generation, 2);
    assert_eq!(host.run(&format!("readlink /proc/{}/exe", after.pid)), "/usr/bin/outlive");
}
