//! What systemd passes in, with names: listening sockets, and what it has kept for this process.
//! See sd_listen_fds_with_names(3).
//!
//! listenfd turns the numbers into owned descriptors. This layer adds what it leaves out: the names, the check that a
//! socket really listens (a connected one passes listenfd's own checks), counts that don't fit, and the removal of
//! every variable of the protocol, so that no child takes itself for the addressee.

use std::env;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};

use listenfd::ListenFd;
use rustix::net::{AddressFamily, SocketType};

/// The number of the first descriptor passed: SD_LISTEN_FDS_START of sd_listen_fds(3).
pub const FIRST: RawFd = 3;

/// The name of the descriptor that links a successor to the process that has started it.
pub const LINK: &str = "outlive-predecessor";

/// The name of a descriptor passed without names: sd_listen_fds_with_names(3).
const UNNAMED: &str = "unknown";

const VARIABLES: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"];

/// Where listenfd begins to count if this is set. The protocol has no such variable: it always begins at [`FIRST`].
const FIRST_VARIABLE: &str = "LISTEN_FDS_FIRST_FD";

/// A listening stream socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP over IPv4 or IPv6.
    Tcp(TcpListener),
    /// A Unix stream socket.
    Unix(UnixListener),
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

/// A listening socket that systemd has passed.
#[derive(Debug)]
pub struct Passed {
    /// Its `FileDescriptorName=`; several may share one.
    pub name: String,
    /// The socket itself, close-on-exec.
    pub socket: Socket,
}

/// A descriptor that systemd has kept for this process.
#[derive(Debug)]
pub struct Stored {
    /// Its `FDNAME=`.
    pub name: String,
    /// The descriptor itself, close-on-exec.
    pub descriptor: OwnedFd,
}

/// All that systemd has passed.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Listening sockets, from systemd or from the process that this one follows.
    pub listeners: Vec<Passed>,
    /// Descriptors from the store.
    pub stored: Vec<Stored>,
    /// The link to the process that this one follows, if it was started by a reload.
    pub link: Option<OwnedFd>,
}

/// What systemd has passed cannot be served on.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// `LISTEN_FDS` is not a number.
    #[error("LISTEN_FDS is {value:?}, not a number of descriptors: whatever started outlive should not set it")]
    Count {
        /// The variable's value.
        value: String,
    },
    /// There are more or fewer names than descriptors.
    #[error(
        "{count} descriptors were passed (LISTEN_FDS) with {names} names (LISTEN_FDNAMES={value:?}): \
         check FileDescriptorName= in the .socket units"
    )]
    Names {
        /// Descriptors announced.
        count: usize,
        /// Names found.
        names: usize,
        /// The variable's value.
        value: String,
    },
    /// A descriptor is no listening stream socket.
    #[error("descriptor {number} ({name:?}) is {what}: {cure}")]
    Descriptor {
        /// The descriptor's number in this process.
        number: RawFd,
        /// Its name.
        name: String,
        /// What it is instead.
        what: String,
        /// The directive to look at.
        cure: &'static str,
    },
}

/// Takes the descriptors that systemd has passed to this process, and cleans the environment of them. Those whose name
/// `is_stored` are from the store, whatever they are; all others must be listening sockets.
///
/// Only the first call gets anything. A process to which nothing was passed gets an empty list of listeners, and so does
/// one that merely inherited somebody else's variables (`LISTEN_PID` is another process).
///
/// To be called early. Once there is a second thread the environment can't be cleaned any more, since that thread may
/// be reading it: then children inherit the variables. They can't take themselves for the addressee, because `LISTEN_PID`
/// is another process, and the descriptors are closed for them.
///
/// # Errors
///
/// A descriptor that isn't a listening stream socket, or a count that doesn't fit; each error names the directive of
/// systemd.socket(5) to look at.
pub fn take(is_stored: fn(&str) -> bool) -> Result<Inherited, ActivationError> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(Inherited::default());
    }
    let variable = |name| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let (pid, announced, names) = (variable("LISTEN_PID"), variable("LISTEN_FDS"), variable("LISTEN_FDNAMES"));
    let alone = is_only_thread();
    if alone {
        remove_variables(&[FIRST_VARIABLE]);
    }
    // Looked at before listenfd does: it makes room for as many as it is told.
    let count = announced.as_ref().map(|value| value.parse::<u16>());
    let mut passed = match count {
        Some(Ok(_)) if alone => Passage::Alone(ListenFd::from_env()),
        Some(Ok(count)) if is_ours(pid.as_deref()) => Passage::Threads(count),
        _ => Passage::Threads(0),
    };
    if alone {
        remove_variables(&VARIABLES);
    }
    if let (Some(Err(_)), Some(value), true) = (count, announced, is_ours(pid.as_deref())) {
        return Err(ActivationError::Count { value });
    }
    let names = match names.filter(|_| passed.len() > 0) {
        Some(value) => {
            let names: Vec<String> = value.split(':').map(str::to_owned).collect();
            if names.len() != passed.len() {
                return Err(ActivationError::Names { count: passed.len(), names: names.len(), value });
            }
            names
        }
        None => vec![UNNAMED.to_owned(); passed.len()],
    };
    let mut inherited = Inherited::default();
    for (index, name) in names.into_iter().enumerate() {
        if name == LINK {
            inherited.link = take_stored(&mut passed, index);
        } else if !is_stored(&name) {
            inherited.listeners.push(take_one(&mut passed, index, name)?);
        } else if let Some(descriptor) = take_stored(&mut passed, index) {
            inherited.stored.push(Stored { name, descriptor });
        }
    }
    Ok(inherited)
}

/// The descriptors that were passed.
enum Passage {
    /// By listenfd, which changes the environment.
    Alone(ListenFd),
    /// So many, in a process with several threads: nothing may change the environment then.
    Threads(u16),
}

impl Passage {
    fn len(&self) -> usize {
        match self {
            Self::Alone(passed) => passed.len(),
            Self::Threads(count) => usize::from(*count),
        }
    }
}

/// Whether this process has no other thread. Where it can't be told, it has.
fn is_only_thread() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1)
}

/// Takes a descriptor of any kind, if it is open.
fn take_stored(passed: &mut Passage, index: usize) -> Option<OwnedFd> {
    let number = match passed {
        Passage::Alone(passed) => passed.take_raw_fd(index).ok()??,
        Passage::Threads(_) => number(index),
    };
    // SAFETY: looked at for this one call, which says whether it is open.
    #[allow(unsafe_code)]
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::CLOEXEC).ok()?;
    // SAFETY: it is open, it was passed to this process to own, and listenfd gives each number away once only.
    #[allow(unsafe_code)]
    let owned = unsafe { OwnedFd::from_raw_fd(number) };
    Some(owned)
}

/// Whether the variables are meant for this process; listenfd takes it that those without a `LISTEN_PID` are.
fn is_ours(pid: Option<&str>) -> bool {
    pid.is_none_or(|pid| pid.is_empty() || pid.parse() == Ok(std::process::id()))
}

fn take_one(passed: &mut Passage, index: usize, name: String) -> Result<Passed, ActivationError> {
    let socket = match passed {
        Passage::Alone(passed) => {
            if let Ok(Some(tcp)) = passed.take_tcp_listener(index) {
                Socket::Tcp(tcp)
            } else if let Ok(Some(unix)) = passed.take_unix_listener(index) {
                Socket::Unix(unix)
            } else {
                return Err(describe(passed, index, name));
            }
        }
        Passage::Threads(_) => {
            let descriptor = take_stored(passed, index);
            let Some(socket) = descriptor.and_then(as_stream_socket) else {
                let cure = "use ListenStream= in the .socket unit";
                return Err(ActivationError::Descriptor {
                    number: number(index),
                    name,
                    what: "no listening stream socket".to_owned(),
                    cure,
                });
            };
            socket
        }
    };
    if rustix::net::sockopt::socket_acceptconn(socket.as_fd()).unwrap_or(false) {
        return Ok(Passed { name, socket });
    }
    let (what, cure) = if rustix::net::getpeername(socket.as_fd()).is_ok_and(|peer| peer.is_some()) {
        ("a connected socket", "the .socket unit must say Accept=no, so that the service accepts by itself")
    } else {
        ("a stream socket that does not listen", "let the .socket unit open it with ListenStream=")
    };
    Err(ActivationError::Descriptor { number: number(index), name, what: what.to_owned(), cure })
}

/// What listenfd does, but for the environment.
fn as_stream_socket(descriptor: OwnedFd) -> Option<Socket> {
    if rustix::net::sockopt::socket_type(&descriptor) != Ok(SocketType::STREAM) {
        return None;
    }
    match rustix::net::sockopt::socket_domain(&descriptor) {
        Ok(AddressFamily::INET | AddressFamily::INET6) => Some(Socket::Tcp(descriptor.into())),
        Ok(AddressFamily::UNIX) => Some(Socket::Unix(descriptor.into())),
        _ => None,
    }
}

/// Says what a descriptor is that neither kind of listener could be made of.
fn describe(passed: &mut ListenFd, index: usize, name: String) -> ActivationError {
    let number = number(index);
    let link = std::fs::read_link(format!("/proc/self/fd/{number}"));
    let (what, cure) = if matches!(passed.take_udp_socket(index), Ok(Some(_))) {
        ("a UDP socket".to_owned(), "use ListenStream= in the .socket unit, not ListenDatagram=")
    } else if matches!(passed.take_unix_datagram(index), Ok(Some(_))) {
        ("a Unix datagram socket".to_owned(), "use ListenStream= in the .socket unit, not ListenDatagram=")
    } else if let Ok(link) = link {
        let link = link.to_string_lossy().into_owned();
        if link.starts_with("socket:") {
            (
                "a socket that is neither TCP nor a Unix stream".to_owned(),
                "use ListenStream= in the .socket unit, not ListenSequentialPacket= or ListenNetlink=",
            )
        } else if link.starts_with("pipe:") {
            ("a pipe".to_owned(), "use ListenStream= in the .socket unit, not ListenFIFO=")
        } else {
            (format!("a file ({link})"), "remove OpenFile= or ListenSpecial= from the units, and use ListenStream=")
        }
    } else {
        ("not open".to_owned(), "LISTEN_FDS is higher than the number of descriptors that were really passed")
    };
    ActivationError::Descriptor { number, name, what, cure }
}

fn number(index: usize) -> RawFd {
    // An index is below LISTEN_FDS, which was parsed as a u16.
    FIRST + RawFd::try_from(index).unwrap_or(RawFd::MAX - FIRST)
}

fn remove_variables(names: &[&str]) {
    for name in names {
        // SAFETY: `take` has found this process to have no second thread, so nothing can read the environment at the
        // same time.
        #[allow(unsafe_code)]
        unsafe {
            env::remove_var(name);
        }
    }
}
