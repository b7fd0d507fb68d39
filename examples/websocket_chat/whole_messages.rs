//! A connection from which WebSocket messages can only be read whole.
//!
//! tungstenite keeps what it has read of a message until the rest arrives, and doesn't give that back. So it is given
//! no message (RFC 6455, section 5) before all of it is there. What is missing its end is kept here, from where it goes
//! along to the next process.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use outlive::upgrade::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of the longest message.
const LONGEST: usize = 8 * 1024;

pub struct WholeMessages {
    connection: Connection,
    /// What was read, and not yet handed on.
    read: BytesMut,
    /// How much of it belongs to a message that is whole.
    whole: usize,
}

impl WholeMessages {
    pub fn new(connection: Connection) -> Self {
        Self { connection, read: BytesMut::new(), whole: 0 }
    }

    /// The connection, with everything that tungstenite hasn't seen.
    pub fn into_inner(mut self) -> Connection {
        self.connection.unread(&self.read);
        self.connection
    }
}

impl AsyncRead for WholeMessages {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.whole == 0 {
                this.whole = first_message(&this.read)?.unwrap_or(0);
            }
            if this.whole > 0 {
                let length = this.whole.min(buf.remaining());
                buf.put_slice(&this.read[..length]);
                this.read.advance(length);
                this.whole -= length;
                return Poll::Ready(Ok(()));
            }
            let mut space = [0; 1024];
            let mut more = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut this.connection).poll_read(cx, &mut more))?;
            if more.filled().is_empty() {
                return Poll::Ready(Ok(())); // the client has gone
            }
            this.read.extend_from_slice(more.filled());
        }
    }
}

/// How long the message is that the bytes begin with, together with control frames between its parts; `None` if its end
/// is missing.
fn first_message(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut at = 0;
    let mut parts = 0;
    while let Some(frame) = Frame::at(&bytes[at..]) {
        at = frame.length.checked_add(at).filter(|end| *end <= LONGEST).ok_or(io::ErrorKind::InvalidData)?;
        if at > bytes.len() {
            return Ok(None);
        }
        if frame.is_last && (!frame.is_control || parts == 0) {
            return Ok(Some(at));
        }
        parts += usize::from(!frame.is_control);
    }
    Ok(None)
}

/// What a frame's first bytes say.
struct Frame {
    is_last: bool,
    is_control: bool,
    /// Of all of it.
    length: usize,
}

impl Frame {
    /// `None` as long as those bytes aren't there.
    fn at(bytes: &[u8]) -> Option<Self> {
        let [first, second] = *bytes.first_chunk()?;
        let (header, payload) = match second & 0x7f {
            126 => (4, u64::from(u16::from_be_bytes(*bytes[2..].first_chunk()?))),
            127 => (10, u64::from_be_bytes(*bytes[2..].first_chunk()?)),
            short => (2, u64::from(short)),
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let length = usize::try_from(payload).unwrap_or(usize::MAX).saturating_add(header + mask);
        Some(Self { is_last: first & 0x80 != 0, is_control: first & 0x08 != 0, length })
    }
}

impl AsyncWrite for WholeMessages {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::first_message;

    #[test]
    fn a_message_is_whole_when_its_last_frame_is() {
        let text = [0x81, 0x82, 1, 2, 3, 4, b'a', b'b'];
        for length in 0..text.len() {
            assert_eq!(first_message(&text[..length]).unwrap(), None);
        }
        assert_eq!(first_message(&[&text[..], &text[..3]].concat()).unwrap(), Some(8));
        let (begin, ping, end) = ([0x01, 0x81, 0, 0, 0, 0, b'a'], [0x89, 0x80, 0, 0, 0, 0], [0x80, 0x80, 0, 0, 0, 0]);
        assert_eq!(first_message(&ping).unwrap(), Some(6));
        assert_eq!(first_message(&[&begin[..], &ping].concat()).unwrap(), None);
        assert_eq!(first_message(&[&begin[..], &ping, &end, &text].concat()).unwrap(), Some(19));
    }

    #[test]
    fn lengths_are_not_believed() {
        assert!(first_message(&[0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(first_message(&[0x81, 0x7e, 0xff, 0xff]).is_err());
        assert_eq!(first_message(&[0x81, 0x7e, 0x10]).unwrap(), None);
    }
}
