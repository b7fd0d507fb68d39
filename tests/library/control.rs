//! A program that asks its own service.

use std::path::Path;
use std::process::Command;

use outlive::{Control, ControlError, Server};
use serde_json::Value;

use crate::reload::{ByHand, be_service_manager};
use crate::support::client::Connection;
use crate::support::fake_systemd::{FakeSystemd, is_service};
use crate::{end, exit, hello, pid, program};

#[tokio::test(flavor = "multi_thread")]
async fn reload_waits_for_the_next_process() {
    if is_service() {
        exit(Server::new().serve(pid).await);
    }
    be_service_manager();
    let systemd = FakeSystemd::with_http();
    let service = program(&systemd, "control::reload_waits_for_the_next_process");
    let mut client = Connection::open(systemd.http()).await.unwrap();
    assert_eq!(client.get("/").await.unwrap().text(), service.pid().to_string());

    let control = Control::at(systemd.path("run/control"));
    let told = tokio::task::block_in_place(|| control.reload()).unwrap();

    let successor = service.wait_for_successor(1).to_string();
    assert!(told.starts_with(&format!("process {successor} (generation 2) has taken over within ")), "{told}");
    assert_eq!(client.get("/").await.unwrap().text(), successor);
}

#[test]
fn reload_says_why_nothing_has_changed() {
    if is_service() {
        let server = Server::new();
        if server.is_successor() {
            exit(Err(server.fail("the database is gone")));
        }
        exit(server.run(hello));
    }
    be_service_manager();
    let systemd = FakeSystemd::with_http();
    let service = program(&systemd, "control::reload_says_why_nothing_has_changed");
    let error = Control::at(systemd.path("run/control")).reload().unwrap_err();
    assert!(matches!(&error, ControlError::NotReloaded { reason } if reason == "the database is gone"), "{error:?}");
    assert_eq!(error.to_string(), "the reload has failed, and nothing has changed: the database is gone");
    let error = outlive::Error::from(error);
    assert_eq!(format!("{error:?}"), error.to_string(), "a main that returns it prints a sentence");
    end(service);
}

#[test]
fn the_status_is_for_people_and_for_programs() {
    if is_service() {
        exit(Server::new().describe("greetings").run(hello));
    }
    let systemd = FakeSystemd::with_http();
    let service = program(&systemd, "control::the_status_is_for_people_and_for_programs");
    let status = Control::at(systemd.path("run/control")).status().unwrap();
    let json: Value = serde_json::from_str(&status.to_json()).unwrap();
    assert_eq!(json["pid"], service.pid().as_raw_nonzero().get());
    assert_eq!((&json["state"], &json["generation"]), (&"serving".into(), &1.into()));
    let name = std::env::current_exe().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(json["program"], *name);
    let text = status.to_string();
    assert!(
        text.starts_with(&format!("{name} on outlive ")) && text.contains("(generation 1)") && !text.ends_with('\n'),
        "{text}"
    );
    end(service);
}

#[test]
fn nobody_is_there() {
    let error = Control::at("/nowhere/control").status().unwrap_err();
    assert!(matches!(&error, ControlError::Unreachable { path, .. } if path == Path::new("/nowhere/control")));
    assert!(error.to_string().contains("is it running?"), "{error}");
}

/// Each has its socket under its own name, and finds it there.
#[test]
fn programs_of_one_user_are_not_in_each_others_way() {
    const TEST: &str = "control::programs_of_one_user_are_not_in_each_others_way";
    const ASKS: &str = "OUTLIVE_TEST_ASKS";
    if is_service() {
        exit(Server::new().bind("http", "127.0.0.1:0").journal().run(hello));
    }
    if std::env::var_os(ASKS).is_some() {
        return println!("{}", Control::new().status().unwrap().to_json());
    }
    let (folder, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let place = place.path().to_str().unwrap();
    let programs = ["ann", "ben"].map(|name| {
        let program = folder.path().join(name);
        std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &program).unwrap();
        let running = ByHand::start(&program, TEST, place);
        (program, running)
    });
    for (program, running) in &programs {
        let mut asks = Command::new(program);
        asks.args(["--exact", TEST, "--nocapture"]).env(ASKS, "1").env("XDG_RUNTIME_DIR", place);
        let told = String::from_utf8(asks.output().unwrap().stdout).unwrap();
        assert!(told.contains(&format!("\"pid\": {},", running.child.id())), "{told}");
    }
}
