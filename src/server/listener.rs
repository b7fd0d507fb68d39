//! A listener: a listening socket with its name, and connections accepted from it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use super::exchange::Peer;
use super::io::Stream;
use crate::systemd::activation::{Passed, Socket};

/// How many connections the kernel may keep waiting: as many as it allows (`net.core.somaxconn`), so that a restart
/// refuses none.
const BACKLOG: i32 = 65_535;

/// A listening socket and its name.
#[derive(Debug)]
pub struct Listener {
    /// The name that the configuration and systemd know it by.
    pub name: Arc<str>,
    /// Where it listens, for people: `127.0.0.1:8080`, `unix:/run/outlive.sock`.
    pub address: String,
    socket: Socket,
}

/// A listener, known to this thread's runtime.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) name: Arc<str>,
    socket: ListeningSocket,
}

#[derive(Debug)]
enum ListeningSocket {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

/// Why a connection couldn't be accepted.
#[derive(Debug)]
pub(crate) enum AcceptError {
    /// The connection that waited is gone already: accept(2) hands its error over.
    Gone,
    /// The system lacks something; the connection stays in the backlog.
    Exhausted(io::Error),
}

impl Listening {
    /// Accepts one connection.
    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<Result<(Stream, Peer), AcceptError>> {
        let accepted = match &self.socket {
            ListeningSocket::Tcp(socket) => {
                ready!(socket.poll_accept(cx)).map(|(stream, peer)| (Stream::Tcp(stream), Peer::Tcp(peer)))
            }
            ListeningSocket::Unix(socket) => {
                ready!(socket.poll_accept(cx)).map(|(stream, _)| (Stream::Unix(stream), Peer::Unix))
            }
        };
        Poll::Ready(accepted.map_err(AcceptError::from))
    }
}

impl From<io::Error> for AcceptError {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            // ENOSPC: epoll's own limit, fs.epoll.max_user_watches; the connection was accepted and is lost then.
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::NOSPC) => Self::Exhausted(error),
            // ECONNABORTED, EPERM (a firewall's word), and the network errors of the new connection that accept(2)
            // says to treat like EAGAIN: none says anything about the listener.
            _ => Self::Gone,
        }
    }
}

impl Listener {
    /// Binds a TCP listener.
    ///
    /// # Errors
    ///
    /// Those of socket(2), bind(2) and listen(2).
    pub fn tcp(name: &str, address: SocketAddr) -> io::Result<Self> {
        Self::new(name, Socket::Tcp(TcpListener::bind(address)?))
    }

    /// Binds a Unix stream listener. A socket file that nobody listens on any more is replaced.
    ///
    /// # Errors
    ///
    /// Those of socket(2), bind(2) and listen(2).
    pub fn unix(name: &str, path: &Path) -> io::Result<Self> {
        let socket = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(path) => {
                std::fs::remove_file(path)?;
                UnixListener::bind(path)?
            }
            other => other?,
        };
        Self::new(name, Socket::Unix(socket))
    }

    /// Serves on a socket that systemd has passed.
    ///
    /// # Errors
    ///
    /// Those of fcntl(2): none is to be expected.
    pub fn passed(passed: Passed) -> io::Result<Self> {
        Self::new(&passed.name, passed.socket)
    }

    fn new(name: &str, socket: Socket) -> io::Result<Self> {
        let address = match &socket {
            Socket::Tcp(tcp) => {
                tcp.set_nonblocking(true)?;
                // Accepted sockets inherit this on Linux, which saves a system call for each.
                rustix::net::sockopt::set_tcp_nodelay(tcp, true)?;
                tcp.local_addr()?.to_string()
            }
            Socket::Unix(unix) => {
                unix.set_nonblocking(true)?;
                let address = unix.local_addr()?;
                match address.as_pathname() {
                    Some(path) => format!("unix:{}", path.display()),
                    None => "unix:(abstract)".to_owned(),
                }
            }
        };
        // A passed socket has the backlog that its unit asks for; listening again would overrule the administrator.
        Ok(Self { name: name.into(), address, socket })
    }

    /// Raises the backlog of a listener that this process has bound itself: std asks for 128 only.
    pub(crate) fn with_full_backlog(self) -> io::Result<Self> {
        rustix::net::listen(&self.socket, BACKLOG)?;
        Ok(self)
    }

    /// One more descriptor of the socket, for another process.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    /// Registers the listener with this thread's runtime: each worker accepts by itself.
    pub(crate) fn register(&self) -> io::Result<Listening> {
        let socket = match &self.socket {
            Socket::Tcp(socket) => ListeningSocket::Tcp(tokio::net::TcpListener::from_std(socket.try_clone()?)?),
            Socket::Unix(socket) => ListeningSocket::Unix(tokio::net::UnixListener::from_std(socket.try_clone()?)?),
        };
        Ok(Listening { name: Arc::clone(&self.name), socket })
    }
}

/// Whether a file is a socket that has nobody behind it.
fn is_abandoned(path: &Path) -> bool {
    // Connecting to any other file is refused as well, and this is asked before one is removed.
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    is_socket && connect(path) == Err(Errno::CONNREFUSED)
}

/// Connects without waiting: somebody whose backlog is full is somebody.
fn connect(path: &Path) -> rustix::io::Result<()> {
    let address = SocketAddrUnix::new(path)?;
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &address)
}
