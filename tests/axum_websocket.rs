//! axum's own WebSockets, which can't be handed over, but are told of the end and waited for.

use std::path::Path;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message as AxumMessage, WebSocket, WebSocketUpgrade};
use axum::routing::any;
use axum::{Extension, Router};
use futures_util::{SinkExt as _, StreamExt as _};
use outlive::upgrade::Leave;
use outlive::{Drain, Ended, Server};
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// Nothing here takes that long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// Says everything back; when the process is about to end, says so and closes.
async fn echo(mut socket: WebSocket, leave: Leave) {
    loop {
        tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(message)) => socket.send(message).await.unwrap(),
                _ => return,
            },
            () = leave.due() => break,
        }
    }
    let frame = CloseFrame { code: 1012, reason: "come again".into() };
    socket.send(AxumMessage::Close(Some(frame))).await.unwrap();
}

/// Says everything back, whatever the process wants.
async fn deaf(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        socket.send(message).await.unwrap();
    }
}

fn app() -> Router {
    let echo = async |upgrade: WebSocketUpgrade, Extension(leave): Extension<Leave>| {
        upgrade.on_upgrade(move |socket| echo(socket, leave))
    };
    Router::new()
        .route("/echo", any(echo))
        .route("/deaf", any(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(deaf)))
}

fn server(folder: &Path, window: Duration) -> Server {
    let server = Server::new().bind("http", format!("unix:{}", folder.join("socket").display()).as_str());
    server.drain(Drain::window(window)).without_notify().without_reload().without_control_socket()
}

async fn connect(folder: &Path, path: &str) -> WebSocketStream<UnixStream> {
    let connected = async {
        loop {
            match UnixStream::connect(folder.join("socket")).await {
                Ok(stream) => return stream,
                Err(_) => tokio::task::yield_now().await, // it isn't bound yet
            }
        }
    };
    let stream = tokio::time::timeout(PATIENCE, connected).await.expect("nobody listens");
    tokio_tungstenite::client_async(format!("ws://test{path}"), stream).await.unwrap().0
}

async fn ask(socket: &mut WebSocketStream<UnixStream>, text: &str) -> Message {
    socket.send(Message::text(text)).await.unwrap();
    socket.next().await.unwrap().unwrap()
}

/// One socket on `path`, and a drain with it.
async fn end(path: &str, window: Duration, elsewhere: bool) -> (Ended, Option<Message>) {
    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path(), window);
    let (draining, gauges) = (server.draining(), server.gauges());
    let serving =
        async { if elsewhere { server.serve_with(Handle::current(), app()).await } else { server.serve(app()).await } };
    let client = async {
        let mut socket = connect(folder.path(), path).await;
        assert_eq!(ask(&mut socket, "one").await, Message::text("one"));
        assert_eq!((gauges.connections(), gauges.upgraded(), gauges.requests()), (1, 1, 0));
        draining.begin();
        socket.next().await.and_then(Result::ok)
    };
    let (ended, last) = tokio::join!(serving, client);
    (ended.unwrap(), last)
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_told_and_waited_for() {
    for elsewhere in [false, true] {
        let (ended, last) = end("/echo", PATIENCE, elsewhere).await;
        assert!(matches!(last, Some(Message::Close(Some(frame))) if u16::from(frame.code) == 1012));
        assert!(ended.is_clean() && ended.took < PATIENCE / 2, "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_cut_and_counted_at_the_end_of_the_window() {
    for elsewhere in [false, true] {
        let (ended, last) = end("/deaf", Duration::from_secs(1), elsewhere).await;
        assert_eq!((last, ended.cut), (None, 1));
    }
}
