//! A connection's socket, which keeps the books that a drain needs: what was read, and whether anything is unsent.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use rustix::io::retry_on_intr;
use rustix::net::{SendFlags, Shutdown};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::entrusted::Entrusted;
use super::traffic::Traffic;

/// So many bytes at most are gathered into one piece before they are written: a head and a short body.
const GATHERED: usize = 1024;

/// A client's socket, known to this thread's runtime.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A client's socket on its way from one runtime to another.
#[derive(Debug)]
pub(crate) enum Detached {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Detached {
    /// Makes the socket known to this thread's runtime.
    pub(crate) fn attach(self) -> io::Result<Stream> {
        match self {
            Self::Tcp(stream) => TcpStream::from_std(stream).map(Stream::Tcp),
            Self::Unix(stream) => UnixStream::from_std(stream).map(Stream::Unix),
        }
    }
}

impl Stream {
    /// Takes the socket away from this thread's runtime.
    pub(crate) fn detach(self) -> io::Result<Detached> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(Detached::Tcp),
            Self::Unix(stream) => stream.into_std().map(Detached::Unix),
        }
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(buffer),
            Self::Unix(stream) => stream.try_read(buffer),
        }
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Unix(stream) => stream.poll_write_ready(cx),
        }
    }

    /// Writes what the socket takes at once, or fails with `WouldBlock`.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = None;
        // Not by way of libc, whose calls are points of cancellation: that is two locked instructions each.
        let mut write = |socket: BorrowedFd<'_>| {
            let number = retry_on_intr(|| rustix::net::send(socket, bytes, SendFlags::NOSIGNAL))?;
            written = Some(number);
            // A socket that took only a part is full: no need to ask it once more.
            if number < bytes.len() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        };
        let tried = match self {
            Self::Tcp(stream) => stream.try_io(Interest::WRITABLE, || write(stream.as_fd())),
            Self::Unix(stream) => stream.try_io(Interest::WRITABLE, || write(stream.as_fd())),
        };
        written.map_or_else(|| tried.map(|()| 0), Ok)
    }

    fn shutdown(&self, how: Shutdown) {
        let _ = match self {
            Self::Tcp(stream) => rustix::net::shutdown(stream, how),
            Self::Unix(stream) => rustix::net::shutdown(stream, how),
        };
    }
}

/// The socket with what was read ahead of it, and its books.
#[derive(Debug)]
pub(crate) struct Io {
    /// There until [`Self::into_parts`] takes it.
    stream: Option<Stream>,
    /// Bytes that were read already and come first.
    pub(crate) ahead: Bytes,
    traffic: Arc<Traffic>,
}

impl Io {
    pub(crate) fn new(stream: Stream, ahead: Bytes, traffic: Arc<Traffic>) -> Self {
        Self { stream: Some(stream), ahead, traffic }
    }

    /// The opposite of [`Self::new`].
    pub(crate) fn into_parts(mut self) -> (Option<Stream>, Bytes, Arc<Traffic>) {
        (self.stream.take(), std::mem::take(&mut self.ahead), Arc::clone(&self.traffic))
    }

    /// The connection's books.
    pub(crate) fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    fn stream(&self) -> &Stream {
        self.stream.as_ref().expect("only into_parts takes it, and that takes all")
    }

    fn stream_mut(&mut self) -> &mut Stream {
        self.stream.as_mut().expect("only into_parts takes it, and that takes all")
    }

    /// One more descriptor of the socket.
    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        match self.stream() {
            Stream::Tcp(stream) => stream.as_fd().try_clone_to_owned(),
            Stream::Unix(stream) => stream.as_fd().try_clone_to_owned(),
        }
    }

    /// Reads what is there into `buffer`; 0 means that the client has ended its side.
    pub(crate) fn poll_bytes(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream().poll_read_ready(cx))?;
            match self.try_bytes(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
    }

    /// Reads what is there into `buffer`, or fails with `WouldBlock`.
    pub(crate) fn try_bytes(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.traffic.entrusted.touch();
        let read = self.stream().try_read(buffer)?;
        self.traffic.add_read(read);
        Ok(read)
    }

    /// Writes a short last word, if the socket takes it at once.
    pub(crate) fn say(&self, bytes: &[u8]) {
        let _ = self.stream().try_write(bytes);
    }

    /// Ends this side of the connection; the client sees it whoever else holds the socket.
    pub(crate) fn shutdown(&self) {
        self.stream().shutdown(Shutdown::Write);
    }

    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(written)) => {
                self.traffic.set_write_blocked(false);
                self.traffic.add_written(*written);
            }
            Poll::Ready(Err(_)) => self.traffic.set_write_blocked(false),
            Poll::Pending => self.traffic.set_write_blocked(true),
        }
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        let Some(stream) = &self.stream else { return };
        // A copy that lies in a vault would keep the connection open for the client.
        if let Entrusted::At(place) = self.traffic.entrusted.replace(Entrusted::Never) {
            stream.shutdown(Shutdown::Both);
            place.vacate();
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let length = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..length]);
            self.ahead.advance(length);
            return Poll::Ready(Ok(()));
        }
        if self.traffic.entrusted.is_touchable() {
            ready!(self.stream().poll_read_ready(cx))?;
            self.traffic.entrusted.touch();
        }
        let before = buf.filled().len();
        let result = match self.stream_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        let more = buf.filled().len() - before;
        self.traffic.add_read(more);
        result
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = loop {
            match self.stream().poll_write_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
            match self.stream().try_write(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => break Poll::Ready(written),
            }
        };
        self.wrote(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // To gather a little costs less than to have the kernel do it.
        if bufs.iter().map(|buf| buf.len()).sum::<usize>() <= GATHERED {
            let mut place = [MaybeUninit::uninit(); GATHERED];
            let mut whole = ReadBuf::uninit(&mut place);
            bufs.iter().for_each(|buf| whole.put_slice(buf));
            return self.poll_write(cx, whole.filled());
        }
        let result = match self.stream_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        self.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // sockets have nothing to flush
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shutdown();
        Poll::Ready(Ok(()))
    }
}
