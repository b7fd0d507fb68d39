//! A chat whose sockets survive: restart or reload the server, and nobody is disconnected, no word is lost.
//!
//!     cargo run --example websocket_chat        # then open http://127.0.0.1:8080/ in two windows
//!     kill -HUP PID                             # a new process takes over, sockets included
//!
//! or, as root, under systemd, to see the same with `systemctl restart chat`:
//!
//!     systemd-run --unit=chat -p Type=notify -p NotifyAccess=main -p FileDescriptorStoreMax=64 \
//!         -p RuntimeDirectory=chat -p RuntimeDirectoryPreserve=restart -p StartLimitIntervalSec=0 \
//!         --socket-property=ListenStream=127.0.0.1:8080 --socket-property=FileDescriptorName=http \
//!         "$PWD/target/debug/examples/websocket_chat"
//!
//! Three things make it so. What was said is in a file that processes share (`room`). A WebSocket's only state besides
//! is its member: a name, and how much they have heard. And no byte of a half-sent message is kept where it can't be
//! got at (`whole_messages`).

#[path = "websocket_chat/room.rs"]
mod room;
#[path = "websocket_chat/whole_messages.rs"]
mod whole_messages;

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{
    CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use outlive::upgrade::Connection;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use room::Room;
use whole_messages::WholeMessages;

type Answer = Response<Full<Bytes>>;
type WebSocket = WebSocketStream<WholeMessages>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let room = Room::open()?;
    let (arriving, asking) = (Arc::clone(&room), room);
    outlive::Server::new()
        .journal()
        .bind("http", &*address)
        // Members of the process before arrive here, in the middle of the conversation.
        .upgraded("chat", move |connection, state| chat(connection, Arc::clone(&arriving), Member::from_state(&state)))
        .upgraded("echo", |connection, _| echo(connection))
        .serve(move |request| answer(request, Arc::clone(&asking)))
        .await?;
    Ok(())
}

async fn answer(mut request: Request<outlive::Body>, room: Arc<Room>) -> Answer {
    match request.uri().path() {
        "/" => page(),
        "/chat" => {
            let member = Member { name: name(&request), heard: *room.listen().borrow() };
            web_socket(&mut request, move |connection| chat(connection, room, member))
        }
        "/echo" => web_socket(&mut request, echo),
        _ => plain(StatusCode::NOT_FOUND),
    }
}

/// Who is there.
struct Member {
    name: String,
    /// How much of what was said.
    heard: u64,
}

impl Member {
    /// What is to be known of them in the next process. Its form is a promise to the next version of this program.
    fn to_state(&self) -> Vec<u8> {
        [&self.heard.to_le_bytes(), self.name.as_bytes()].concat()
    }

    fn from_state(state: &[u8]) -> Self {
        let (heard, name) = state.split_first_chunk().unwrap_or((&[0; 8], b"somebody"));
        Self { name: String::from_utf8_lossy(name).into_owned(), heard: u64::from_le_bytes(*heard) }
    }
}

/// One member, until they go or the process ends. Whatever fails here, the socket does: then it is closed.
async fn chat(connection: Connection, room: Arc<Room>, mut member: Member) {
    let leave = connection.leave();
    let mut more = room.listen();
    let mut socket = open(connection).await;
    let mut talk = async || {
        loop {
            while let Some(lines) = room.after(&mut member.heard)? {
                for line in lines {
                    socket.feed(Message::text(line)).await?;
                }
            }
            socket.flush().await?;
            // Each of these can be given up half-way without harm, and what can't is above.
            tokio::select! {
                message = socket.next() => match message.transpose()? {
                    Some(Message::Text(text)) => room.say(&member.name, &text)?,
                    Some(_) => {}
                    None => return Ok(false),
                },
                _ = more.changed() => {}
                () = leave.due() => return Ok(true),
            }
        }
    };
    if let Ok::<bool, Box<dyn Error + Send + Sync>>(true) = talk().await {
        move_on(socket, "chat", &member.to_state()).await;
    }
}

/// Says everything back.
async fn echo(connection: Connection) {
    let leave = connection.leave();
    let mut socket = open(connection).await;
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                    if socket.send(message).await.is_err() {
                        return;
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            () = leave.due() => return move_on(socket, "echo", b"").await,
        }
    }
}

/// Hands a socket over to the next process, or ends it as the protocol wants it.
async fn move_on(mut socket: WebSocket, handler: &str, state: &[u8]) {
    if socket.flush().await.is_err() {
        return; // a pong may have been waiting
    }
    let Err(stays) = socket.into_inner().into_inner().hand_over(handler, state).await else { return };
    let Some(connection) = stays.into_connection() else { return };
    let mut socket = open(connection).await;
    let frame = CloseFrame { code: CloseCode::Restart, reason: "come again".into() };
    if socket.close(Some(frame)).await.is_ok() {
        while let Some(Ok(_)) = socket.next().await {} // until the client agrees
    }
}

async fn open(connection: Connection) -> WebSocket {
    WebSocketStream::from_raw_socket(WholeMessages::new(connection), Role::Server, None).await
}

/// Answers a WebSocket's handshake (RFC 6455, section 4.2), and goes on with the socket once the answer is sent.
fn web_socket<F>(request: &mut Request<outlive::Body>, go_on: impl FnOnce(Connection) -> F + Send + 'static) -> Answer
where
    F: Future<Output = ()> + Send + 'static,
{
    let field = |name| request.headers().get(name).map(HeaderValue::as_bytes);
    let (Some(key), Some(b"13")) = (field(SEC_WEBSOCKET_KEY), field(SEC_WEBSOCKET_VERSION)) else {
        return plain(StatusCode::BAD_REQUEST);
    };
    let accept = derive_accept_key(key);
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await
            && let Ok(connection) = upgraded.try_into()
        {
            go_on(connection).await;
        }
    });
    let mut answer = plain(StatusCode::SWITCHING_PROTOCOLS);
    let fields = [(CONNECTION, "upgrade"), (UPGRADE, "websocket"), (SEC_WEBSOCKET_ACCEPT, &accept)];
    answer.headers_mut().extend(fields.map(|(name, value)| (name, HeaderValue::from_str(value).expect("ASCII"))));
    answer
}

/// `/chat?NAME`
fn name(request: &Request<outlive::Body>) -> String {
    let name = request.uri().query().unwrap_or("somebody").bytes().filter(u8::is_ascii_alphanumeric);
    name.take(32).map(char::from).collect()
}

fn page() -> Answer {
    let mut answer = Response::new(include_str!("websocket_chat/page.html").into());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    answer
}

fn plain(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}
