//! A start with a broken configuration.

use std::fs;

use rustix::process::Signal;

use crate::client::Client;
use crate::support::fake_systemd::FakeSystemd;
use crate::support::service::Service;
use crate::{CONFIG, outlive, reload, start, status};

const BROKEN: &str = "[drain]\nwindwo = \"1s\"\n";

/// Starts with a configuration and a folder for the state.
fn launch(systemd: &FakeSystemd, config: &str) -> Service {
    crate::be_service_manager();
    fs::create_dir_all(systemd.path("state")).unwrap();
    systemd.service(config).installed().env("STATE_DIRECTORY", systemd.path("state").to_str().unwrap()).spawn()
}

/// Serves a configuration until it has been kept.
fn serve_once(systemd: &FakeSystemd, config: &str) {
    let mut service = launch(systemd, config);
    service.wait_for("READY=1");
    crate::support::wait::until(crate::support::wait::SOON, "what is kept", || {
        let kept = fs::read_to_string(systemd.path("state/last-good-configuration.json")).unwrap_or_default();
        if kept.contains("format") { Ok(()) } else { Err(kept) }
    });
    service.signal(Signal::TERM);
    assert_eq!(service.wait_for_exit().code(), Some(0));
}

#[test]
fn the_last_good_one_is_served_loudly() {
    let systemd = FakeSystemd::with_http();
    fs::create_dir(systemd.path("outlive.toml.d")).unwrap();
    fs::write(systemd.path("outlive.toml.d/a.toml"), "[[route]]\npath = \"/part\"\nrespond.body = \"part\\n\"\n")
        .unwrap();
    serve_once(&systemd, CONFIG);
    fs::remove_dir_all(systemd.path("outlive.toml.d")).unwrap();

    let service = launch(&systemd, BROKEN);
    service.wait_for("READY=1");

    let mut client = Client::tcp(systemd.http());
    assert_eq!(client.get("/hello").body, "hello\n");
    assert_eq!(client.get("/part").body, "part\n", "all parts of it were kept");
    let line = service.wait_for_line("The configuration is broken, so the last good one is served");
    assert!(line.contains("ERROR") && line.contains("unknown key `windwo`"), "{line}");
    service.wait_until("a status that says so", |sent| {
        let told = |text: &str| text.contains("last good configuration") && text.contains("outlive.toml:2:1");
        sent.iter().filter_map(|n| n.get("STATUS")).any(told).then_some(())
    });
    let now = status(&systemd);
    assert_eq!(now["configuration"]["last_good"], true);
    assert!(now["configuration"]["problem"].as_str().unwrap().contains("windwo"), "{now}");
    let text = String::from_utf8(outlive(&systemd, &["status"]).stdout).unwrap();
    assert!(text.contains("the last good one, of "), "{text}");

    // It is no reason to forget what is good, and a reload with the broken one is refused.
    assert_eq!(outlive(&systemd, &["reload"]).status.code(), Some(1));
    assert_eq!(client.get("/hello").body, "hello\n");
    // A mended one is served again.
    fs::write(systemd.path("outlive.toml"), CONFIG.replace("hello\\n", "mended\\n")).unwrap();
    reload(&systemd, &service);
    assert_eq!(client.get("/hello").body, "mended\n");
    assert_eq!(status(&systemd)["configuration"]["last_good"], false);
}

#[test]
fn strict_forbids_it_even_in_a_broken_file() {
    let systemd = FakeSystemd::with_http();
    serve_once(&systemd, CONFIG);
    let mut service = launch(&systemd, &format!("strict = true\n{BROKEN}"));
    assert_eq!(service.wait_for_exit().code(), Some(78));
    service.wait_for("ERRNO=22");
}

#[test]
fn strict_of_the_last_good_one_counts_where_the_broken_one_says_nothing() {
    let systemd = FakeSystemd::with_http();
    serve_once(&systemd, &format!("strict = true\n{CONFIG}"));
    let mut service = launch(&systemd, BROKEN);
    assert_eq!(service.wait_for_exit().code(), Some(78));
    // And the broken one may take it back.
    let service = launch(&systemd, &format!("strict = false\n{BROKEN}"));
    service.wait_for("READY=1");
}

#[test]
fn without_a_last_good_one_a_broken_one_ends_the_start() {
    let systemd = FakeSystemd::with_http();
    let mut service = launch(&systemd, BROKEN);
    assert_eq!(service.wait_for_exit().code(), Some(78));
    service.wait_for_line("can't take the place of the broken one");
}

#[test]
fn a_configuration_that_was_reloaded_is_the_last_good_one() {
    let systemd = FakeSystemd::with_http();
    let service = launch(&systemd, CONFIG);
    service.wait_for("READY=1");
    fs::write(systemd.path("outlive.toml"), CONFIG.replace("hello\\n", "reloaded\\n")).unwrap();
    let successor = reload(&systemd, &service);
    crate::support::wait::until(crate::support::wait::SOON, "what is kept", || {
        let kept = fs::read_to_string(systemd.path("state/last-good-configuration.json")).unwrap_or_default();
        if kept.contains("reloaded") { Ok(()) } else { Err(kept) }
    });
    rustix::process::kill_process(successor, Signal::TERM).unwrap();
    crate::wait_for_end(successor);

    let next = launch(&systemd, BROKEN);
    next.wait_for("READY=1");
    assert_eq!(Client::tcp(systemd.http()).get("/hello").body, "reloaded\n");
}

#[test]
fn without_a_folder_for_the_state_all_is_as_it_was() {
    let systemd = FakeSystemd::with_http();
    let mut service = start(&systemd);
    service.signal(Signal::TERM);
    assert_eq!(service.wait_for_exit().code(), Some(0));
    let mut service = systemd.service(BROKEN).spawn();
    assert_eq!(service.wait_for_exit().code(), Some(78));
}
