//! A successor that can't serve: the old process goes on as if nothing had been, and says why.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::client::Client;
use crate::support::fake_systemd::FakeSystemd;
use crate::support::service::Service;
use crate::support::{OUTLIVE, wait};
use crate::{CONFIG, be_service_manager, outlive, reload, start, status, wait_for_end, wait_for_only};

/// Reloads in vain. The reason must be told everywhere.
#[track_caller]
fn fails(systemd: &FakeSystemd, service: &Service, reasons: &[&str]) {
    let mut client = Client::tcp(systemd.http());
    let generation = client.get("/live?live").generation();
    let main = service.main_pid();

    let output = outlive(systemd, &["reload"]);

    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    for reason in reasons {
        assert!(told.contains(reason), "{reason:?} in {told:?}");
    }
    let line = service.wait_for_line(reasons[0]);
    assert!(line.contains("ERROR") && line.contains("the reload has failed, and nothing has changed"), "{line}");
    // Not reloading any more, as far as systemd is concerned.
    let first_line = told.lines().next().unwrap().to_owned();
    service.wait_until("READY=1 after RELOADING=1", |sent| {
        let reloading = sent.iter().rposition(|n| n.get("RELOADING") == Some("1"))?;
        let ready = sent[reloading..].iter().find(|n| n.get("READY") == Some("1"))?;
        assert!(ready.get("STATUS")?.contains(&first_line), "{first_line:?} in {ready:?}");
        Some(())
    });
    assert_eq!(status(systemd)["state"], "serving");
    assert!(status(systemd)["last_failed_reload"]["reason"].as_str().unwrap().contains(reasons[0]));
    assert_eq!(service.main_pid(), main);
    assert_eq!(client.get("/live?live").generation(), generation);
    wait_for_only(systemd, &[main]);
}

#[test]
fn a_broken_configuration_is_refused_in_the_successors_own_words() {
    let systemd = FakeSystemd::with_http();
    let service = start(&systemd);
    fs::write(systemd.path("outlive.toml"), "[drain]\nwindwo = \"1s\"\n").unwrap();
    fails(&systemd, &service, &["outlive.toml:2:1: unknown key `windwo` in [drain]", "did you mean `window`?"]);

    // And a mended one is taken, with the next number.
    fs::write(systemd.path("outlive.toml"), CONFIG).unwrap();
    reload(&systemd, &service);
    assert_eq!(Client::tcp(systemd.http()).get("/live?live").generation(), 2);
}

#[test]
fn an_address_that_cannot_be_bound_is_a_reason() {
    let systemd = FakeSystemd::with_http();
    let service = start(&systemd);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    fs::write(systemd.path("outlive.toml"), format!("{CONFIG}\n[listen.more]\nbind = \"{address}\"\n")).unwrap();
    fails(&systemd, &service, &["cannot listen on"]);
}

#[test]
fn a_program_that_is_missing_is_a_reason() {
    let systemd = FakeSystemd::with_http();
    let service = start(&systemd);
    fs::remove_file(systemd.path("outlive")).unwrap();
    let program = systemd.path("outlive").display().to_string();
    fails(&systemd, &service, &[&format!("cannot run {program}: No such file or directory")]);
}

#[test]
fn a_program_that_is_none_is_a_reason() {
    let systemd = FakeSystemd::with_http();
    let service = start(&systemd);
    fs::write(systemd.path("text"), "not a program").unwrap();
    systemd.install(&systemd.path("text"));
    let program = systemd.path("outlive").display().to_string();
    fails(&systemd, &service, &[&format!("cannot run {program}: it is no program for this machine")]);
    let mut foreign = fs::read(OUTLIVE).unwrap();
    foreign.truncate(64);
    foreign[18] ^= 0xff;
    fs::write(systemd.path("foreign"), foreign).unwrap();
    systemd.install(&systemd.path("foreign"));
    fails(&systemd, &service, &["no program for this machine"]);
    systemd.install_script("exit 1");
    fs::set_permissions(systemd.path("script"), fs::Permissions::from_mode(0o644)).unwrap();
    fails(&systemd, &service, &["Permission denied"]);
}

/// As a program that was built for a newer system: the dynamic loader complains, not the program.
#[test]
fn what_a_program_says_to_standard_error_is_a_reason() {
    let systemd = FakeSystemd::with_http();
    let service = start(&systemd);
    systemd.install_script("echo \"$0: /lib/libc.so.6: version 'GLIBC_9.99' not found\" >&2; exit 1");
    fails(&systemd, &service, &["version 'GLIBC_9.99' not found"]);
}

#[test]
fn a_crash_is_a_reason() {
    let systemd = FakeSystemd::with_http();
    let service = start(&systemd);
    systemd.install_script("kill -SEGV $$");
    fails(&systemd, &service, &["ended before it was ready"]);
    systemd.install(OUTLIVE.as_ref());
    reload(&systemd, &service);
}

#[test]
fn a_successor_that_is_too_slow_is_ended() {
    let systemd = FakeSystemd::with_http();
    be_service_manager();
    let config = format!("{CONFIG}\n[reload]\nready_timeout = \"300ms\"\n");
    let service = systemd.service(&config).installed().start();
    systemd.install_script("sleep 1000 & trap 'kill $!; exit' TERM; echo thinking >&2; wait");
    let asked = Instant::now();
    fails(&systemd, &service, &["was not ready within 0.3 s", "it wrote: thinking"]);
    assert!(asked.elapsed() >= Duration::from_millis(300));
}

#[test]
fn one_that_does_not_heed_sigterm_is_killed() {
    let systemd = FakeSystemd::with_http();
    be_service_manager();
    let config = format!("{CONFIG}\n[reload]\nready_timeout = \"300ms\"\n");
    let service = systemd.service(&config).installed().start();
    systemd.install_script("trap '' TERM; while :; do :; done");
    fails(&systemd, &service, &["was not ready within"]);
}

#[test]
fn a_second_reload_during_a_first_is_refused() {
    let systemd = FakeSystemd::with_http();
    let service = start(&systemd);
    // It serves as soon as the test lets it.
    let gate = systemd.path("gate").display().to_string();
    systemd.install_script(&format!(
        ": >{gate}.reached; while ! [ -e {gate} ]; do sleep 0.01; done; exec {OUTLIVE} \"$@\""
    ));
    service.signal(Signal::HUP);
    wait::until(wait::SOON, "the successor", || {
        if systemd.path("gate.reached").exists() { Ok(()) } else { Err("not there".to_owned()) }
    });
    assert_eq!(status(&systemd)["state"], "reloading");

    let second = outlive(&systemd, &["reload"]);

    assert_eq!(second.status.code(), Some(1));
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(told.contains("a reload is running already"), "{told}");
    service.signal(Signal::HUP);
    service.wait_for_lines("a reload is running already", 2);
    // The first is not disturbed.
    fs::write(systemd.path("gate"), "").unwrap();
    service.wait_for_successor(1);
    let mut client = Client::tcp(systemd.http());
    wait::until(wait::SOON, "the successor's answer", || match client.get("/live?live").generation() {
        2 => Ok(()),
        other => Err(other.to_string()),
    });
}

#[test]
fn a_stop_during_a_reload_ends_both() {
    let systemd = FakeSystemd::with_http();
    let mut service = start(&systemd);
    let named = systemd.path("successor");
    systemd.install_script(&format!("echo $$ >{0}.new; mv {0}.new {0}; exec sleep 1000", named.display()));
    service.signal(Signal::HUP);
    let successor =
        wait::until(wait::SOON, "the successor", || fs::read_to_string(&named).map_err(|error| error.to_string()));
    let successor = Pid::from_raw(successor.trim().parse().unwrap()).unwrap();

    service.signal(Signal::TERM);

    assert_eq!(service.wait_for_exit().code(), Some(0));
    wait_for_end(successor);
    service.wait_for_line("the reload has failed, and nothing has changed: the service ends");
}
