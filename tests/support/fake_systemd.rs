//! What systemd does for the service, done by the test: it holds the sockets, starts the service on them, and reads its
//! notifications.
//!
//! It cannot replace the real one, whose answers are its own (see `tests/system`), but any number of services run on it
//! at a time, and each notification can be looked at, descriptors included.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use rustix::net::Shutdown;
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use super::OUTLIVE;
use super::notification::{Log, Notification, receive};
use super::wait::SOON;

/// The first descriptor that systemd passes: SD_LISTEN_FDS_START of sd_listen_fds(3).
const FIRST_DESCRIPTOR: i32 = 3;

/// LISTEN_PID and WATCHDOG_PID are the service's own number, which only its process knows before it runs.
const BECOME_SERVICE: &str = r#"
[ -z "${LISTEN_FDS-}" ] || export LISTEN_PID=$$
[ -z "${WATCHDOG_USEC-}" ] || export WATCHDOG_PID=$$
exec "$0" "$@"
"#;

/// Holds sockets and starts services on them, one after the other.
pub struct FakeSystemd {
    folder: TempDir,
    sockets: Vec<(String, OwnedFd)>,
    addresses: Vec<SocketAddr>,
}

impl FakeSystemd {
    /// Without sockets.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("outlive-test-").tempdir().unwrap();
        Self { folder, sockets: Vec::new(), addresses: Vec::new() }
    }

    /// With one TCP socket named `http`.
    pub fn with_http() -> Self {
        Self::new().tcp("http", "127.0.0.1:0")
    }

    /// Listens on TCP.
    #[track_caller]
    pub fn tcp(mut self, name: &str, address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        // The standard library asks for a backlog of 128 only.
        rustix::net::listen(&listener, i32::from(u16::MAX)).unwrap();
        self.addresses.push(listener.local_addr().unwrap());
        self.descriptor(name, listener.into())
    }

    /// Listens on a Unix socket, at [`Self::path`] of its name.
    #[track_caller]
    pub fn unix(self, name: &str) -> Self {
        let listener = UnixListener::bind(self.path(name)).unwrap();
        self.descriptor(name, listener.into())
    }

    /// Opens a UDP socket, which no HTTP service can serve on.
    #[track_caller]
    pub fn udp(self, name: &str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        self.descriptor(name, socket.into())
    }

    /// Passes any descriptor.
    pub fn descriptor(mut self, name: &str, descriptor: OwnedFd) -> Self {
        self.sockets.push((name.to_owned(), descriptor));
        self
    }

    /// Where the TCP sockets listen, in their order.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.addresses.iter().copied()
    }

    /// Where the first TCP socket listens.
    #[track_caller]
    pub fn http(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// A path in a folder that is removed in the end.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A service with a configuration, not yet started.
    #[track_caller]
    pub fn service(&self, config: &str) -> Launch<'_> {
        fs::write(self.path("outlive.toml"), config).unwrap();
        Launch { systemd: self, environment: Vec::new(), notify: Notify::Path }
    }

    /// Starts a service with a configuration and waits until it is ready.
    #[track_caller]
    pub fn start(&self, config: &str) -> Service {
        self.service(config).start()
    }
}

/// What NOTIFY_SOCKET says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Notify {
    Path,
    Abstract,
    /// A path, but nobody reads what arrives there until [`Service::read_notifications`].
    Unread,
}

/// A service that is about to be started.
pub struct Launch<'systemd> {
    systemd: &'systemd FakeSystemd,
    environment: Vec<(String, String)>,
    notify: Notify,
}

impl Launch<'_> {
    /// Sets a variable of the service's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Expects a sign of life so often, as WatchdogSec= does.
    pub fn watchdog(self, every: Duration) -> Self {
        self.env("WATCHDOG_USEC", &every.as_micros().to_string())
    }

    /// Receives notifications on an abstract socket.
    pub fn abstract_notify_socket(mut self) -> Self {
        self.notify = Notify::Abstract;
        self
    }

    /// Leaves notifications unread, as a systemd that is busy does.
    pub fn slow_to_read(mut self) -> Self {
        self.notify = Notify::Unread;
        self
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Service {
        let service = self.spawn();
        service.wait_for("READY=1");
        service
    }

    /// Starts it.
    #[track_caller]
    pub fn spawn(self) -> Service {
        let folder = tempfile::Builder::new().prefix("service-").tempdir_in(self.systemd.folder.path()).unwrap();
        let (socket, address) = notify_socket(&folder, self.notify);
        let mut command = Command::new("sh");
        command.args(["-euc", BECOME_SERVICE]).arg(OUTLIVE);
        command.args(["serve", "--config"]).arg(self.systemd.path("outlive.toml"));
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("RUST_BACKTRACE", "1");
        command.env("NOTIFY_SOCKET", address).env("RUNTIME_DIRECTORY", self.systemd.path("run"));
        fs::create_dir_all(self.systemd.path("run")).unwrap();
        if !self.systemd.sockets.is_empty() {
            let names: Vec<_> = self.systemd.sockets.iter().map(|(name, _)| name.as_str()).collect();
            command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        }
        command.envs(self.environment);
        let passed = (FIRST_DESCRIPTOR..).zip(&self.systemd.sockets).map(|(number, (_, descriptor))| FdMapping {
            parent_fd: descriptor.try_clone().unwrap(),
            child_fd: number,
        });
        command.fd_mappings(passed.collect()).unwrap();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::inherit()).stderr(Stdio::piped()).spawn().unwrap();

        let said = Arc::new(Log::default());
        let reader = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::clone(&said);
        thread::spawn(move || reader.lines().map_while(Result::ok).for_each(|line| log.push(line)));
        let mut service = Service {
            child,
            said,
            inbox: Arc::new(Log::default()),
            socket: Arc::new(socket),
            reader: None,
            _folder: folder,
        };
        if self.notify != Notify::Unread {
            service.read_notifications();
        }
        service
    }
}

fn notify_socket(folder: &TempDir, kind: Notify) -> (UnixDatagram, String) {
    let path = folder.path().join("notify");
    let path = path.to_str().unwrap();
    let (address, text) = if kind == Notify::Abstract {
        (std::os::unix::net::SocketAddr::from_abstract_name(path).unwrap(), format!("@{path}"))
    } else {
        (std::os::unix::net::SocketAddr::from_pathname(path).unwrap(), path.to_owned())
    };
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    rustix::net::sockopt::set_socket_passcred(&socket, true).unwrap();
    (socket, text)
}

/// A service that runs, or ran. Dropping it kills it.
pub struct Service {
    child: Child,
    said: Arc<Log<String>>,
    inbox: Arc<Log<Notification>>,
    socket: Arc<UnixDatagram>,
    reader: Option<JoinHandle<()>>,
    _folder: TempDir,
}

impl Service {
    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    /// Begins to read notifications, if that was put off.
    pub fn read_notifications(&mut self) {
        let (socket, inbox) = (Arc::clone(&self.socket), Arc::clone(&self.inbox));
        self.reader.get_or_insert_with(|| {
            thread::spawn(move || {
                while let Ok(Some(notification)) = receive(&socket) {
                    inbox.push(notification);
                }
            })
        });
    }

    /// Waits for a notification with a line, among all that it ever sent.
    #[track_caller]
    pub fn wait_for(&self, line: &str) {
        self.wait_until(line, |sent| sent.iter().any(|n| n.lines.iter().any(|l| l == line)).then_some(()));
    }

    /// Waits until what it has notified of shows something.
    ///
    /// # Panics
    ///
    /// If that takes too long, with all notifications and all that the service wrote to standard error.
    #[track_caller]
    pub fn wait_until<R>(&self, what: &str, look: impl FnMut(&[Notification]) -> Option<R>) -> R {
        self.inbox.wait(SOON, look).unwrap_or_else(|| panic!("waited in vain for {what}\n{}", self.story()))
    }

    /// Looks at all its notifications so far.
    pub fn notifications<R>(&self, read: impl FnOnce(&[Notification]) -> R) -> R {
        self.inbox.read(read)
    }

    /// Waits for a line on standard error that contains a text, and returns it.
    #[track_caller]
    pub fn wait_for_line(&self, text: &str) -> String {
        let find = |lines: &[String]| lines.iter().find(|line| line.contains(text)).cloned();
        self.said
            .wait(SOON, find)
            .unwrap_or_else(|| panic!("waited in vain for a line with {text:?}\n{}", self.story()))
    }

    /// All that it wrote to standard error so far.
    pub fn said(&self) -> String {
        self.said.read(|lines| lines.join("\n"))
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        self.wait_for_exit_within(SOON)
    }

    /// Waits for its end, so long at most.
    #[track_caller]
    pub fn wait_for_exit_within(&mut self, limit: Duration) -> ExitStatus {
        // A pidfd becomes readable when the process ends.
        let process = rustix::process::pidfd_open(self.pid(), rustix::process::PidfdFlags::empty());
        if let Ok(process) = process {
            let mut ended = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
            let limit = limit.try_into().unwrap();
            let events = rustix::io::retry_on_intr(|| rustix::event::poll(&mut ended, Some(&limit))).unwrap();
            assert!(events > 0, "it has not ended within {limit:?}\n{}", self.story());
        }
        self.child.wait().unwrap()
    }

    /// Its notifications and what it wrote to standard error.
    fn story(&self) -> String {
        let sent: Vec<_> = self.inbox.read(|sent| sent.iter().map(|n| n.lines.join(", ")).collect());
        format!("Notifications:\n{}\nStandard error:\n{}", sent.join("\n"), self.said())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Lets the reader see an end.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        if thread::panicking() {
            eprintln!("The service at the end of a failed test. {}", self.story());
        }
    }
}
