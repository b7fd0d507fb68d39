//! One HTTP/1.1 connection of a client that never retries, and what it means when it ends.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::RecvFlags;
use tokio::net::{TcpSocket, TcpStream};

use super::answer::{Answer, Inbox, Reader};
use super::census::Kept;
use super::class::Failure;

/// A connection of one client.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// From its first good answer on.
    pub kept: Option<Kept>,
}

/// How the stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Closed,
    Reset,
}

/// What lies in a socket that nothing was asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    Nothing,
    Bytes,
    /// The other side has closed or reset it.
    End,
}

/// Looks into a socket without taking anything out, and without the runtime's idea of its readiness, which lags.
pub(super) fn waiting(stream: impl AsFd) -> Waiting {
    let mut byte = [0];
    match rustix::net::recv(stream, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, 0)) => Waiting::End,
        Ok(_) => Waiting::Bytes,
        Err(Errno::AGAIN | Errno::INTR) => Waiting::Nothing,
        Err(_) => Waiting::End,
    }
}

/// Connects, from `source` if one is given.
pub(super) async fn connect(to: SocketAddr, source: Option<IpAddr>, within: Duration) -> Result<TcpStream, Failure> {
    let connecting = async {
        let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(source) = source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        io::Result::Ok(stream)
    };
    match tokio::time::timeout(within, connecting).await {
        Ok(connected) => connected.map_err(|error| Failure::of_connecting(&error)),
        Err(_) => Err(Failure::ConnectTimeout),
    }
}

impl Connection {
    pub(super) async fn open(to: SocketAddr, source: Option<IpAddr>, within: Duration) -> Result<Self, Failure> {
        Ok(Self { stream: connect(to, source, within).await?, kept: None })
    }

    /// Whether it ended, or brought something unasked for, while nothing was asked: it cannot be used again.
    pub(super) fn is_stale(&self) -> bool {
        waiting(&self.stream) != Waiting::Nothing
    }

    /// Sends `request` and reads its answer. After a failure the connection is of no more use.
    pub(super) async fn exchange(
        &mut self,
        request: &[u8],
        inbox: &mut Inbox,
        expected: Option<&[u8]>,
    ) -> Result<Answer, Failure> {
        // A server may answer and close before it has read all: what it said is still there to read, unless it reset.
        let sent = self.send(request).await;
        let mut reader = Reader::new(expected);
        let ending = match self.receive(&mut reader, inbox).await? {
            Received::Whole(answer) => return Ok(answer),
            Received::Ended(ending) => ending,
        };
        let reset = ending == Ending::Reset || sent == Err(Ending::Reset);
        Err(match (reader.begun(), self.kept.is_some()) {
            (true, _) => Failure::Cut,
            (false, true) => Failure::Race,
            (false, false) if reset => Failure::Reset,
            (false, false) => Failure::Closed,
        })
    }

    /// Sends bytes; what remains unsent when the stream has ended, only the reading side can explain.
    async fn send(&self, mut bytes: &[u8]) -> Result<(), Ending> {
        while !bytes.is_empty() {
            match self.stream.try_write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stream.writable().await.map_err(|_| Ending::Reset)?;
                }
                Err(_) => return Err(Ending::Reset),
            }
        }
        Ok(())
    }

    /// Sends the first part of a request, whose rest follows in [`exchange`](Self::exchange), which also finds out
    /// what came of this one.
    pub(super) async fn send_part(&self, part: &[u8]) {
        _ = self.send(part).await;
    }

    async fn receive(&self, reader: &mut Reader<'_>, inbox: &mut Inbox) -> Result<Received, Failure> {
        inbox.clear();
        loop {
            match self.stream.try_read(inbox.room()) {
                Ok(0) => {
                    let whole = reader.end_of_file();
                    return Ok(whole.map_or(Received::Ended(Ending::Closed), Received::Whole));
                }
                Ok(count) => {
                    inbox.filled(count);
                    if let Some(answer) = reader.advance(inbox).map_err(|_| Failure::Garbled)? {
                        return Ok(Received::Whole(answer));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.stream.readable().await.is_err() {
                        return Ok(Received::Ended(Ending::Reset));
                    }
                }
                Err(_) => return Ok(Received::Ended(Ending::Reset)),
            }
        }
    }
}

enum Received {
    Whole(Answer),
    Ended(Ending),
}
