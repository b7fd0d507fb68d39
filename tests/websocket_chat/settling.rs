//! A connection that is upgraded while a drain settles, when a copy of it lies in the store already: what the store says
//! of it has to change twice.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use outlive::upgrade::Connection;
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::OUTLIVE;
use crate::support::fake_systemd::{FakeSystemd, is_service};
use crate::support::service::Service;
use crate::support::wait::{SOON, until};

/// How long `/slow` takes, and with it the settling: long enough for the rest of the test, on a busy machine too.
const SLOW: Duration = Duration::from_secs(5);

/// Numbers every byte, from one process to the next.
async fn number(mut connection: Connection, mut number: u8) {
    let leave = connection.leave();
    let mut byte = [0];
    loop {
        tokio::select! {
            read = connection.read(&mut byte) => if !matches!(read, Ok(1)) { return },
            () = leave.due() => break,
        }
        number += 1;
        connection.write_all(&[number]).await.unwrap();
    }
    connection.hand_over("number", &[number]).await.unwrap();
}

async fn answer(mut request: Request<outlive::Body>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::default());
    match request.uri().path() {
        "/slow" => tokio::time::sleep(SLOW).await,
        "/number" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move { number(upgrade.await.unwrap().try_into().unwrap(), 0).await });
            *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
            answer.headers_mut().insert(UPGRADE, HeaderValue::from_static("numbers"));
        }
        _ => {}
    }
    answer
}

fn serve() {
    let server =
        outlive::Server::new().upgraded("number", async |connection, state| number(connection, state[0]).await);
    server.journal().run(answer).unwrap();
}

#[track_caller]
fn start(systemd: &FakeSystemd) -> Service {
    systemd.service("").test("settling::a_copy_of_it_is_kept_true").start()
}

struct Client(TcpStream);

impl Client {
    #[track_caller]
    fn connect(systemd: &FakeSystemd) -> Self {
        let stream = TcpStream::connect(systemd.http()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self(stream)
    }

    #[track_caller]
    fn ask(&mut self, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: numbers\r\n\r\n");
        self.0.write_all(request.as_bytes()).unwrap();
    }

    /// The status of the answer.
    #[track_caller]
    fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        String::from_utf8(head).unwrap()[9..12].to_owned()
    }

    #[track_caller]
    fn next_number(&mut self) -> u8 {
        let mut byte = [0];
        self.0.write_all(b"x").unwrap();
        self.0.read_exact(&mut byte).unwrap();
        byte[0]
    }
}

/// How many requests run.
#[track_caller]
fn running(systemd: &FakeSystemd) -> Option<u64> {
    let mut status = Command::new(OUTLIVE);
    status.args(["status", "--json"]).env_clear().env("RUNTIME_DIRECTORY", systemd.path("run"));
    let status: Value = serde_json::from_slice(&status.output().unwrap().stdout).unwrap();
    status["requests"]["running"].as_u64()
}

/// The states of the records in the ledger that is kept: 0 waits, 1 is busy.
#[track_caller]
fn states(systemd: &FakeSystemd) -> Vec<u8> {
    let kept = systemd.store.duplicates();
    let Some((_, ledger)) = kept.iter().find(|(name, _)| name.contains("ledger")) else { return Vec::new() };
    let mut deposited = [0; 4];
    rustix::io::pread(ledger, &mut deposited, 12).unwrap();
    let state = |slot: u32| {
        let mut state = [0];
        rustix::io::pread(ledger, &mut state, 65_536 + u64::from(slot) * 64 + 7).unwrap();
        state[0]
    };
    (0..u32::from_le_bytes(deposited)).map(state).collect()
}

#[track_caller]
fn wait_for_states(systemd: &FakeSystemd, wanted: &[u8]) {
    until(SOON, &format!("records that say {wanted:?}"), || match states(systemd) {
        states if states == wanted => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn a_copy_of_it_is_kept_true() {
    if is_service() {
        return serve();
    }
    let systemd = FakeSystemd::with_http().keeping(64);
    let mut first = start(&systemd);
    let mut client = Client::connect(&systemd);
    client.ask("/");
    assert_eq!(client.head(), "200");
    let mut slow = Client::connect(&systemd);
    slow.ask("/slow");
    until(SOON, "the slow request to run", || match running(&systemd) {
        Some(1) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    first.signal(Signal::TERM);
    wait_for_states(&systemd, &[0]);

    client.ask("/number");
    assert_eq!(client.head(), "101");
    wait_for_states(&systemd, &[1]);
    assert_eq!([client.next_number(), client.next_number()], [1, 2]);
    assert_eq!(slow.head(), "200");
    assert_eq!(first.wait_for_exit().code(), Some(0), "{}", first.story());

    let _next = start(&systemd);
    assert_eq!(client.next_number(), 3);
}
