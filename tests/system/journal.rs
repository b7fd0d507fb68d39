//! What `journalctl` finds.

use http_body_util::Empty;
use hyper::Request;
use outlive::entries;
use outlive::journal::message_id;

use crate::support::client::Connection;
use crate::support::container::{SERVICE, Suite};
use crate::support::journal::Entry;
use crate::{host, on_every_systemd};

on_every_systemd!(requests_are_entries_with_fields);

fn requests_are_entries_with_fields(suite: Suite) {
    let host = host(suite);
    let (peer, made_id) = host.in_network(async || {
        let mut client = Connection::open(SERVICE).await.unwrap();
        let request = Request::get("/hello?token=secret")
            .header("Host", "localhost")
            .header("X-Request-Id", "abc-123")
            .header("Authorization", "Bearer secret");
        client.send(request.body(Empty::new()).unwrap()).await.unwrap();
        let broken = client.get("/broken").await.unwrap();
        client.get("/nowhere").await.unwrap();
        (client.local().to_string(), broken.fields["x-request-id"].to_str().unwrap().to_owned())
    });
    let request = |path: &str| -> Entry {
        let mut follower = host.follow_journal(&format!("MESSAGE_ID={}", entries::message_id::REQUEST));
        follower.wait_for(path, |entry| entry.get("PATH") == Some(path))
    };

    let hello = request("/hello");
    for (field, value) in [
        ("PRIORITY", "6"),
        ("SYSLOG_IDENTIFIER", "outlive"),
        ("_SYSTEMD_UNIT", "outlive.service"),
        ("_TRANSPORT", "journal"),
        ("METHOD", "GET"),
        ("PATH", "/hello"),
        ("ROUTE", "/hello"),
        ("STATUS", "200"),
        ("BYTES", "6"),
        ("PEER", &peer),
        ("REQUEST_ID", "abc-123"),
        ("_PID", &host.main_pid().to_string()),
    ] {
        assert_eq!(hello.get(field), Some(value), "{field} of {hello:#?}");
    }
    assert!(hello.number("DURATION_USEC") < 10_000_000, "{hello:#?}");
    assert!(hello.names().all(|name| !name.starts_with("F_")), "{hello:#?}");
    assert!(!format!("{hello:?}").contains("secret"), "{hello:#?}");

    let broken = request("/broken");
    assert_eq!(broken.field("PRIORITY"), "4", "a failed request is a warning");
    assert_eq!(broken.field("STATUS"), "500");
    assert_eq!(broken.field("REQUEST_ID"), made_id, "the client can quote it");

    let nowhere = request("/nowhere");
    assert_eq!(nowhere.field("STATUS"), "404");
    assert_eq!(nowhere.get("ROUTE"), None);

    let ready = host.wait_for_journal(message_id::READY);
    assert_eq!(ready.field("PRIORITY"), "6");
    assert_eq!(ready.field("SYSLOG_IDENTIFIER"), "outlive");
}
