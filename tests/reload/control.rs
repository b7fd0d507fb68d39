//! The control socket, and what the service says of itself over it.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::client::Client;
use crate::support::OUTLIVE;
use crate::support::fake_systemd::FakeSystemd;
use crate::support::wait::{SOON, until};
use crate::{CONFIG, outlive, reload, start, status};

#[test]
fn the_status_tells_what_goes_on() {
    let systemd = FakeSystemd::with_http();
    let service = start(&systemd);
    let _idle = Client::idle(systemd.http());
    let _fresh = Client::tcp(systemd.http());
    let _slow = Client::asking(systemd.http(), "/never");
    let now = until(SOON, "three connections", || {
        let now = status(&systemd);
        let states = ["busy", "idle", "fresh"].map(|state| now["connections"][state].as_u64());
        if states == [Some(1); 3] { Ok(now) } else { Err(now.to_string()) }
    });
    assert_eq!(now["state"], "serving");
    assert_eq!(now["generation"], 1);
    assert_eq!(now["pid"].as_i64(), Some(service.pid().as_raw_nonzero().get().into()));
    assert_eq!(now["connections"]["open"], 3);
    assert_eq!(now["requests"]["running"], 1);
    assert_eq!(now["requests"]["answered"], 1);
    assert_eq!(now["configuration"]["last_good"], false);
    assert!(now["last_handover"].is_null());

    reload(&systemd, &service);
    until(SOON, "a handover of two", || match status(&systemd)["last_handover"]["adopted"].as_u64() {
        Some(2) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let now = status(&systemd);
    assert_eq!(now["last_handover"]["by"], "reload");
    assert_eq!(now["last_handover"]["from_generation"], 1);
    assert_eq!(now["last_handover"]["rejected"], 0);
    let text = outlive(&systemd, &["status"]);
    let text = String::from_utf8(text.stdout).unwrap();
    println!("{text}");
    let folder = systemd.path("").display().to_string();
    assert!(text.lines().all(|line| line.chars().count() <= 80 || line.contains(&folder)), "{text}");
    assert!(text.contains("generation 2") && text.contains("1 older process finishes"), "{text}");
}

#[test]
fn the_socket_is_for_the_owner_only_and_always_there() {
    let systemd = FakeSystemd::with_http();
    let service = start(&systemd);
    let path = systemd.path("run/control");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let now = status(&systemd);
                assert!(now["generation"].as_u64() > Some(0), "{now}");
            }
        });
        let _over = crate::taken_over::EndsOnDrop(&over);
        for _ in 0..5 {
            reload(&systemd, &service);
        }
    });
    assert_eq!(mode(&path), 0o600);
    let names: Vec<_> = std::fs::read_dir(systemd.path("run")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().starts_with("control.")), "{names:?}");
}

#[test]
fn hostile_clients_get_nothing_and_keep_nobody() {
    let systemd = FakeSystemd::with_http();
    let _service = start(&systemd);
    let connect = || {
        let stream = UnixStream::connect(systemd.path("run/control")).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    };
    let silent: Vec<_> = (0..40).map(|_| connect()).collect();
    let mut endless = connect();
    let _ = endless.write_all(&[b'x'; 100_000]);
    let mut unknown = connect();
    unknown.write_all(b"shutdown\n").unwrap();
    let mut answer = String::new();
    unknown.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("there is no request"), "{answer}");
    assert_eq!(status(&systemd)["state"], "serving");
    for mut client in silent {
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        assert!(answer.is_empty());
    }
    // One that asks and never reads.
    let mut deaf = connect();
    deaf.write_all(b"status\n").unwrap();
    assert_eq!(status(&systemd)["state"], "serving");
}

#[test]
fn without_a_service_the_commands_say_so() {
    let systemd = FakeSystemd::with_http();
    for command in ["status", "reload"] {
        let output = outlive(&systemd, &[command]);
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("no service answers at") && told.contains("is it running?"), "{told}");
    }
}

#[test]
fn a_second_service_of_the_same_user_does_not_take_the_first_ones_place() {
    let systemd = FakeSystemd::new();
    let config = format!("{CONFIG}\n[listen.http]\nbind = \"127.0.0.1:0\"\n");
    let by_hand = || {
        let launch = systemd.service(&config).env("RUNTIME_DIRECTORY", "").env("NOTIFY_SOCKET", "");
        let service = launch.env("XDG_RUNTIME_DIR", systemd.path("user").to_str().unwrap()).spawn();
        service.address("http");
        service
    };
    std::fs::create_dir(systemd.path("user")).unwrap();
    let first = by_hand();
    let second = by_hand();
    second.wait_for_line("another service answers there");
    let asked = Command::new(OUTLIVE)
        .args(["status", "--json", "--control"])
        .arg(systemd.path("user/outlive/control"))
        .output()
        .unwrap();
    let now: serde_json::Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert_eq!(now["pid"].as_i64(), Some(first.pid().as_raw_nonzero().get().into()));
}
