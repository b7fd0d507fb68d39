//! A host with a real systemd, for one test.
//!
//! systemd-nspawn boots it on an overlay above a root file system that is made once (`tests/support/rootfs`). The
//! overlay's upper layer is a tmpfs in a mount namespace of the container's own, and its processes are in a cgroup of
//! their own and die with the thread that booted it: however a test ends, no process and no mount of a container stays
//! behind, and any number of them run side by side.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use super::journal::{Entry, Follower};
use super::running::{Running, Text as _};
use super::wait::{SOON, until};
use super::{OUTLIVE, cgroup, unit};

/// The releases of systemd that the service is tested with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// Debian 12: systemd 252.
    Bookworm,
    /// Debian 13: systemd 257.
    Trixie,
}

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }
}

/// Defines a test for each systemd of tests that take a [`Suite`].
#[macro_export]
macro_rules! on_every_systemd {
    ($($test:ident),+ $(,)?) => {
        $(mod $test {
            use $crate::support::container::Suite;

            #[test]
            fn systemd_252() {
                super::$test(Suite::Bookworm);
            }

            #[test]
            fn systemd_257() {
                super::$test(Suite::Trixie);
            }
        })+
    };
}

/// Held while a container runs: many at a time, or one that wants the machine to itself.
static MACHINE: RwLock<()> = RwLock::new(());

enum Turn {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

/// A booted container. Dropping it ends it.
pub struct Container {
    suite: Suite,
    nspawn: Child,
    /// The container's PID 1, as the test sees it, once nspawn has told it.
    leader: Option<Pid>,
    folder: TempDir,
    cgroups: Vec<PathBuf>,
    _turn: Turn,
}

/// Where the service serves unless a test says otherwise: the `ListenStream=` of the socket unit.
pub const SERVICE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// A boot takes a third of a second; a machine that is busy with a build may need longer.
const BOOT_LIMIT: Duration = Duration::from_secs(60);

/// Mounts what the container's root is made of, and becomes systemd-nspawn.
///
/// Arguments: the folder, the root file system below, then cgroups to be in, up to `--`, then systemd-nspawn's.
const BOOT: &str = r#"
folder=$1 lower=$2
shift 2
mount -t tmpfs -o mode=0755 outlive-test "$folder/fs"
mkdir "$folder/fs/upper" "$folder/fs/work" "$folder/fs/root"
mount -t overlay -o "lowerdir=$lower,upperdir=$folder/fs/upper,workdir=$folder/fs/work" overlay "$folder/fs/root"
while [ "$1" != -- ]; do
  echo $$ >"$1/cgroup.procs"
  shift
done
shift
exec systemd-nspawn --directory "$folder/fs/root" "$@"
"#;

impl Container {
    /// Boots a container, beside others.
    pub fn boot(suite: Suite) -> Self {
        let guard = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
        Self::boot_in_turn(suite, Turn::Shared { _guard: guard })
    }

    /// Boots a container while no other one runs, for a test that measures time.
    pub fn boot_alone(suite: Suite) -> Self {
        let guard = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
        Self::boot_in_turn(suite, Turn::Alone { _guard: guard })
    }

    fn boot_in_turn(suite: Suite, turn: Turn) -> Self {
        check_tools();
        let lower = root_file_system(suite);
        let folder = tempfile::Builder::new().prefix("outlive-test-").tempdir().unwrap();
        let name = folder.path().file_name().unwrap().to_str().unwrap().replace(['.', '_'], "-");
        fs::create_dir(folder.path().join("fs")).unwrap();
        let notify = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        let console = File::create(folder.path().join("console")).unwrap();

        // Where systemd is the host's own, it gives nspawn a scope. Elsewhere containers would share a cgroup and be in
        // each other's way, so each is put in one of its own.
        let host_has_systemd = Path::new("/run/systemd/system").exists();
        let cgroups = if host_has_systemd { Vec::new() } else { cgroup::make(&name) };
        let nspawn = nspawn(&name, folder.path(), &lower, &cgroups, host_has_systemd)
            .env("NOTIFY_SOCKET", folder.path().join("notify"))
            .stdin(Stdio::null())
            .stdout(console.try_clone().unwrap())
            .stderr(console)
            .spawn()
            .unwrap();

        let mut container = Self { suite, nspawn, leader: None, folder, cgroups, _turn: turn };
        container.wait_for_boot(&notify);
        container
    }

    /// nspawn tells the container's PID 1 in its first notification, and passes on the one that ends the boot.
    fn wait_for_boot(&mut self, notify: &UnixDatagram) {
        notify.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let began = Instant::now();
        let mut buffer = [0; 4096];
        loop {
            let length = notify.recv(&mut buffer).unwrap_or(0);
            for line in String::from_utf8_lossy(&buffer[..length]).lines() {
                if let Some(pid) = line.strip_prefix("X_NSPAWN_LEADER_PID=") {
                    self.leader = pid.parse().ok().and_then(Pid::from_raw);
                }
                if line == "READY=1" {
                    return;
                }
            }
            let ended = self.nspawn.try_wait().unwrap();
            assert!(
                ended.is_none() && began.elapsed() < BOOT_LIMIT,
                "{} did not boot: {}\n{}",
                self.suite.name(),
                ended.map_or_else(|| format!("not within {BOOT_LIMIT:?}"), |status| status.to_string()),
                fs::read_to_string(self.folder.path().join("console")).unwrap_or_default()
            );
        }
    }

    fn leader(&self) -> Pid {
        self.leader.expect("systemd-nspawn says which process is the container's first before its boot ends")
    }

    /// Runs a shell command to its end and returns its standard output, without the last newline.
    ///
    /// It enters all of the container's namespaces but not its cgroups: systemd does not know of it. A command that
    /// must run as part of a unit can use systemd-run.
    #[track_caller]
    pub fn run(&self, command: &str) -> String {
        self.start(command).finish()
    }

    /// Runs a shell command to its end, whatever that is.
    #[track_caller]
    pub fn output(&self, command: &str) -> Output {
        self.start(command).output()
    }

    /// Starts a shell command and doesn't wait for its end.
    #[track_caller]
    pub fn start(&self, command: &str) -> Running {
        Running::start(command, self.command(command))
    }

    fn command(&self, command: &str) -> Command {
        let mut enter = Command::new("nsenter");
        enter.args(["--target", &self.leader().to_string(), "--all", "--", "sh", "-euc", command]).env_clear();
        enter.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        enter.envs([("LANG", "C.UTF-8"), ("SYSTEMD_COLORS", "0"), ("SYSTEMD_PAGER", "cat")]);
        enter
    }

    /// A path of the container's, as the test sees it. The container's absolute links would lead astray.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.leader()))
    }

    /// Writes a file, and the folders that it needs.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Copies a program into the container.
    #[track_caller]
    pub fn install(&self, program: &Path, to: &str) {
        let copy = self.path(to);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(program, &copy).unwrap();
        fs::set_permissions(copy, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Installs the service as a package would: program, units, user, default configuration. The socket listens then.
    #[track_caller]
    pub fn install_outlive(&self) {
        for folder in ["etc", "usr"] {
            copy_tree(&unit::packaging().join(folder), &self.path(&format!("/{folder}")));
        }
        self.install(OUTLIVE.as_ref(), "/usr/bin/outlive");
        self.run("systemd-sysusers && systemctl daemon-reload && systemctl enable --quiet --now outlive.socket");
    }

    /// Replaces the service's configuration. It does not restart the service.
    #[track_caller]
    pub fn configure(&self, toml: &str) {
        self.write("/etc/outlive/outlive.toml", toml);
    }

    /// Changes a unit as `systemctl edit` would.
    #[track_caller]
    pub fn edit(&self, unit: &str, text: &str) {
        self.write(&format!("/etc/systemd/system/{unit}.d/override.conf"), text);
        self.run("systemctl daemon-reload");
    }

    /// One property of a unit, as `systemctl show` has it.
    #[track_caller]
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.run(&format!("systemctl show --property={name} --value {unit}"))
    }

    /// Waits until a property of a unit has a value.
    #[track_caller]
    pub fn wait_for_property(&self, unit: &str, name: &str, value: &str) {
        until(SOON, &format!("{name}={value} of {unit}"), || {
            let now = self.property(unit, name);
            if now == value { Ok(()) } else { Err(now) }
        });
    }

    /// Waits until the service's `STATUS=` is as wanted, while the clients of this thread go on, and returns it.
    pub async fn wait_for_status(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + SOON;
        loop {
            let status = self.start("systemctl show --property=StatusText --value outlive.service").finished().await;
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "waited {SOON:?} in vain for the status {what:?}; last: {status:?}");
        }
    }

    /// The service's main process, as the container numbers it.
    #[track_caller]
    pub fn main_pid(&self) -> u32 {
        self.property("outlive.service", "MainPID").parse().unwrap()
    }

    /// A process of the container's, as the test sees it.
    #[track_caller]
    pub fn host_pid(&self, pid: u32) -> Pid {
        let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/pid")).ok();
        let ours = namespace(&self.leader().to_string());
        fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|process| namespace(process) == ours)
            .find(|process| {
                let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
                let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
                pids.split_whitespace().last().is_some_and(|last| last == pid.to_string())
            })
            .and_then(|process| Pid::from_raw(process.parse().ok()?))
            .unwrap_or_else(|| panic!("the container has no process {pid}"))
    }

    /// The journal's entries, chosen by journalctl's arguments.
    #[track_caller]
    pub fn journal(&self, arguments: &str) -> Vec<Entry> {
        // What was logged before now shall be there.
        let text = self.run(&format!("journalctl --sync && journalctl --quiet --output=json --all {arguments}"));
        text.lines().map(Entry::parse).collect()
    }

    /// Follows the journal from the boot on, chosen by journalctl's arguments.
    #[track_caller]
    pub fn follow_journal(&self, arguments: &str) -> Follower {
        let follow = format!("exec journalctl --quiet --output=json --all --follow --no-tail {arguments}");
        Follower::new(self.command(&follow))
    }

    /// Waits for the service to log an entry with a message id, since the boot.
    #[track_caller]
    pub fn wait_for_journal(&self, message_id: &str) -> Entry {
        self.follow_journal("--unit=outlive.service")
            .wait_for(&format!("MESSAGE_ID={message_id}"), |entry| entry.get("MESSAGE_ID") == Some(message_id))
    }

    /// Runs clients in the container's network, where the service is at [`SERVICE`], and returns what they return.
    pub fn in_network<T: Send>(&self, clients: impl AsyncFnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/proc/{}/ns/net", self.leader())).unwrap();
        // A thread of its own, since it cannot come back.
        let clients = move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            allow_many_descriptors();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            tokio::task::LocalSet::new().block_on(&runtime, clients())
        };
        thread::scope(|scope| scope.spawn(clients).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if thread::panicking() && self.leader.is_some() {
            let state = "systemctl status outlive.service outlive.socket || :; journalctl --quiet -n 60 || :";
            eprintln!("{} after a failed test:\n{}", self.suite.name(), self.output(state).text());
        }
        if matches!(self.nspawn.try_wait(), Ok(None)) {
            // PID 1 takes everything in its namespace along, and then nspawn ends by itself.
            let _ = match self.leader {
                Some(leader) => rustix::process::kill_process(leader, Signal::KILL).map_err(Into::into),
                None => self.nspawn.kill(),
            };
            let _ = self.nspawn.wait();
        }
        for cgroup in &self.cgroups {
            cgroup::remove(cgroup);
        }
    }
}

/// The command that boots a container and ends when it does.
fn nspawn(name: &str, folder: &Path, lower: &Path, cgroups: &[PathBuf], host_has_systemd: bool) -> Command {
    let mut command = Command::new("setpriv");
    // Should the test be killed, nspawn is told, and kills the container. Killed itself, it would leave it running.
    command.args(["--pdeathsig", "TERM", "--"]);
    command.args(["unshare", "--mount", "--propagation", "private", "--"]);
    command.args(["sh", "-euc", BOOT, "sh"]).arg(folder).arg(lower).args(cgroups).arg("--");
    command.args([
        "--quiet",
        "--boot",
        "--private-network",
        "--register=no",
        "--notify-ready=yes",
        "--kill-signal=SIGKILL",
    ]);
    command.args(["--link-journal=no", "--resolv-conf=off", "--timezone=off", "--rlimit=NOFILE=524288"]);
    command.arg(format!("--machine={name}"));
    if !host_has_systemd {
        command.arg("--keep-unit");
    }
    // The container's systemd shall have cgroup v2, as on every current distribution, whatever the host has.
    command.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
    command
}

fn check_tools() {
    assert!(rustix::process::geteuid().is_root(), "real-systemd tests need root: run tests/run as root");
    let path = std::env::var_os("PATH").unwrap_or_default();
    for (tool, package) in [
        ("systemd-nspawn", "systemd-container"),
        ("mmdebstrap", "mmdebstrap"),
        ("nsenter", "util-linux"),
        ("unshare", "util-linux"),
        ("setpriv", "util-linux"),
    ] {
        let found = std::env::split_paths(&path).any(|folder| folder.join(tool).exists());
        assert!(found, "real-systemd tests need {tool}: apt-get install {package} (tests/run does that)");
    }
}

fn root_file_system(suite: Suite) -> PathBuf {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/rootfs");
    let made = Command::new(&recipe).arg(suite.name()).stdin(Stdio::null()).output().unwrap();
    assert!(made.status.success(), "{} {}: {}\n{}", recipe.display(), suite.name(), made.status, made.text());
    PathBuf::from(String::from_utf8(made.stdout).unwrap().trim_end())
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            File::create(&target).unwrap().write_all(&fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

/// Lets this process open as many descriptors as it may: thousands of clients need them.
pub fn allow_many_descriptors() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, raised).unwrap();
}
