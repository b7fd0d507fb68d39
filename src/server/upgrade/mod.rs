//! Upgraded connections: what an application makes of an HTTP/1.1 connection that it takes over (RFC 9110, section
//! 7.8), a WebSocket above all, and what becomes of them when the process ends.
//!
//! An application upgrades connections as with hyper alone: it takes [`hyper::upgrade::on`] the request, and answers
//! 101, or 2xx to CONNECT. (axum's `WebSocketUpgrade` does just that.) From then on no timeout of the server applies;
//! the connection counts until the application drops it, and then ends in good order.
//!
//! When the process ends, a drain waits for upgraded connections as it does for requests, and cuts at the end of the
//! window what is still open. So that it needn't, every request that asks for an upgrade has a [`Leave`] among its
//! extensions, which tells the application when to end its connection politely:
//!
//! ```
//! # use outlive::upgrade::Leave;
//! # async fn serve(mut messages: impl AsyncFnMut() -> Option<String>, goodbye: impl AsyncFnOnce(), leave: Leave) {
//! loop {
//!     tokio::select! {
//!         message = messages() => match message {
//!             Some(message) => println!("{message}"),
//!             None => break,
//!         },
//!         () = leave.due() => break goodbye().await, // for a WebSocket, status 1001 or 1012
//!     }
//! }
//! # }
//! ```
//!
//! Or it need not end at all. [`Connection`] is hyper's `Upgraded` with one thing more: [`Connection::hand_over`] sends
//! it to the next process, with a few bytes of the application's own state, where a handler of a given name
//! ([`Server::upgraded`](crate::Server::upgraded)) goes on with it. The client doesn't notice. On a restart it goes
//! through systemd's descriptor store, on a reload straight to the successor. After a crash, upgraded connections are
//! closed.
//!
//! ```
//! use outlive::upgrade::Connection;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! /// Answers each byte with how many there were.
//! async fn count(mut connection: Connection, mut bytes: u64) {
//!     let leave = connection.leave();
//!     loop {
//!         let mut byte = [0];
//!         tokio::select! {
//!             // Only what can be given up half-way, without a byte being lost, may stand here.
//!             read = connection.read(&mut byte) => if !matches!(read, Ok(1)) { return },
//!             () = leave.due() => break,
//!         }
//!         bytes += 1;
//!         if connection.write_all(&bytes.to_be_bytes()).await.is_err() {
//!             return;
//!         }
//!     }
//!     if let Err(stays) = connection.hand_over("count", &bytes.to_le_bytes()).await
//!         && let Some(mut connection) = stays.into_connection()
//!     {
//!         let _ = connection.write_all(b"goodbye").await; // there is no next process
//!     }
//! }
//!
//! # let server =
//! outlive::Server::new().upgraded("count", async |connection, state| {
//!     // Another version of this program may have sent it.
//!     let Some(bytes) = state.first_chunk() else { return };
//!     count(connection, u64::from_le_bytes(*bytes)).await;
//! });
//! ```
//!
//! The chat in `examples/websocket_chat.rs` does that with WebSockets, whose library keeps bytes of its own.
//!
//! HTTP/2 (extended CONNECT, RFC 8441) is left out: such a stream is part of a connection that can't move.

pub(crate) mod handlers;
pub(crate) mod lent;
pub(in crate::server) mod watch;

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{oneshot, watch as channel};

use lent::{Home, Lent};

use super::exchange::ConnectionInfo;
use super::http1::join;
use super::io::Io;
use super::registry::Phase;
use crate::handover::parcel::{NAME_AT_MOST, Parcel};

pub use crate::handover::parcel::STATE_AT_MOST;
#[doc(hidden)]
pub use handlers::Handlers;

/// Tells when upgraded connections are to end, or to be handed over. Among the extensions of every HTTP/1.1 request
/// that asks for an upgrade.
#[derive(Clone)]
pub struct Leave(channel::Receiver<Phase>);

impl Leave {
    pub(super) fn of(home: &Home) -> Self {
        Self(home.phase.clone())
    }

    /// Waits for the moment: the process takes no new connections any more, and ends as soon as it has none.
    ///
    /// That is later than [`Draining::begun`](crate::Draining::begun): while a drain settles, everything goes on as
    /// before. Until the end of its window (on a reload, of [`linger`](crate::Reload::linger)) there is time. Dropping
    /// the future is fine, and it borrows nothing.
    pub fn due(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let mut phase = self.0.clone();
        async move {
            // An error means that the worker has ended, and all its connections with it.
            let _ = phase.wait_for(|phase| *phase >= Phase::Closing).await;
        }
    }

    /// Whether the moment has come.
    #[must_use]
    pub fn is_due(&self) -> bool {
        *self.0.borrow() >= Phase::Closing
    }
}

impl fmt::Debug for Leave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Leave").field(&*self.0.borrow()).finish()
    }
}

/// An upgraded connection that can be handed over to the next process.
///
/// It is made of hyper's, and reads and writes as it does: unbuffered, to and from the socket. It may be used on any
/// thread. Dropping it closes it in good order: what was written arrives, then comes the end.
#[derive(Debug)]
pub struct Connection {
    lent: Lent,
}

impl TryFrom<Upgraded> for Connection {
    type Error = Upgraded;

    /// Fails with what was given if that isn't an HTTP/1.1 connection of this server's.
    fn try_from(upgraded: Upgraded) -> Result<Self, Upgraded> {
        let parts = upgraded.downcast::<TokioIo<Lent>>()?;
        let mut connection = Self { lent: parts.io.into_inner() };
        connection.unread(&parts.read_buf);
        Ok(connection)
    }
}

impl Connection {
    pub(super) fn new(lent: Lent) -> Self {
        Self { lent }
    }

    fn home(&self) -> &Home {
        let home = self.lent.io().and_then(|io| io.traffic().home());
        home.expect("it is made before the application sees the request without which hyper upgrades nothing")
    }

    /// Who is at the other end, and which listener accepted it.
    #[must_use]
    pub fn info(&self) -> &Arc<ConnectionInfo> {
        &self.home().info
    }

    /// What tells when it is to end, or to be handed over.
    #[must_use]
    pub fn leave(&self) -> Leave {
        Leave::of(self.home())
    }

    /// Gives back bytes that were read and not used up, half a message say: they are what is read next, here or in the
    /// next process.
    pub fn unread(&mut self, bytes: &[u8]) {
        if let Some(io) = self.lent.io_mut()
            && !bytes.is_empty()
        {
            io.ahead = join(bytes, &io.ahead);
        }
    }

    /// Hands the connection over to the next process, where the handler named `handler` goes on with it and is given
    /// `state`. To be called once [`Leave::due`] has come.
    ///
    /// Everything that was written has been sent; what has arrived and wasn't read, the next process reads. What was
    /// read and not used up should be given back first: see [`unread`](Self::unread).
    ///
    /// # Errors
    ///
    /// [`NotHandedOver`], with the connection, so that it can be ended politely: see [`Refusal`].
    pub async fn hand_over(self, handler: &str, state: &[u8]) -> Result<(), NotHandedOver> {
        let leave = self.leave();
        let refusal = match handler.len() {
            _ if state.len() > STATE_AT_MOST => Some(Refusal::StateTooLong { bytes: state.len() }),
            bytes if bytes == 0 || bytes > NAME_AT_MOST => Some(Refusal::Name { bytes }),
            _ if *leave.0.borrow() == Phase::Serving => Some(Refusal::TooEarly),
            _ => None,
        };
        if let Some(reason) = refusal {
            return Err(NotHandedOver { reason, connection: Some(self) });
        }
        leave.due().await; // until a drain closes, it isn't known whether there is a way
        let parcel = Parcel { handler: handler.into(), route: "".into(), state: Bytes::copy_from_slice(state) };
        self.send(parcel).await.map_err(|connection| NotHandedOver { reason: Refusal::NoWay, connection })
    }

    /// Gives the connection to its task, which lets it leave.
    async fn send(self, parcel: Parcel) -> Result<(), Option<Self>> {
        let Some(io) = self.lent.end() else { return Err(None) };
        let traffic = Arc::clone(io.traffic());
        let (answer, asked) = oneshot::channel();
        let sent = match traffic.home() {
            Some(home) => home.leave(io, parcel, answer),
            None => Err(io),
        };
        let back = |io: Io| Some(Self::new(Lent::new(io)));
        match sent {
            Err(io) => Err(back(io)),
            Ok(()) => match asked.await {
                Ok(None) => Ok(()),
                Ok(Some(lent)) => Err(Some(Self::new(lent))),
                Err(_) => Err(None),
            },
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lent).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.lent).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.lent).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.lent.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lent).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lent).poll_shutdown(cx)
    }
}

/// A connection couldn't be handed over. It is still this process's.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct NotHandedOver {
    /// Why.
    pub reason: Refusal,
    connection: Option<Connection>,
}

impl NotHandedOver {
    /// The connection, to be ended politely; `None` if it was lost, because the process has come to its end.
    #[must_use]
    pub fn into_connection(self) -> Option<Connection> {
        self.connection
    }
}

/// Why a connection couldn't be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The state is longer than [`STATE_AT_MOST`].
    #[error(
        "a state of {bytes} bytes is too long to be handed over: {STATE_AT_MOST} are allowed, so keep the rest elsewhere"
    )]
    StateTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The handler's name is empty, or too long.
    #[error("a handler's name has from 1 to {NAME_AT_MOST} bytes, not {bytes}")]
    Name {
        /// Its length.
        bytes: usize,
    },
    /// The process isn't about to end.
    #[error("the process isn't about to end: wait for `Leave::due` before handing a connection over")]
    TooEarly,
    /// No next process can go on with it: the service stops, or systemd doesn't keep its connections.
    #[error("no next process goes on with connections of this one; if it should, the journal says why it doesn't")]
    NoWay,
}
