//! WebSocket clients (RFC 6455): each sends a running number, and the same number must come back before the next is sent.
//! A message that was lost, doubled or changed, on the way there or back, shows as a wrong or missing number.

use std::rc::Rc;
use std::time::Instant;

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::census::Kept;
use super::class::Failure;
use super::client::{Pace, Run};
use super::connection::{Waiting, connect, waiting};
use super::tally::Kind;
use super::target::Target;

/// One WebSocket client, until the run is over.
pub(super) async fn client(run: Rc<Run>, number: u32) {
    let Some(target) = &run.plan.websocket else { return };
    let mut pace = Pace::new(number);
    let mut client = Client { run: &run, target, socket: None, number: 0 };
    while run.pause(pace.think()).await {
        client.ask().await;
    }
}

/// One message there and back before the first round.
pub(super) async fn preflight(run: &Run, target: &Target) -> Result<(), Failure> {
    Client { run, target, socket: None, number: 0 }.echo().await
}

struct Client<'a> {
    run: &'a Run,
    target: &'a Target,
    socket: Option<Socket>,
    /// The running number.
    number: u64,
}

struct Socket {
    stream: WebSocketStream<TcpStream>,
    kept: Option<Kept>,
}

impl Client<'_> {
    async fn ask(&mut self) {
        let began = Instant::now();
        self.number += 1;
        let outcome = tokio::time::timeout(self.run.plan.timeout, self.echo()).await.unwrap_or(Err(Failure::Timeout));
        let mut tally = self.run.tally.borrow_mut();
        match (outcome, &mut self.socket) {
            (Ok(()), Some(socket)) => {
                let kept = socket.kept.get_or_insert_with(|| tally.keep());
                tally.answered(Kind::WebSocket, began, Some(kept));
            }
            (Ok(()), None) => {}
            (Err(class), _) => {
                tally.failed(Kind::WebSocket, began, class);
                self.socket = None;
            }
        }
    }

    async fn echo(&mut self) -> Result<(), Failure> {
        if let Some(socket) = &mut self.socket
            && socket.closed_in_order().await?
        {
            self.socket = None;
            self.run.tally.borrow_mut().closed_in_order();
        }
        if self.socket.is_none() {
            self.socket = Some(Socket::open(self.run, self.target).await?);
        }
        let Some(socket) = &mut self.socket else { return Err(Failure::BrokenSocket) };
        socket.echo(&self.number.to_string()).await
    }
}

impl Socket {
    async fn open(run: &Run, target: &Target) -> Result<Self, Failure> {
        let stream = connect(target.address, None, run.plan.connect_timeout).await?;
        let opened = tokio_tungstenite::client_async(target.url.as_str(), stream).await;
        let (stream, _) = opened.map_err(|error| not_opened(&error))?;
        Ok(Self { stream, kept: None })
    }

    /// Whether a Close frame has come since the last message; an error if the end came without one, or anything else.
    async fn closed_in_order(&mut self) -> Result<bool, Failure> {
        loop {
            // A frame may lie in the library's buffer, or still in the socket where only a look finds it in time.
            let next = match self.stream.next().now_or_never() {
                Some(next) => next,
                None if waiting(self.stream.get_ref()) == Waiting::Nothing => return Ok(false),
                None => self.stream.next().await,
            };
            match next {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) => return Ok(true),
                Some(Ok(_)) => return Err(Failure::WrongBody),
                Some(Err(error)) => return Err(broken(&error)),
                None => return Err(Failure::BrokenSocket),
            }
        }
    }

    async fn echo(&mut self, text: &str) -> Result<(), Failure> {
        self.stream.send(Message::text(text)).await.map_err(|error| broken(&error))?;
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Text(came))) if came.as_str() == text => return Ok(()),
                Some(Ok(Message::Close(_))) | None => return Err(Failure::BrokenSocket),
                Some(Ok(_)) => return Err(Failure::WrongBody),
                Some(Err(error)) => return Err(broken(&error)),
            }
        }
    }
}

/// What went wrong on an open WebSocket.
fn broken(error: &Error) -> Failure {
    match error {
        Error::Io(_) | Error::ConnectionClosed | Error::AlreadyClosed => Failure::BrokenSocket,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake | ProtocolError::SendAfterClosing) => {
            Failure::BrokenSocket
        }
        _ => Failure::Garbled,
    }
}

/// What went wrong in opening one.
fn not_opened(error: &Error) -> Failure {
    match error {
        Error::Http(answer) if answer.status().is_server_error() => Failure::ServerError,
        Error::Http(_) => Failure::WrongStatus,
        Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionReset => Failure::Reset,
        Error::Io(_) | Error::ConnectionClosed => Failure::Closed,
        Error::Protocol(ProtocolError::HandshakeIncomplete) => Failure::Closed,
        _ => Failure::Garbled,
    }
}
