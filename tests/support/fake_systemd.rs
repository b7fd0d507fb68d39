//! What systemd does for the service, done by the test: it holds the sockets, starts the service on them, and reads its
//! notifications.
//!
//! It cannot replace the real one, whose answers are its own (see `tests/system`), but any number of services run on it
//! at a time, and each notification can be looked at, descriptors included.

use std::ffi::OsString;
use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use tempfile::TempDir;

use super::OUTLIVE;
use super::fake_journald::FakeJournald;
use super::service::Service;
use super::store::Store;

/// The first descriptor that systemd passes: SD_LISTEN_FDS_START of sd_listen_fds(3).
const FIRST_DESCRIPTOR: i32 = 3;

/// LISTEN_PID and WATCHDOG_PID are the service's own number, which only its process knows before it runs.
const BECOME_SERVICE: &str = r#"
[ -z "${LISTEN_FDS-}" ] || export LISTEN_PID=$$
[ -z "${WATCHDOG_USEC-}" ] || export WATCHDOG_PID=$$
exec "$0" "$@"
"#;

/// Set for a test that runs in the service's place.
const IS_SERVICE: &str = "OUTLIVE_TEST_IS_SERVICE";

/// Holds sockets and starts services on them, one after the other.
pub struct FakeSystemd {
    folder: TempDir,
    sockets: Vec<(String, OwnedFd)>,
    addresses: Vec<SocketAddr>,
    /// What it keeps for the service, from one process to the next.
    pub store: Arc<Store>,
}

impl FakeSystemd {
    /// Without sockets.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("outlive-test-").tempdir().unwrap();
        Self { folder, sockets: Vec::new(), addresses: Vec::new(), store: Arc::default() }
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

    /// Closes the socket of that name, as if its unit was gone.
    pub fn forget(&mut self, name: &str) {
        self.sockets.retain(|(known, _)| known != name);
    }

    /// Keeps so many descriptors for the service, as FileDescriptorStoreMax= does.
    pub fn keeping(self, most: usize) -> Self {
        self.store.keep_at_most(most);
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

    /// Puts a program in the place of the one that is on disk, as an upgrade does.
    #[track_caller]
    pub fn install(&self, program: &std::path::Path) {
        let new = self.path("outlive.new");
        std::os::unix::fs::symlink(program, &new).unwrap();
        fs::rename(new, self.path("outlive")).unwrap();
    }

    /// Puts a shell script there.
    #[track_caller]
    pub fn install_script(&self, commands: &str) {
        let script = self.path("script");
        fs::write(&script, format!("#!/bin/sh\n{commands}\n")).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        self.install(&script);
    }

    /// A service with a configuration, not yet started.
    #[track_caller]
    pub fn service(&self, config: &str) -> Launch<'_> {
        fs::write(self.path("outlive.toml"), config).unwrap();
        Launch::new(self)
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
    program: Vec<OsString>,
    environment: Vec<(String, String)>,
    notify: Notify,
    /// Shell commands that its process runs before it becomes the service.
    preparations: String,
    /// Namespaces of its own, as unshare(1) calls them.
    namespaces: Vec<&'static str>,
}

impl<'systemd> Launch<'systemd> {
    fn new(systemd: &'systemd FakeSystemd) -> Self {
        Self {
            systemd,
            program: vec![OUTLIVE.into(), "serve".into(), "--config".into(), systemd.path("outlive.toml").into()],
            environment: Vec::new(),
            notify: Notify::Path,
            preparations: String::new(),
            namespaces: Vec::new(),
        }
    }

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

    /// Runs shell commands in the service's process before it becomes the service.
    pub fn prepare(mut self, commands: &str) -> Self {
        self.preparations.push_str(commands);
        self.preparations.push('\n');
        self
    }

    /// Allows it so many descriptors, as LimitNOFILE= does.
    pub fn limit_descriptors(self, limit: u32) -> Self {
        self.prepare(&format!("ulimit -n {limit}"))
    }

    /// Has another program start it, in the same process.
    pub fn through(mut self, wrapper: &[&str]) -> Self {
        self.program.splice(0..0, wrapper.iter().map(OsString::from));
        self
    }

    /// Takes all capabilities from it, root or not.
    pub fn without_capabilities(self) -> Self {
        self.through(&["setpriv", "--inh-caps=-all", "--bounding-set=-all", "--"])
    }

    /// Gives it a network of its own, in which all ports are free.
    pub fn own_network(mut self) -> Self {
        self.namespaces.push("--net");
        self.prepare("ip link set lo up")
    }

    /// Hides a folder from it, if there is one.
    pub fn hide(mut self, folder: &str) -> Self {
        self.namespaces.push("--mount");
        self.prepare(&format!("[ ! -d {folder} ] || mount -t tmpfs tmpfs {folder}"))
    }

    /// Makes it believe that a unit runs it.
    pub fn in_unit(mut self, unit: &str) -> Self {
        self.namespaces.push("--mount");
        let path = self.systemd.path("cgroup");
        fs::write(&path, format!("0::/system.slice/{unit}\n")).unwrap();
        self.prepare(&format!("mount --bind {} /proc/$$/cgroup", path.display()))
    }

    /// Connects its standard error to a journald. (It can be read all the same.)
    pub fn journald(mut self, journald: &FakeJournald) -> Self {
        self.namespaces.push("--mount");
        let folder = journald.folder().display();
        self.prepare(&format!(
            "mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/journal; mount --bind {folder} /run/systemd/journal\n\
             JOURNAL_STREAM=$(stat --dereference --format=%d:%i /proc/self/fd/2); export JOURNAL_STREAM"
        ))
    }

    /// Puts a shell script where the service finds it before the program of that name.
    #[track_caller]
    pub fn script(self, name: &str, commands: &str) -> Self {
        let path = self.systemd.path("bin").join(name);
        fs::create_dir_all(self.systemd.path("bin")).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{commands}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// Runs the program under another path, which can be given another program later: see [`FakeSystemd::install`].
    #[track_caller]
    pub fn installed(mut self) -> Self {
        self.systemd.install(OUTLIVE.as_ref());
        self.program[0] = self.systemd.path("outlive").into();
        self
    }

    /// Runs another program, which can be replaced later in the same way.
    #[track_caller]
    pub fn program(mut self, program: &std::path::Path) -> Self {
        self.systemd.install(program);
        self.program = vec![self.systemd.path("outlive").into()];
        self
    }

    /// Runs the program with other arguments.
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.program = vec![OUTLIVE.into()];
        self.program.extend(arguments.iter().map(OsString::from));
        self
    }

    /// Runs this test program instead of the service, and in it one test alone, to which [`is_service`] is true: for
    /// what can only be seen from within a process that systemd has started.
    #[track_caller]
    pub fn test(mut self, name: &str) -> Self {
        let arguments = ["--exact", name, "--nocapture"].map(OsString::from);
        self.program = [std::env::current_exe().unwrap().into()].into_iter().chain(arguments).collect();
        self.env(IS_SERVICE, "1")
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
        let mut command = self.command();
        command.env_clear().env("PATH", self.path()).env("RUST_BACKTRACE", "1");
        command.env("NOTIFY_SOCKET", address).env("RUNTIME_DIRECTORY", self.systemd.path("run"));
        fs::create_dir_all(self.systemd.path("run")).unwrap();
        let sockets = self.systemd.sockets.iter().map(|(name, socket)| (name.clone(), socket.try_clone().unwrap()));
        let passed: Vec<_> = sockets.chain(self.systemd.store.duplicates()).collect();
        if !passed.is_empty() {
            let names: Vec<_> = passed.iter().map(|(name, _)| name.as_str()).collect();
            command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        }
        command.envs(self.environment);
        let mappings =
            (FIRST_DESCRIPTOR..).zip(passed).map(|(child_fd, (_, parent_fd))| FdMapping { parent_fd, child_fd });
        command.fd_mappings(mappings.collect()).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut service = Service::new(child, socket, folder, Arc::clone(&self.systemd.store));
        if self.notify != Notify::Unread {
            service.read_notifications();
        }
        service
    }

    fn command(&self) -> Command {
        let mut command = Command::new(if self.namespaces.is_empty() { "sh" } else { "unshare" });
        if !self.namespaces.is_empty() {
            // Whoever isn't root can only be it in a namespace of users.
            let user = (!rustix::process::geteuid().is_root()).then_some("--map-root-user");
            command.args(&self.namespaces).args(user).args(["--", "sh"]);
        }
        command.arg("-euc").arg(format!("{}{BECOME_SERVICE}", self.preparations)).args(&self.program);
        command
    }

    fn path(&self) -> OsString {
        let mut path = self.systemd.path("bin").into_os_string();
        path.push(":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        path
    }
}

/// Whether this is a process that [`Launch::test`] has started.
pub fn is_service() -> bool {
    std::env::var_os(IS_SERVICE).is_some()
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
