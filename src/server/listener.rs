//! A listener: a listening socket with its name, and connections accepted from it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketFlags};

use super::exchange::Peer;
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

/// A connection that was accepted, not yet known to any runtime.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: Accept,
    pub(crate) peer: Peer,
    pub(crate) listener: Arc<str>,
}

/// An accepted, non-blocking stream.
#[derive(Debug)]
pub(crate) enum Accept {
    Tcp(std::net::TcpStream),
    Unix(UnixStream),
}

/// What became of an attempt to accept.
#[derive(Debug)]
pub(crate) enum AcceptError {
    /// No connection waits.
    Empty,
    /// The connection that waited is gone already: accept(2) hands its error over.
    Gone,
    /// The system lacks something; the connection stays in the backlog.
    Exhausted(io::Error),
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

    /// Accepts one connection, non-blocking and close-on-exec.
    pub(crate) fn accept(&self) -> Result<Accepted, AcceptError> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        match rustix::net::acceptfrom_with(&self.socket, flags) {
            Ok((stream, peer)) => Ok(self.accepted(stream, peer)),
            Err(Errno::AGAIN) => Err(AcceptError::Empty),
            Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                Err(AcceptError::Exhausted(error.into()))
            }
            // EINTR, ECONNABORTED, EPERM (a firewall's word), and the network errors of the new connection that
            // accept(2) says to treat like EAGAIN: none says anything about the listener.
            Err(_) => Err(AcceptError::Gone),
        }
    }

    fn accepted(&self, stream: OwnedFd, peer: Option<SocketAddrAny>) -> Accepted {
        let listener = Arc::clone(&self.name);
        match self.socket {
            Socket::Tcp(_) => {
                // A TCP peer always has an address; the fallback is the unspecified one.
                let address = peer
                    .and_then(|peer| SocketAddr::try_from(peer).ok())
                    .unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
                Accepted { stream: Accept::Tcp(stream.into()), peer: Peer::Tcp(address), listener }
            }
            Socket::Unix(_) => Accepted { stream: Accept::Unix(stream.into()), peer: Peer::Unix, listener },
        }
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_fd().as_raw_fd()
    }
}

/// A listener shared by all workers, each of which registers it with a runtime of its own.
#[derive(Debug)]
pub(crate) struct Shared(pub(crate) Arc<Listener>);

impl AsRawFd for Shared {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Whether a socket file has nobody behind it.
fn is_abandoned(path: &Path) -> bool {
    UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}
