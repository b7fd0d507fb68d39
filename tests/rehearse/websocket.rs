//! WebSockets: a running number must come back, and an end must be announced.

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::faults;
use crate::misdeeds::{Misdeeds, TIMES};
use crate::rehearsal::{Outcome, Rehearsal};

/// What the echo server does to some messages.
#[derive(Clone, Copy)]
enum Deed {
    /// The connection's end, without a word, and the message is lost.
    Drop,
    /// A Close frame instead of the echo.
    CloseUnanswered,
    /// The echo, and then a Close frame.
    CloseAnswered,
    /// Another number.
    WrongNumber,
    /// The echo twice.
    Twice,
}

async fn serve(misdeeds: Misdeeds<Deed>, stream: TcpStream) {
    // Or a Close frame would wait for the echo before it to be acknowledged, and arrive after the next message.
    stream.set_nodelay(true).unwrap();
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        if !message.is_text() {
            return;
        }
        let Some(deed) = misdeeds.next() else {
            socket.send(message).await.unwrap();
            continue;
        };
        match deed {
            Deed::Drop => return,
            Deed::CloseUnanswered => {
                _ = socket.close(None).await;
                return;
            }
            Deed::CloseAnswered => {
                socket.send(message).await.unwrap();
                _ = socket.close(None).await;
                return;
            }
            Deed::WrongNumber => socket.send(Message::text("-1")).await.unwrap(),
            Deed::Twice => {
                socket.feed(message.clone()).await.unwrap();
                socket.send(message).await.unwrap();
                // One misdeed a connection: the client gives it up.
                return;
            }
        }
    }
}

fn rehearse(deed: Deed) -> Outcome {
    let (misdeeds, address) = Misdeeds::start(deed, serve);
    let arguments = format!("--websocket 4 --websocket-url ws://{address}/ --every 200ms");
    misdeeds.rehearse(Rehearsal::of(address).with(&arguments))
}

#[test]
fn a_good_server() {
    let (_, address) = Misdeeds::start(Deed::Drop, serve);
    let arguments = format!("--websocket 4 --websocket-url ws://{address}/ --rounds 2 --every 200ms");
    let outcome = Rehearsal::of(address).with(&arguments).each_round(|_| {}).run();
    outcome.assert_failures(&[]);
    assert_eq!((outcome.number("/kept"), outcome.number("/survived")), (8.0, 8.0));
    assert!(outcome.number("/clients/websocket/answers") > 40.0);
}

#[test]
fn a_websocket_that_just_ends() {
    rehearse(Deed::Drop).assert_failures(&[("broken-socket", TIMES)]);
}

#[test]
fn a_message_lost_behind_a_close() {
    rehearse(Deed::CloseUnanswered).assert_failures(&[("broken-socket", TIMES)]);
}

#[test]
fn an_announced_close_is_no_failure() {
    let outcome = rehearse(Deed::CloseAnswered);
    outcome.assert_failures(&[]);
    assert_eq!(outcome.number("/closed_in_order"), TIMES as f64);
}

#[test]
fn a_wrong_number() {
    rehearse(Deed::WrongNumber).assert_failures(&[("wrong-body", TIMES)]);
}

#[test]
fn a_message_that_comes_twice() {
    rehearse(Deed::Twice).assert_failures(&[("wrong-body", TIMES)]);
}

#[test]
fn an_endpoint_that_is_no_websocket() {
    let server = faults::Server::good();
    let arguments = format!("--websocket 1 --websocket-url ws://{}/", server.address);
    let outcome = Rehearsal::of(server.address).with(&arguments).run();
    assert_eq!(outcome.status, 1);
    assert!(
        outcome.progress.contains("WebSocket") && outcome.progress.contains("wrong-status"),
        "{}",
        outcome.progress
    );
}
