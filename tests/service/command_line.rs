//! The command line: words in, exit status out.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use rustix::process::{Pid, Signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::CONFIG;
use crate::support::OUTLIVE;
use crate::support::client;
use crate::support::fake_systemd::FakeSystemd;

fn outlive(arguments: &[&str]) -> Output {
    Command::new(OUTLIVE).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn help_documents_commands_statuses_and_signals() {
    for help in [&["--help"][..], &["-h"], &["help"]] {
        let output = outlive(help);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(text(&output.stderr), "");
        let said = text(&output.stdout);
        for part in [
            "Usage: outlive [OPTIONS] [COMMAND]",
            " Serve; this is what happens without a command\n",
            " Say whether the configuration can be served, ",
            "  -c, --config <FILE>",
            "   0  ended as asked, and no request was cut\n",
            "   1  could not start, or requests were cut at the end of a drain\n",
            "  64  the command line is wrong\n",
            "  78  the configuration is wrong\n",
            "  SIGTERM, SIGINT ",
            "/etc/outlive/outlive.toml ",
        ] {
            assert!(said.contains(part), "{part:?} in {said}");
        }
    }
}

#[test]
fn the_version_has_the_commit() {
    let output = outlive(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    let said = text(&output.stdout).trim_end();
    let (version, commit) = said.split_once(" (").unwrap_or_else(|| panic!("{said}"));
    assert_eq!(version, concat!("outlive ", env!("CARGO_PKG_VERSION")));
    let commit = commit.strip_suffix(')').unwrap();
    assert!(commit.len() >= 10 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{said}");
}

#[test]
fn what_it_does_not_know_is_64() {
    for (arguments, word) in [
        (&["restart"][..], "restart"),
        (&["--colour"], "--colour"),
        (&["check", "more"], "more"),
        (&["--config"], "--config"),
        (&["serve", "--config", "a", "--config", "b"], "--config"),
    ] {
        let output = outlive(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(text(&output.stderr).contains(word), "{output:?}");
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn check_says_what_it_comes_to_or_what_is_wrong() {
    let systemd = FakeSystemd::new();
    let (good, bad) = (systemd.path("good.toml"), systemd.path("bad.toml"));
    let good = good.to_str().unwrap();
    fs::write(good, "[listen.http]\nbind = \"127.0.0.1:0\"\n[[route]]\npath = \"/\"\nwelcome = {}\n").unwrap();
    fs::write(&bad, "[drain]\nwindow = \"1h\"\nsetle = \"1s\"\n").unwrap();
    let said = format!("The configuration ({good}) is valid: 1 route on 1 listener\n");
    for arguments in [["check", "--config", good], ["--config", good, "check"], ["-c", good, "check"]] {
        let output = outlive(&arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!((text(&output.stdout), text(&output.stderr)), (said.as_str(), ""));
    }

    let bad = bad.to_str().unwrap();
    let output = outlive(&["check", "--config", bad]);
    assert_eq!(output.status.code(), Some(78));
    let said = format!(
        "error: unknown key `setle` in [drain]\n --> {bad}:3:1\n  |\n3 | setle = \"1s\"\n  | ^^^^^\n  |\n  = help: did you mean \
         `settle`?\n\n1 problem in {bad}\n"
    );
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("", said.as_str()));
}

#[test]
fn a_configuration_that_cannot_be_read_is_78() {
    let systemd = FakeSystemd::new();
    let missing = systemd.path("missing.toml");
    for (path, words) in [
        (missing.as_path(), "doesn't exist"),
        (Path::new("/"), "is a folder"),
        (Path::new("/etc/passwd/outlive.toml"), "is no folder, or lies below a file"),
    ] {
        for command in ["check", "serve"] {
            let output = outlive(&[command, "--config", path.to_str().unwrap()]);
            assert_eq!(output.status.code(), Some(78), "{output:?}");
            let said = text(&output.stderr);
            assert!(said.contains(path.to_str().unwrap()) && said.contains(words), "{said}");
        }
    }
}

/// `outlive check | head -0`, say.
#[test]
fn nobody_need_listen() {
    let systemd = FakeSystemd::new();
    let bad = systemd.path("bad.toml");
    fs::write(&bad, "nonsense").unwrap();
    for (arguments, expected) in [
        (&["check", "--config", bad.to_str().unwrap()][..], 78),
        (&["serve", "--config", bad.to_str().unwrap()], 78),
        (&["nonsense"], 64),
        (&["--help"], 0),
    ] {
        let mut child = Command::new("sh")
            .args(["-c", r#"read go; exec "$0" "$@""#, OUTLIVE])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(expected), "{arguments:?}");
    }
}

#[tokio::test]
async fn serve_is_what_it_does_without_a_word() {
    let systemd = FakeSystemd::with_http();
    let path = systemd.path("outlive.toml");
    let path = path.to_str().unwrap();
    for arguments in [&["--config", path][..], &["serve", "-c", path], &["-c", path, "serve"]] {
        let mut service = systemd.service(CONFIG).arguments(arguments).start();
        assert_eq!(client::get(systemd.http(), "/hello").await.unwrap().text(), "hello\n");
        service.signal(Signal::TERM);
        assert_eq!(service.wait_for_exit().code(), Some(0));
    }
}

/// As `cargo run` does it on a machine where nothing is installed.
#[test]
fn without_any_configuration_it_shows_a_page() {
    let systemd = FakeSystemd::new();
    let service = systemd.service("").own_network().hide("/etc/outlive").arguments(&[]).start();
    service.wait_for_line(" INFO Serving 2 routes on 127.0.0.1:8080 (http) with ");
    service.wait_for_line(", configuration: built in, ");
    let answer = in_network_of(service.pid(), || {
        let mut stream = TcpStream::connect("127.0.0.1:8080").unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/html") && answer.contains("<!doctype html>"), "{answer}");
}

/// Runs something in the network of a process.
fn in_network_of<T: Send + 'static>(process: Pid, run: impl FnOnce() -> T + Send + 'static) -> T {
    let network = fs::File::open(format!("/proc/{process}/ns/net")).unwrap();
    let inside = thread::spawn(move || {
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&network), Some(LinkNameSpaceType::Network)).unwrap();
        run()
    });
    inside.join().unwrap()
}
