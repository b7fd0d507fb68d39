//! `systemctl reload`: a successor takes over, under load too, and everything works afterwards as before.

use std::time::Duration;

use outlive::journal::message_id;
use tokio::task::JoinSet;

use crate::support::client::{Connection, get};
use crate::support::container::{Container, SERVICE, Suite};
use crate::support::running::Text as _;
use crate::support::wait::{SOON, until};
use crate::{CONFIG, Live, SLOW, on_every_systemd, running};

on_every_systemd!(
    a_reload_under_load_loses_nothing,
    a_restart_after_reloads_drains_as_before,
    a_stop_after_a_reload_waits_for_the_old_process,
    the_watchdog_watches_the_successor,
    a_crash_of_the_successor_is_seen,
    a_failed_reload_says_why_and_changes_nothing,
    a_program_that_cannot_run_changes_nothing,
);

/// A host whose service is started: to reload one that still starts is nothing to systemd, which says that all is well.
fn serving(suite: Suite) -> Container {
    let host = crate::host(suite);
    host.run("systemctl start outlive.service");
    host
}

/// Waits until there are so many processes of the program.
#[track_caller]
fn wait_for_processes(host: &Container, number: usize) {
    until(SOON, &format!("{number} processes"), || {
        let text = host.output("cat /proc/[0-9]*/comm 2>/dev/null | grep -cx outlive").text();
        if text.trim() == number.to_string() { Ok(()) } else { Err(text) }
    });
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

fn a_reload_under_load_loses_nothing(suite: Suite) {
    const RELOADS: u64 = 30;
    let host = serving(suite);
    host.in_network(async || {
        Live::fresh().await.unwrap();
        let over = tokio_flag();
        let mut clients = JoinSet::new();
        for number in 0..8 {
            let over = over.clone();
            clients.spawn(async move {
                let mut answered = 0_u64;
                let mut connection = Connection::open(SERVICE).await.unwrap();
                while !*over.borrow() {
                    if number % 4 == 0 {
                        connection = Connection::open(SERVICE).await.expect("no connection is refused");
                    }
                    let answer = connection.get("/hello").await.expect("no request is lost");
                    assert_eq!(answer.text(), "hello\n");
                    answered += 1;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                answered
            });
        }
        let mut idle = Vec::new();
        for _ in 0..200 {
            let mut connection = Connection::open(SERVICE).await.unwrap();
            connection.get("/hello").await.unwrap();
            idle.push(connection);
        }
        for number in 0..RELOADS {
            host.start("systemctl reload outlive.service").finished().await;
            assert_eq!(Live::fresh().await.unwrap().generation, number + 2, "the successor has it all at once");
        }
        for connection in &mut idle {
            assert_eq!(Live::ask(connection).await.unwrap().generation, RELOADS + 1);
        }
        over.end();
        let answered: u64 = clients.join_all().await.into_iter().sum();
        println!("{answered} requests over {RELOADS} reloads");
        assert!(answered > 1000);
    });
    wait_for_processes(&host, 1);
    assert_eq!(host.property("outlive.service", "NRestarts"), "0");
    assert_eq!(host.journal(&format!("MESSAGE_ID={}", message_id::RELOAD_DONE)).len() as u64, RELOADS);
    assert_no_complaints(&host);
    let status = host.run("outlive status");
    println!("{status}");
    assert!(status.contains("generation 31"), "{status}");
}

/// A flag that clients look at.
#[derive(Clone)]
struct Flag(std::sync::Arc<tokio::sync::watch::Sender<bool>>);

fn tokio_flag() -> Flag {
    Flag(std::sync::Arc::new(tokio::sync::watch::channel(false).0))
}

impl Flag {
    fn borrow(&self) -> tokio::sync::watch::Ref<'_, bool> {
        self.0.borrow()
    }

    fn end(&self) {
        self.0.send_replace(true);
    }
}

fn a_restart_after_reloads_drains_as_before(suite: Suite) {
    let host = serving(suite);
    host.in_network(async || {
        let first = Live::fresh().await.unwrap();
        for _ in 0..2 {
            host.start("systemctl reload outlive.service").finished().await;
        }
        let before = Live::fresh().await.unwrap();
        assert_ne!(before.pid, first.pid);
        assert_eq!(host.main_pid(), before.pid);
        let status = host.run(&format!("cat /proc/{}/status", before.pid));
        assert!(status.contains("PPid:\t1\n"), "systemd's own child: {status}");

        let slow = tokio::spawn(get(SERVICE, "/slow"));
        running(1).await;
        host.start("systemctl restart outlive.service").finished().await;
        assert_eq!(slow.await.unwrap().unwrap().text(), SLOW);
        let after = Live::fresh().await.unwrap();
        assert_eq!(after.generation, before.generation + 1);
    });
    wait_for_processes(&host, 1);
    assert_no_complaints(&host);
    let drained = host.journal(&format!("MESSAGE_ID={}", message_id::DRAIN_ENDED));
    assert_eq!(drained.last().unwrap().field("CAUSE"), "SIGTERM");
}

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

    let reload = host.output("systemctl reload outlive.service");

    assert!(!reload.status.success(), "{}", reload.text());
    let failed = host.wait_for_journal(message_id::RELOAD_FAILED);
    assert_eq!(failed.field("PRIORITY"), "3");
    assert!(failed.field("MESSAGE").contains("unknown key `windwo` in [drain]"), "{failed:?}");
    // What ExecReload= says is in the unit's journal, too, and the status has the gist.
    let told = host.run("journalctl --sync && journalctl --unit=outlive.service --output=cat");
    assert!(told.lines().any(|line| line.starts_with("/etc/outlive/outlive.toml:2:1: unknown key `windwo`")), "{told}");
    let status = host.property("outlive.service", "StatusText");
    assert!(status.contains("reload failed: /etc/outlive/outlive.toml:2:1"), "{status}");
    // Where systemctl tells the operator to look.
    println!("{}", reload.text());
    let shown = host.output("systemctl status --no-pager --full outlive.service").text();
    println!("{shown}");
    let line = |start: &str| shown.lines().find(|line| line.trim_start().starts_with(start)).unwrap_or_default();
    assert!(line("Status:").contains("reload failed: /etc/outlive/outlive.toml:2:1: unknown key `windwo`"), "{shown}");
    assert!(shown.contains("the reload has failed, and nothing has changed: /etc/outlive"), "{shown}");
    assert_eq!(host.property("outlive.service", "ActiveState"), "active");
    assert_eq!(host.property("outlive.service", "SubState"), "running");
    let after = host.in_network(async || Live::fresh().await).unwrap();
    assert_eq!((after.pid, after.generation), (before.pid, before.generation));

    host.configure(CONFIG);
    host.run("systemctl reload outlive.service");
    let after = host.in_network(async || Live::fresh().await).unwrap();
    assert_eq!(after.generation, before.generation + 1);
    wait_for_processes(&host, 1);
}

fn a_program_that_cannot_run_changes_nothing(suite: Suite) {
    let host = serving(suite);
    let before = host.in_network(async || Live::fresh().await).unwrap();
    host.run("mv /usr/bin/outlive /usr/bin/outlive.good; printf 'no program\\n' >/usr/bin/outlive; chmod 755 /usr/bin/outlive");

    let reload = host.output("systemctl reload outlive.service");
    assert!(!reload.status.success(), "{}", reload.text());
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
