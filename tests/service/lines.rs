//! Lines on standard error, for people and for whatever collects them.

use std::fs::File;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::CONFIG;
use crate::support::client;
use crate::support::fake_systemd::FakeSystemd;

#[tokio::test]
async fn one_an_event_in_order_and_without_colours() {
    let systemd = FakeSystemd::with_http();
    let mut service = systemd.start(&format!("[log]\naccess = \"all\"\n{CONFIG}"));
    client::get(systemd.http(), "/hello?query").await.unwrap();
    client::get(systemd.http(), "/nowhere").await.unwrap();
    service.signal(Signal::TERM);
    assert_eq!(service.wait_for_exit().code(), Some(0));
    let said = service.said();
    assert!(!said.contains('\x1b'), "{said}");
    let mut events = said.lines().map(event);
    for (level, text) in [
        (" INFO ", "Serving 2 routes on "),
        (" INFO ", " GET /hello: 200, 6 bytes in "),
        (" INFO ", " GET /nowhere: 404, 10 bytes in "),
        (" INFO ", "SIGTERM: draining 0 requests and "),
        (" INFO ", "Drained: settled in "),
    ] {
        assert!(events.any(|event| event.starts_with(level) && event.contains(text)), "{text:?} in {said}");
    }
}

/// What follows the time, which is in RFC 3339.
#[track_caller]
fn event(line: &str) -> &str {
    let (time, event) = line.split_once("Z ").unwrap_or_else(|| panic!("no time: {line}"));
    assert!(time.len() == 26 && time.as_bytes()[10] == b'T', "{line}");
    event
}

/// A C1 control character, which some terminals obey, and one that turns the direction of what follows: both may stand
/// in a request's target, as far as its parser is concerned.
#[tokio::test]
async fn nothing_that_a_client_sends_does_anything_to_a_terminal() {
    let systemd = FakeSystemd::with_http();
    let service = systemd.start(&format!("[log]\naccess = \"all\"\n{CONFIG}"));
    for (path, shown) in [("/csi\u{9b}31m", "/csi\\u{9b}31m"), ("/override\u{202e}", "/override\\u{202e}")] {
        let mut stream = TcpStream::connect(systemd.http()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        service.wait_for_line(&format!(" GET {shown}: 404, "));
    }
}

#[test]
fn a_terminal_gets_colours_unless_it_does_not_want_them() {
    let systemd = FakeSystemd::new();
    std::fs::write(systemd.path("broken.toml"), "[drain]\nwindwo = 1\n").unwrap();
    let run = |variable: &str| {
        let command =
            format!("{variable} {} --config {}", crate::support::OUTLIVE, systemd.path("broken.toml").display());
        // script(1) runs it on a terminal.
        let output = Command::new("script")
            .args(["--quiet", "--return", "--command", &command, "/dev/null"])
            .env_remove("NO_COLOR")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let coloured = run("");
    assert!(coloured.contains("\x1b[") && coloured.contains("unknown key `windwo`"), "{coloured:?}");
    let plain = run("NO_COLOR=1");
    assert!(!plain.contains('\x1b'), "{plain:?}");
    assert_eq!(plain.matches("unknown key").count(), 1, "it is said once: {plain}");
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_nobody_up() {
    let systemd = FakeSystemd::with_http();
    let pipe = systemd.path("pipe");
    let redirect = format!("mkfifo {0}; exec 2<>{0}", pipe.display());
    let config = format!("[log]\naccess = \"all\"\n{CONFIG}");
    let mut service = systemd.service(&config).prepare(&redirect).start();
    let mut stream = TcpStream::connect(systemd.http()).await.unwrap();
    // A pipe has room for 64 KiB.
    for _ in 0..30 {
        let began = Instant::now();
        stream.write_all("GET /hello HTTP/1.1\r\nHost: t\r\n\r\n".repeat(100).as_bytes()).await.unwrap();
        let mut answers = Vec::new();
        while answers.windows(6).filter(|bytes| bytes == b"hello\n").count() < 100 {
            assert!(stream.read_buf(&mut answers).await.unwrap() > 0, "closed");
        }
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    }
    drop(stream);
    service.signal(Signal::TERM);
    assert_eq!(service.wait_for_exit_within(Duration::from_secs(8)).code(), Some(0));
}

#[tokio::test]
async fn a_reader_that_has_gone_does_no_harm() {
    let systemd = FakeSystemd::with_http();
    let pipe = systemd.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let redirect = format!("exec 2>{}", pipe.display());
    let mut service = systemd.service(CONFIG).prepare(&redirect).spawn();
    let reader = File::open(&pipe).unwrap();
    service.wait_for("READY=1");
    drop(reader);
    for _ in 0..3 {
        service.signal(Signal::USR1);
        assert_eq!(client::get(systemd.http(), "/hello").await.unwrap().text(), "hello\n");
    }
    service.signal(Signal::TERM);
    assert_eq!(service.wait_for_exit().code(), Some(0));
}
