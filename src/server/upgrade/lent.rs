//! A connection's socket on loan: to hyper, and by way of hyper to an application that upgrades it.
//!
//! hyper gives a connection that was upgraded to the application, which may keep it for hours, on any thread, and has
//! no reason to give it back. But the server must know when it ends, close it in good order, and let it leave for the
//! next process. So what hyper gets is [`Lent`]: however it is dropped, the socket returns to the task that lent it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, oneshot, watch};

use crate::handover::parcel::Parcel;
use crate::server::exchange::ConnectionInfo;
use crate::server::io::Io;
use crate::server::registry::Phase;

/// A socket that returns.
#[derive(Debug)]
pub(crate) struct Lent(Option<Io>);

/// Where it returns to.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) info: Arc<ConnectionInfo>,
    pub(crate) phase: watch::Receiver<Phase>,
    upgraded: AtomicBool,
    back: mpsc::UnboundedSender<Returned>,
}

/// What has come back, and why.
#[derive(Debug)]
pub(crate) enum Returned {
    /// Nobody wants it any more.
    Dropped(Io),
    /// It is to leave for the next process. The answer is the socket again if it can't; no answer means that it is
    /// lost.
    Leaving { io: Io, parcel: Parcel, answer: oneshot::Sender<Option<Lent>> },
}

/// Where its task waits for it.
pub(crate) type Returning = mpsc::UnboundedReceiver<Returned>;

impl Home {
    /// Where it returns to, and where to wait for it: once that is dropped, it is closed instead of coming back.
    pub(crate) fn new(info: Arc<ConnectionInfo>, phase: watch::Receiver<Phase>) -> (Self, Returning) {
        let (back, returning) = mpsc::unbounded_channel();
        (Self { info, phase, upgraded: AtomicBool::new(false), back }, returning)
    }

    /// The connection is the application's from now on.
    pub(crate) fn set_upgraded(&self) {
        self.upgraded.store(true, Ordering::Release);
    }

    /// Gives the socket back to be carried to the next process. If nobody is there to take it, it comes right back.
    pub(crate) fn leave(&self, io: Io, parcel: Parcel, answer: oneshot::Sender<Option<Lent>>) -> Result<(), Io> {
        self.back.send(Returned::Leaving { io, parcel, answer }).map_err(|refused| match refused.0 {
            Returned::Dropped(io) | Returned::Leaving { io, .. } => io,
        })
    }
}

impl Lent {
    pub(crate) fn new(io: Io) -> Self {
        Self(Some(io))
    }

    /// Ends the loan.
    pub(crate) fn end(mut self) -> Option<Io> {
        self.0.take()
    }

    pub(crate) fn io(&self) -> Option<&Io> {
        self.0.as_ref()
    }

    pub(crate) fn io_mut(&mut self) -> Option<&mut Io> {
        self.0.as_mut()
    }

    fn pinned(&mut self) -> io::Result<Pin<&mut Io>> {
        self.0.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(io) = self.0.take() else { return };
        let traffic = Arc::clone(io.traffic());
        if let Some(home) = traffic.home() {
            let _ = home.back.send(Returned::Dropped(io)); // its worker may have ended
        }
    }
}

impl AsyncRead for Lent {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.pinned()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.pinned()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.pinned()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned()?.poll_flush(cx)
    }

    /// hyper ends a connection so when it is done with it, but then the server isn't: it may have to read what the
    /// client still sends. Only of an upgraded connection it is the application's word.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = self.pinned()?;
        if io.traffic().home().is_some_and(|home| home.upgraded.load(Ordering::Acquire)) {
            return io.poll_shutdown(cx);
        }
        Poll::Ready(Ok(()))
    }
}
