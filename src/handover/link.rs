//! The link: a pair of sockets between a process and its successor, over which they agree on the change and hand
//! connections over.
//!
//! It is a Unix socket that keeps messages apart (SOCK_SEQPACKET), so that each carries its descriptors, threads can
//! send at the same time, and its end is told from silence. In the order of a reload:
//!
//! | message | sent by | means |
//! |---|---|---|
//! | `launch` | the old process | your listeners, as descriptors, and their names |
//! | `pid` | the successor, before it becomes the program on disk | this is my process |
//! | `go` | the old one | I watch it: become the program |
//! | `hello` | the old one | what you follow; your standard error is the descriptor |
//! | `ready`, or `failed` | the successor | every worker accepts, and which version of records it reads; or why not |
//! | `main` | the old one | you are the service now; the descriptors are links to processes still older |
//! | `taken` | the successor | I have taken over |
//! | `connection` | the old one | go on with this one |
//! | `stop`, `hammer` | the successor | the service ends: within so many microseconds; at once |
//!
//! A message begins with its name and a newline. An unknown one is ignored: the two processes may be of different
//! versions.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};
use serde_json::{Value, json};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Descriptors that one message can carry: SCM_MAX_FD of unix(7).
pub const MOST_DESCRIPTORS: usize = 253;

/// Bytes of a message; a longer reason is cut short.
const LONGEST: usize = 32 * 1024;

/// What a successor is told of the process that it follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The number of the process that started it.
    pub generation: u64,
    /// Names of the listeners that came from the configuration, not from systemd.
    pub bound: Vec<String>,
    /// How many connections it has: as many are about to come.
    pub connections: usize,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Names for the listeners that come along, in several messages if they are many.
    Launch {
        /// Of all listeners, in order.
        names: Vec<String>,
        /// The process that sends this.
        from: u32,
    },
    /// The successor's process.
    Pid(u32),
    /// Become the program.
    Go,
    /// What it follows.
    Hello(Hello),
    /// Every worker accepts, and goes on with connections whose records are of this version.
    Ready(u16),
    /// It can't serve, and why.
    Failed(String),
    /// It is the service now.
    Main,
    /// It has taken over.
    Taken,
    /// The service ends within that time.
    Stop(Option<Duration>),
    /// The service ends at once.
    Hammer,
    /// A connection: see [`super::passage`].
    Connection(Vec<u8>),
    /// Something that this version doesn't know.
    Unknown(String),
}

impl Message {
    fn encode(&self) -> Vec<u8> {
        let (name, body) = match self {
            Self::Launch { names, from } => ("launch", json!({ "names": names, "from": from }).to_string()),
            Self::Pid(pid) => ("pid", pid.to_string()),
            Self::Go => ("go", String::new()),
            Self::Hello(hello) => {
                let Hello { generation, bound, connections } = hello;
                ("hello", json!({ "generation": generation, "bound": bound, "connections": connections }).to_string())
            }
            Self::Ready(records) => ("ready", records.to_string()),
            Self::Failed(reason) => ("failed", shortened(reason).to_owned()),
            Self::Main => ("main", String::new()),
            Self::Taken => ("taken", String::new()),
            Self::Stop(within) => ("stop", within.map_or_else(String::new, |within| within.as_micros().to_string())),
            Self::Hammer => ("hammer", String::new()),
            Self::Connection(bytes) => return [b"connection\n", &bytes[..]].concat(),
            Self::Unknown(name) => (name.as_str(), String::new()),
        };
        format!("{name}\n{body}").into_bytes()
    }

    fn decode(bytes: &[u8]) -> Self {
        if let Some(body) = bytes.strip_prefix(b"connection\n") {
            return Self::Connection(body.to_vec());
        }
        let text = String::from_utf8_lossy(bytes);
        let (name, body) = text.split_once('\n').unwrap_or((&text, ""));
        let known = match name {
            "launch" => serde_json::from_str(body).ok().and_then(|value: Value| {
                Some(Self::Launch { names: strings(&value["names"]), from: value["from"].as_u64()?.try_into().ok()? })
            }),
            "pid" => body.parse().ok().map(Self::Pid),
            "go" => Some(Self::Go),
            "hello" => serde_json::from_str(body).ok().and_then(|value: Value| {
                let generation = value["generation"].as_u64()?;
                let connections = value["connections"].as_u64().and_then(|number| number.try_into().ok()).unwrap_or(0);
                Some(Self::Hello(Hello { generation, bound: strings(&value["bound"]), connections }))
            }),
            "ready" => body.parse().ok().map(Self::Ready),
            "failed" => Some(Self::Failed(body.to_owned())),
            "main" => Some(Self::Main),
            "taken" => Some(Self::Taken),
            "stop" => Some(Self::Stop(body.parse().ok().map(Duration::from_micros))),
            "hammer" => Some(Self::Hammer),
            _ => None,
        };
        known.unwrap_or_else(|| Self::Unknown(name.to_owned()))
    }
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST - 1024)]
}

/// Two ends of a new link.
///
/// # Errors
///
/// Those of socketpair(2).
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends a message.
///
/// # Errors
///
/// Those of sendmsg(2): EPIPE if the other end is gone, EAGAIN if the socket doesn't block and its queue is full.
pub fn send(socket: BorrowedFd<'_>, message: &Message, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = message.encode();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::TOOMANYREFS.into());
    }
    let sent = rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)
    });
    Ok(sent.map(drop)?)
}

/// Receives a message with its descriptors, close-on-exec; `None` once the other end is gone.
///
/// # Errors
///
/// Those of recvmsg(2): EAGAIN if the socket doesn't block and nothing is there.
pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        let mut buffers = [IoSliceMut::new(&mut bytes)];
        rustix::net::recvmsg(socket, &mut buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    });
    let length = match received {
        Ok(received) if received.bytes > 0 => received.bytes,
        // It was closed with something in its queue that it hadn't read.
        Ok(_) | Err(Errno::CONNRESET) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let rights = ancillary.drain().filter_map(|item| match item {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    let descriptors = rights.flatten().collect();
    Ok(Some((Message::decode(&bytes[..length]), descriptors)))
}

/// One end of a link, known to a runtime.
#[derive(Debug)]
pub struct Link {
    /// Only by its type for streams: tokio tells when it is ready, and the messages are kept apart all the same.
    socket: UnixStream,
}

impl Link {
    /// Makes a link known to this thread's runtime.
    ///
    /// # Errors
    ///
    /// Those of fcntl(2) and epoll_ctl(2).
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self { socket: UnixStream::from_std(socket.into())? })
    }

    /// One more descriptor of its socket.
    ///
    /// # Errors
    ///
    /// That there are too many.
    pub fn socket(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    /// Sends a message.
    ///
    /// # Errors
    ///
    /// As [`send`], but waits while the queue is full.
    pub async fn send(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.socket.async_io(Interest::WRITABLE, || send(self.socket.as_fd(), message, descriptors)).await
    }

    /// Receives a message; `None` once the other end is gone. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// As [`receive`], but waits while nothing is there.
    pub async fn receive(&self) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
        self.socket.async_io(Interest::READABLE, || receive(self.socket.as_fd())).await
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn every_message_is_read_as_it_was_written() {
        let (one, other) = pair().unwrap();
        for message in [
            Message::Launch { names: vec!["http".to_owned(), "a b".to_owned()], from: 7 },
            Message::Pid(12),
            Message::Go,
            Message::Hello(Hello { generation: 3, bound: vec!["http".to_owned()], connections: 7 }),
            Message::Ready(1),
            Message::Failed("cannot\nserve".to_owned()),
            Message::Main,
            Message::Taken,
            Message::Stop(Some(Duration::from_millis(1500))),
            Message::Stop(None),
            Message::Hammer,
            Message::Connection(vec![0, 255, b'\n']),
            Message::Unknown("news".to_owned()),
        ] {
            send(one.as_fd(), &message, &[]).unwrap();
            assert_eq!(receive(other.as_fd()).unwrap().unwrap().0, message);
        }
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let (one, other) = pair().unwrap();
        send(one.as_fd(), &Message::Failed("ü".repeat(LONGEST)), &[]).unwrap();
        let Some((Message::Failed(reason), _)) = receive(other.as_fd()).unwrap() else { panic!("another message") };
        assert!(reason.len() > LONGEST / 2 && reason.chars().all(|c| c == 'ü'));
    }

    #[test]
    fn descriptors_come_along_and_the_end_is_seen() {
        let (one, other) = pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        send(one.as_fd(), &Message::Main, &[writer.as_fd()]).unwrap();
        drop((one, writer));
        let (_, descriptors) = receive(other.as_fd()).unwrap().unwrap();
        assert!(receive(other.as_fd()).unwrap().is_none());
        std::io::Write::write_all(&mut std::fs::File::from(descriptors.into_iter().next().unwrap()), b"x").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }

    #[test]
    fn garbage_is_unknown() {
        for bytes in [&b""[..], b"\xff\xfe", b"launch\n{", b"pid\n-1", b"hello\n[]"] {
            assert!(matches!(Message::decode(bytes), Message::Unknown(_)), "{bytes:?}");
        }
    }
}
