//! `examples/user_unit`, by hand. (`tests/system/user.rs` has it as a service.)

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::demonstration::Demonstration;
use crate::support::client::Connection;
use crate::support::example::Example;
use crate::support::wait::{SOON, until};

/// What `ExecReload=` runs.
fn reload(program: &Path, place: &str) -> Output {
    Command::new(program).arg("reload").env("XDG_RUNTIME_DIR", place).output().unwrap()
}

/// Whoever asks is told the outcome: a program that can't start has changed nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_has_an_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let place = at("run").to_str().unwrap().to_owned();
    let (program, source) = (at("hello"), at("main.rs"));
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/user_unit/src/main.rs")).unwrap();
    assert!(text.contains("127.0.0.1:8080") && text.contains("    let app = "));
    let text = text.replace("127.0.0.1:8080", "127.0.0.1:0");
    let example = Example::build("axum");
    fs::write(&source, &text).unwrap();
    example.rebuild(&source, &program);
    fs::write(&source, text.replace("    let app = ", "    panic!(\"no database\");\n    let app = ")).unwrap();
    example.rebuild(&source, &at("broken"));
    fs::copy(&program, at("good")).unwrap();

    let alone = reload(&program, &place);
    assert_eq!(alone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&alone.stderr).starts_with("Error: no service answers at "), "{alone:?}");

    let mut hello = Demonstration::start(&program, &[("XDG_RUNTIME_DIR", &place)]);
    let mut connection = Connection::open(hello.address("http")).await.unwrap();
    let first = connection.get("/").await.unwrap().text().to_owned();
    assert_eq!(first, format!("hello from process {}\n", hello.pid()));

    fs::rename(at("broken"), &program).unwrap();
    let failed = reload(&program, &place);
    let why = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(why.starts_with("Error: the reload has failed, and nothing has changed: ") && why.contains("no database"));
    assert_eq!(failed.status.code(), Some(1));
    assert_eq!(connection.get("/").await.unwrap().text(), first);

    fs::rename(at("good"), &program).unwrap();
    let reloaded = reload(&program, &place);
    assert!(reloaded.status.success(), "{reloaded:?}");
    assert_eq!(hello.wait().code(), Some(0));
    let second = connection.get("/").await.unwrap().text().to_owned();
    let successor = second.trim_end().rsplit(' ').next().and_then(|pid| Pid::from_raw(pid.parse().unwrap())).unwrap();
    assert_ne!(successor, hello.pid());
    kill_process(successor, Signal::TERM).unwrap();
    let ended =
        until(SOON, "its end", || waitpid(Some(successor), WaitOptions::NOHANG).unwrap().ok_or_else(|| hello.said()));
    assert_eq!(ended.1.exit_status(), Some(0));
}

/// A person at a terminal reads why it doesn't start once.
#[test]
fn a_failed_start_is_said_once() {
    let theirs = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = theirs.local_addr().unwrap().to_string();
    let example = Example::build("graceful_shutdown").program;
    let output = Command::new(example).env("ADDR", &address).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.starts_with(&format!("Error: cannot listen on {address} (listener \"http\"): ")), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(output.status.code(), Some(1));
}
