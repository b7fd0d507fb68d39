//! Which requests get an entry, what it says and doesn't say, and the ids of requests.

use std::time::Duration;

use http_body_util::Empty;
use hyper::Request;
use outlive::entries;
use outlive::journal::message_id;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::client::{Answer, Connection, Failure};
use crate::support::fake_journald::FakeJournald;
use crate::support::fake_systemd::FakeSystemd;
use crate::support::journal::Entry;
use crate::support::service::Service;

const ROUTES: &str = r#"
[drain]
window = "1s"

[[route]]
path = "/hello"
respond = { body = "hello\n" }

[[route]]
path = "/broken"
respond = { status = 500, body = "broken\n" }

[[route]]
path = "/slow"
respond = { body = "slow\n", delay = "300ms" }

[[route]]
path = "/never"
respond = { delay = "1min" }
"#;

/// A service with a `[log]` section, and the journald that it writes to.
struct Logging {
    systemd: FakeSystemd,
    journald: FakeJournald,
    service: Service,
}

impl Logging {
    #[track_caller]
    fn start(log: &str) -> Self {
        let (systemd, journald) = (FakeSystemd::with_http(), FakeJournald::new());
        let service = systemd.service(&format!("[log]\n{log}\n{ROUTES}")).journald(&journald).start();
        Self { systemd, journald, service }
    }

    async fn ask(&self, path: &str, fields: &[(&str, &[u8])]) -> Result<Answer, Failure> {
        let mut request = Request::get(path).header("Host", "localhost");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        Connection::open(self.systemd.http()).await?.send(request.body(Empty::new())?).await
    }

    /// Asks for all that a test may ask for, and waits until each entry must have arrived: they do so in order.
    async fn ask_for_everything(&self) -> Vec<Entry> {
        for path in ["/hello", "/broken", "/slow", "/nowhere"] {
            self.ask(path, &[]).await.unwrap();
        }
        let mut aborted = TcpStream::connect(self.systemd.http()).await.unwrap();
        aborted.write_all(b"GET /never HTTP/1.1\r\nHost: t\r\n\r\n").await.unwrap();
        self.service.wait_until("that it runs", |sent| {
            let runs = |status: &str| status.ends_with(", 1 request");
            sent.last().and_then(|message| message.get("STATUS")).is_some_and(runs).then_some(())
        });
        drop(aborted);
        self.service.wait_until("that it doesn't", |sent| {
            let rests = |status: &str| status.ends_with(": 0 connections, 0 requests");
            sent.last().and_then(|message| message.get("STATUS")).is_some_and(rests).then_some(())
        });
        self.entries()
    }

    /// All entries of requests.
    fn entries(&self) -> Vec<Entry> {
        self.service.signal(Signal::USR1);
        self.journald.wait_for_id(message_id::SNAPSHOT);
        let request = |entry: &&Entry| entry.get("MESSAGE_ID") == Some(entries::message_id::REQUEST);
        self.journald.entries(|all| all.iter().filter(request).cloned().collect())
    }
}

fn paths(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.field("PATH")).collect()
}

#[tokio::test]
async fn off_is_none() {
    let logging = Logging::start("access = \"off\"");
    assert!(logging.ask_for_everything().await.is_empty());
}

#[tokio::test]
async fn errors_are_what_failed_and_the_default() {
    for log in ["", "access = \"errors\""] {
        let logging = Logging::start(log);
        let entries = logging.ask_for_everything().await;
        assert_eq!(paths(&entries), ["/broken", "/never"]);
        assert_eq!((entries[0].field("STATUS"), entries[0].field("OUTCOME")), ("500", "complete"));
        assert_eq!((entries[1].get("STATUS"), entries[1].field("OUTCOME")), (None, "aborted"));
        assert!(entries[1].field("MESSAGE").contains(" GET /never: no answer (aborted), 0 bytes in "), "{entries:?}");
        assert!(entries.iter().all(|entry| entry.field("PRIORITY") == "4"), "{entries:?}");
    }
}

#[tokio::test]
async fn all_is_all() {
    let entries = Logging::start("access = \"all\"").ask_for_everything().await;
    assert_eq!(paths(&entries), ["/hello", "/broken", "/slow", "/nowhere", "/never"]);
    let priorities: Vec<_> = entries.iter().map(|entry| entry.field("PRIORITY")).collect();
    assert_eq!(priorities, ["6", "4", "6", "6", "4"]);
    let slow = Duration::from_micros(entries[2].number("DURATION_USEC"));
    assert!(slow >= Duration::from_millis(300), "{slow:?}");
}

#[tokio::test]
async fn slow_ones_get_one_in_any_case() {
    let entries = Logging::start("access = \"off\"\nslow = \"200ms\"").ask_for_everything().await;
    assert_eq!(paths(&entries)[0], "/slow");
    assert_eq!(entries[0].field("PRIORITY"), "6");
    assert!(!paths(&entries).contains(&"/hello"), "{entries:?}");
}

const SECRETS: [(&str, &[u8]); 3] =
    [("Authorization", b"Bearer SECRET"), ("Cookie", b"session=SECRET"), ("User-Agent", b"a \"client\"\xff")];

#[tokio::test]
async fn what_may_be_secret_is_not_there_unless_asked_for() {
    let logging = Logging::start("access = \"all\"");
    logging.ask("/hello?token=SECRET", &SECRETS).await.unwrap();
    logging.ask("/broken?token=SECRET", &SECRETS).await.unwrap();
    let entries = logging.entries();
    assert_eq!(paths(&entries), ["/hello", "/broken"]);
    let all = logging.journald.entries(|all| format!("{all:?}"));
    assert!(!all.contains("SECRET") && !all.contains("client"), "{all}");

    let logging = Logging::start("access = \"all\"\nquery = true\nheaders = [\"User-Agent\", \"Referer\"]");
    logging.ask("/hello?token=SECRET", &SECRETS).await.unwrap();
    let entries = logging.entries();
    assert_eq!(paths(&entries), ["/hello?token=SECRET"]);
    assert_eq!(entries[0].field("HEADERS"), "user-agent=\"a \\\"client\\\"\u{fffd}\"");
    assert!(entries[0].field("MESSAGE").ends_with(" user-agent=\"a \\\"client\\\"\u{fffd}\""), "{entries:?}");
    assert!(!format!("{entries:?}").contains("Bearer"), "{entries:?}");
}

fn id(answer: &Answer) -> Option<&str> {
    answer.fields.get("x-request-id").map(|id| id.to_str().unwrap())
}

#[tokio::test]
async fn ids_are_taken_over_or_made_and_given_back() {
    let logging = Logging::start("access = \"all\"");
    let longest = "x".repeat(128);
    let taken: [&[u8]; 3] = [b"abc-123", b"{\"odd\":1}", longest.as_bytes()];
    let too_long = "x".repeat(129);
    let refused: [&[u8]; 5] = [b"", b"two words", b"tab\tbed", b"caf\xc3\xa9", too_long.as_bytes()];
    let mut given = Vec::new();
    for value in taken {
        let answer = logging.ask("/hello", &[("X-Request-Id", value)]).await.unwrap();
        assert_eq!(id(&answer).map(str::as_bytes), Some(value));
        given.push(id(&answer).unwrap().to_owned());
    }
    for value in refused {
        let answer = logging.ask("/hello", &[("X-Request-Id", value)]).await.unwrap();
        let made = id(&answer).unwrap();
        assert!(made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
        given.push(made.to_owned());
    }
    given.push(id(&logging.ask("/hello", &[]).await.unwrap()).unwrap().to_owned());
    let entries = logging.entries();
    let logged: Vec<_> = entries.iter().map(|entry| entry.field("REQUEST_ID")).collect();
    assert_eq!(logged, given);
    let different: std::collections::BTreeSet<_> = given.iter().collect();
    assert_eq!(different.len(), given.len());
}

/// Nobody can look for an id that isn't in the journal.
#[tokio::test]
async fn without_an_entry_no_id_is_made() {
    let logging = Logging::start("access = \"errors\"");
    assert_eq!(id(&logging.ask("/hello", &[]).await.unwrap()), None);
    assert_eq!(id(&logging.ask("/hello", &[("X-Request-Id", b"mine")]).await.unwrap()), Some("mine"));
    let broken = logging.ask("/broken", &[]).await.unwrap();
    assert_eq!(logging.entries()[0].field("REQUEST_ID"), id(&broken).unwrap());
}

#[tokio::test]
async fn what_is_no_request_is_there_among_all() {
    let heads = [
        ("nonsense\r\n\r\n".to_owned(), 400, "invalid HTTP method parsed"),
        (format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(100_000)), 431, "message head is too large"),
        ("GET / HT".to_owned(), 408, "its head did not end in time"),
    ];
    for (log, number) in [("access = \"all\"", heads.len()), ("access = \"errors\"", 0)] {
        let logging = Logging::start(&format!("{log}\n[limits]\nhead_timeout = \"1s\""));
        for (head, status, _) in &heads {
            let mut stream = TcpStream::connect(logging.systemd.http()).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        }
        logging.service.signal(Signal::USR1);
        logging.journald.wait_for_id(message_id::SNAPSHOT);
        let rejected = |entry: &&Entry| entry.get("MESSAGE_ID") == Some(entries::message_id::REQUEST_REJECTED);
        let entries: Vec<Entry> = logging.journald.entries(|all| all.iter().filter(rejected).cloned().collect());
        assert_eq!(entries.len(), number, "{entries:?}");
        for (entry, (_, status, reason)) in entries.iter().zip(&heads) {
            assert_eq!((entry.field("STATUS"), entry.field("LISTENER")), (status.to_string().as_str(), "http"));
            let message = format!("{} sent no request: {status}, {reason}", entry.field("PEER"));
            assert_eq!(entry.field("MESSAGE"), message);
        }
    }
}
