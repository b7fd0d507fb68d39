//! `examples/axum.rs`.

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::demonstration::Demonstration;
use crate::support::client::{Connection, PATIENCE};
use crate::support::example::example;

#[tokio::test(flavor = "multi_thread")]
async fn handlers_know_the_peer_and_the_drain() {
    let mut example = Demonstration::start(&example("axum"), &[]);
    let server = example.address("http");
    let mut connection = Connection::open(server).await.unwrap();
    for visit in 1..=2 {
        let answer = connection.get("/").await.unwrap();
        assert_eq!(answer.text(), format!("hello, {}: this is visit {visit}\n", connection.local()));
    }
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(b"GET /ticks HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"tick 0\n\r\n") {
        let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut text)).await.unwrap().unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&text));
    }

    example.signal(Signal::TERM);

    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text)).await.unwrap().unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.ends_with("good-bye: come again\n\r\n0\r\n\r\n"), "{text}");
    assert_eq!(example.wait().code(), Some(0));
    example.wait_for("2 visits so far");
}
