//! A successor takes over, and nobody notices but for what is new.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use outlive::journal::message_id;
use rustix::process::Signal;

use crate::client::Client;
use crate::support::fake_journald::FakeJournald;
use crate::support::fake_systemd::FakeSystemd;
use crate::support::service::Service;
use crate::support::wait::{SOON, until};
use crate::{CONFIG, be_service_manager, descriptors, environment, reload, start, wait_for_end, wait_for_only};

/// As `kill -HUP` does, with the old text from the old process and the new one from the new one.
#[test]
fn the_new_configuration_counts_and_what_ran_is_finished() {
    let systemd = FakeSystemd::with_http();
    let mut service = start(&systemd);
    let mut slow = Client::asking(systemd.http(), "/slow");
    let mut before = Client::tcp(systemd.http());
    assert_eq!(before.get("/hello").body, "hello\n");
    fs::write(systemd.path("outlive.toml"), CONFIG.replace("hello\\n", "hello again\\n")).unwrap();

    service.signal(Signal::HUP);
    let successor = service.wait_for_successor(1);

    service.wait_for_line("Reloaded within");
    assert_eq!(Client::tcp(systemd.http()).get("/hello").body, "hello again\n");
    // A request that comes before the connection has left is still answered where it is.
    until(SOON, "the connection's crossing", || match before.get("/hello").body.as_str() {
        "hello again\n" => Ok(()),
        old => Err(old.to_owned()),
    });
    assert_eq!(slow.answer().body, "slow\n");
    assert_eq!(slow.get("/live?live").generation(), 2);
    wait_for_end(service.pid());
    assert_eq!(service.pid(), service.notifications(|sent| sent[0].sender.unwrap()));

    // It is the service in every respect.
    rustix::process::kill_process(successor, Signal::TERM).unwrap();
    service.wait_for("STOPPING=1");
    wait_for_end(successor);
    assert_eq!(service.wait_for_exit().code(), Some(0));
}

#[test]
fn systemd_is_told_in_the_right_order_and_by_the_main_process_alone() {
    let systemd = FakeSystemd::with_http();
    be_service_manager();
    let service = systemd.service(CONFIG).installed().watchdog(Duration::from_millis(200)).start();
    let old = service.pid();
    let new = reload(&systemd, &service);
    let fed = |pid| {
        move |sent: &[crate::support::service::Notification]| {
            sent.iter().any(|n| n.sender == Some(pid) && n.get("WATCHDOG") == Some("1")).then_some(())
        }
    };
    service.wait_until("a sign of life of the new process", fed(new));
    service.notifications(|sent| {
        let at = |wanted: &str| sent.iter().position(|n| n.lines.iter().any(|line| line.starts_with(wanted))).unwrap();
        let reloading = &sent[at("RELOADING=1")];
        let micros: u64 = reloading.get("MONOTONIC_USEC").unwrap().parse().unwrap();
        assert!(micros > 0);
        let change = at("MAINPID=");
        assert!(at("RELOADING=1") < change);
        assert!(sent[change].lines.iter().any(|line| line == "READY=1"), "{:?}", sent[change]);
        for (index, notification) in sent.iter().enumerate() {
            let main = if index <= change { old } else { new };
            assert_eq!(notification.sender, Some(main), "{index}: {:?}", notification.lines);
        }
    });
}

#[test]
fn the_successor_is_the_service_managers_child_with_an_environment_of_its_own() {
    let systemd = FakeSystemd::with_http();
    be_service_manager();
    let launch = systemd.service(CONFIG).installed().watchdog(Duration::from_secs(30));
    let service = launch.env("INVOCATION_ID", "b7a2").env("SYSTEMD_EXEC_PID", "1").start();
    let new = reload(&systemd, &service);
    let status = fs::read_to_string(format!("/proc/{new}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t")).unwrap();
    assert_eq!(parent, std::process::id().to_string());
    assert_eq!(environment(new, "LISTEN_PID"), Some(new.to_string()));
    assert_eq!(environment(new, "WATCHDOG_PID"), Some(new.to_string()));
    assert_eq!(environment(new, "WATCHDOG_USEC").as_deref(), Some("30000000"));
    assert_eq!(environment(new, "INVOCATION_ID").as_deref(), Some("b7a2"));
    assert_eq!(environment(new, "SYSTEMD_EXEC_PID").as_deref(), Some("1"), "it was never the old process's");
    assert!(environment(new, "NOTIFY_SOCKET").is_some());
}

/// The successor has the old process's standard error, by which it knows that journald listens.
#[test]
fn the_journal_has_an_id_for_each_turn() {
    be_service_manager();
    let (systemd, journald) = (FakeSystemd::with_http(), FakeJournald::new());
    let service = systemd.service(CONFIG).installed().journald(&journald).start();
    let new = reload(&systemd, &service);
    let began = journald.wait_for_id(message_id::RELOAD_BEGAN);
    assert_eq!((began.field("CAUSE"), began.field("PRIORITY")), ("outlive reload", "6"));
    assert_eq!(began.field("PROGRAM"), systemd.path("outlive").to_str().unwrap());
    let done = journald.wait_for_id(message_id::RELOAD_DONE);
    assert_eq!((done.number("GENERATION"), done.field("SUCCESSOR_PID")), (2, new.to_string().as_str()));
    assert!(done.number("DURATION_USEC") > 0);
    assert_eq!(journald.wait_for_id(message_id::OLD_ENDED).number("GENERATION"), 1);

    fs::write(systemd.path("outlive.toml"), "windwo = 1").unwrap();
    rustix::process::kill_process(new, Signal::HUP).unwrap();
    let failed = journald.wait_for_id(message_id::RELOAD_FAILED);
    assert_eq!((failed.field("CAUSE"), failed.field("PRIORITY")), ("SIGHUP", "3"));
    assert!(failed.field("MESSAGE").contains("unknown key `windwo`"), "{failed:?}");
    assert_eq!(service.said(), "", "it is all in the journal");
}

#[test]
fn connections_go_on_in_the_middle_of_whatever_they_are_in() {
    let systemd = FakeSystemd::with_http().unix("local");
    let service = start(&systemd);
    let mut fresh = Client::tcp(systemd.http());
    let mut idle = Client::idle(systemd.http());
    let mut half = Client::tcp(systemd.http());
    half.send("GET /live?live HT");
    let mut second_half = Client::idle(systemd.http());
    second_half.send("GET /live?live HTTP/1.1\r\nHost: te");
    let mut long = Client::tcp(systemd.http());
    let padding = "x".repeat(40_000);
    long.send(&format!("GET /live?live HTTP/1.1\r\nHost: test\r\nPadding: {padding}"));
    let mut local = Client::unix(&systemd.path("local"));
    local.get("/hello");
    let mut busy = Client::asking(systemd.http(), "/slow");
    // All of them have been accepted, and what they have sent was read.
    assert_eq!(Client::tcp(systemd.http()).get("/live?live").generation(), 1);

    reload(&systemd, &service);

    fresh.ask("/live?live");
    half.send("TP/1.1\r\nHost: test\r\n\r\n");
    second_half.send("st\r\n\r\n");
    long.send("\r\n\r\n");
    for client in [&mut fresh, &mut half, &mut second_half, &mut long] {
        let answer = client.answer();
        assert!(!answer.is_last(), "{answer:?}");
        assert_eq!(answer.generation(), 2);
    }
    let slow = busy.answer();
    assert!(slow.body == "slow\n" && !slow.is_last(), "{slow:?}");
    for client in [&mut idle, &mut local, &mut busy, &mut half] {
        assert_eq!(client.get("/live?live").generation(), 2);
    }
    wait_for_only(&systemd, &[service.main_pid()]);
}

#[test]
fn nothing_is_lost_under_load_and_nothing_left_behind() {
    const RELOADS: u64 = 30;
    let systemd = FakeSystemd::with_http();
    let service = start(&systemd);
    let first = reload(&systemd, &service);
    wait_for_only(&systemd, &[first]);
    let (address, over) = (systemd.http(), AtomicBool::new(false));
    let mut opened = 0;
    let answered: u64 = thread::scope(|scope| {
        let over = &over;
        // However this ends, the clients do, too.
        let _over = EndsOnDrop(over);
        let clients: Vec<_> = (0..6)
            .map(|number| {
                scope.spawn(move || {
                    let mut client = Client::tcp(address);
                    let mut answered = 0;
                    while !over.load(Ordering::Relaxed) {
                        if number % 3 == 0 {
                            client = Client::tcp(address);
                        }
                        let answer = client.try_get("/hello").unwrap_or_else(|lost| panic!("after {answered}: {lost}"));
                        assert!(answer.body == "hello\n" && !answer.is_last(), "{answer:?}");
                        answered += 1;
                    }
                    answered
                })
            })
            .collect();
        let idle: Vec<_> = (0..50).map(|_| Client::tcp(address)).collect();
        for _ in 0..RELOADS {
            reload(&systemd, &service);
        }
        for mut client in idle {
            assert_eq!(client.get("/live?live").generation(), RELOADS + 2);
            opened += 1;
        }
        over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    println!("{answered} requests over {RELOADS} reloads, {opened} idle connections");
    assert!(answered > 1000, "only {answered}");
    let last = service.main_pid();
    wait_for_only(&systemd, &[last]);
    // The clients' connections are closed by and by; one more reload begins with none, as the first one did.
    until(SOON, "no connections", || match crate::status(&systemd)["connections"]["open"].as_u64() {
        Some(0) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let compared = reload(&systemd, &service);
    wait_for_only(&systemd, &[compared]);
    // It takes a moment until a process has noticed the end of the one before.
    let few = until(SOON, "the end of the link", || match crate::status(&systemd)["older_processes"].as_u64() {
        Some(0) => Ok(descriptors(compared)),
        other => Err(format!("{other:?}")),
    });
    let again = reload(&systemd, &service);
    wait_for_only(&systemd, &[again]);
    until(SOON, "as few descriptors as before", || match descriptors(again) {
        now if now <= few => Ok(()),
        more => Err(format!("{more}, and {few} before")),
    });
}

/// As users of a process that systemd doesn't run know it.
#[test]
fn without_systemd_it_is_the_same() {
    let systemd = FakeSystemd::new();
    let (service, _client) = by_itself(&systemd);
    let config = fs::read_to_string(systemd.path("outlive.toml")).unwrap();
    fs::write(systemd.path("outlive.toml"), config.replace("listen.http", "listen.web")).unwrap();

    service.signal(Signal::HUP);
    wait_for_end(service.pid());

    // Port 0 stands for any under the same name only.
    let lines = service.wait_for_lines(" Serving ", 2);
    assert!(lines[1].contains(" (web)"), "{}", lines[1]);
    let new = status_pid(&systemd);
    rustix::process::kill_process(new, Signal::TERM).unwrap();
    wait_for_end(new);
}

#[test]
fn a_listener_of_the_configurations_own_stays_open() {
    let systemd = FakeSystemd::new();
    let (service, mut client) = by_itself(&systemd);
    let address = service.address("http");

    service.signal(Signal::HUP);
    wait_for_end(service.pid());

    assert_eq!(client.get("/live?live").generation(), 2, "the connection of before");
    assert_eq!(Client::tcp(address).get("/live?live").generation(), 2, "the address of before");
    let new = status_pid(&systemd);
    rustix::process::kill_process(new, Signal::TERM).unwrap();
    wait_for_end(new);
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody holds the listener open any more");
}

/// Starts a service on a listener of its own, and a client that it has answered.
#[track_caller]
fn by_itself(systemd: &FakeSystemd) -> (Service, Client) {
    be_service_manager();
    let config = format!("{CONFIG}\n[listen.http]\nbind = \"127.0.0.1:0\"\n");
    let service = systemd.service(&config).env("NOTIFY_SOCKET", "").installed().spawn();
    let mut client = Client::tcp(service.address("http"));
    assert_eq!(client.get("/live?live").generation(), 1);
    (service, client)
}

/// Ends the clients, even if the test fails.
pub struct EndsOnDrop<'over>(pub &'over AtomicBool);

impl Drop for EndsOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn status_pid(systemd: &FakeSystemd) -> rustix::process::Pid {
    let pid = crate::status(systemd)["pid"].as_i64().unwrap();
    rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap()
}
