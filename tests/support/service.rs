//! A service that was started by the test in systemd's place.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, ChildStderr, ExitStatus};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::Shutdown;
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use super::arrivals::Arrivals;
use super::datagram::receive;
use super::store::Store;
use super::wait::SOON;

/// One message of sd_notify(3).
#[derive(Debug)]
pub struct Notification {
    /// Its lines.
    pub lines: Vec<String>,
    /// The process that sent it.
    pub sender: Option<Pid>,
    /// The descriptors that came with it.
    pub descriptors: Vec<OwnedFd>,
    /// When it was read.
    pub at: Instant,
}

impl Notification {
    /// What follows `NAME=` in its line of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }
}

/// A service that runs, or ran. Dropping it kills it.
pub struct Service {
    child: Child,
    said: Arc<Arrivals<Option<String>>>,
    inbox: Arc<Arrivals<Notification>>,
    socket: Arc<UnixDatagram>,
    reader: Option<JoinHandle<()>>,
    store: Arc<Store>,
    _folder: TempDir,
}

impl Service {
    /// `socket`: where its notifications arrive, in `folder`.
    pub(super) fn new(mut child: Child, socket: UnixDatagram, folder: TempDir, store: Arc<Store>) -> Self {
        let said = Arc::new(Arrivals::default());
        match child.stderr.take() {
            Some(stderr) => listen(stderr, Arc::clone(&said)),
            None => said.push(None),
        }
        Self { child, said, inbox: Arc::default(), socket: Arc::new(socket), reader: None, store, _folder: folder }
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    /// The process that is the service now: the last that a `MAINPID=` has named.
    pub fn main_pid(&self) -> Pid {
        self.main_pids().pop().unwrap_or_else(|| self.pid())
    }

    /// How often `MAINPID=` has named another process.
    pub fn successions(&self) -> usize {
        self.main_pids().len()
    }

    /// The processes that `MAINPID=` has named, in order.
    fn main_pids(&self) -> Vec<Pid> {
        let pid = |sent: &Notification| Pid::from_raw(sent.get("MAINPID")?.parse().ok()?);
        self.inbox.read(|sent| sent.iter().filter_map(pid).collect())
    }

    /// Waits until a process has been succeeded by so many, and returns the last.
    #[track_caller]
    pub fn wait_for_successor(&self, number: usize) -> Pid {
        let named = |sent: &[Notification]| {
            let mut named = sent.iter().filter_map(|sent| sent.get("MAINPID")).collect::<Vec<_>>();
            (named.len() >= number).then(|| named.remove(number - 1).parse().unwrap())
        };
        Pid::from_raw(self.wait_until("a successor", named)).unwrap()
    }

    /// Begins to read notifications, if that was put off.
    pub fn read_notifications(&mut self) {
        let (socket, inbox, store) = (Arc::clone(&self.socket), Arc::clone(&self.inbox), Arc::clone(&self.store));
        self.reader.get_or_insert_with(|| {
            thread::spawn(move || {
                while let Ok(datagram) = receive(&socket)
                    && !datagram.bytes.is_empty()
                {
                    let mut notification = Notification {
                        lines: String::from_utf8_lossy(&datagram.bytes).lines().map(str::to_owned).collect(),
                        sender: datagram.sender,
                        descriptors: datagram.descriptors,
                        at: Instant::now(),
                    };
                    store.heed(&mut notification);
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
        self.wait_for_lines(text, 1).remove(0)
    }

    /// Waits for so many lines on standard error that contain a text, and returns them.
    #[track_caller]
    pub fn wait_for_lines(&self, text: &str, number: usize) -> Vec<String> {
        let find = |lines: &[Option<String>]| {
            let found: Vec<_> = lines.iter().flatten().filter(|line| line.contains(text)).cloned().collect();
            (found.len() >= number).then_some(found)
        };
        self.said
            .wait(SOON, find)
            .unwrap_or_else(|| panic!("waited in vain for {number} lines with {text:?}\n{}", self.story()))
    }

    /// Where it says that the listener of that name listens.
    #[track_caller]
    pub fn address(&self, listener: &str) -> SocketAddr {
        let line = self.wait_for_line(" Serving ");
        let (before, _) =
            line.split_once(&format!(" ({listener})")).unwrap_or_else(|| panic!("no {listener} in {line}"));
        let address = before.rsplit(' ').next().unwrap_or_default();
        address.parse().unwrap_or_else(|error| panic!("{address}: {error}"))
    }

    /// All that it wrote to standard error so far.
    pub fn said(&self) -> String {
        self.said.read(|lines| lines.iter().flatten().map(String::as_str).collect::<Vec<_>>().join("\n"))
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        self.wait_for_exit_within(SOON)
    }

    /// Waits for its end, so long at most. From then on [`Self::said`] and [`Self::notifications`] have everything.
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
        let status = self.child.wait().unwrap();
        self.read_to_the_end();
        let silent = |lines: &[Option<String>]| lines.last().is_some_and(Option::is_none).then_some(());
        self.said.wait(SOON, silent).unwrap_or_else(|| panic!("a child of it holds its standard error open"));
        status
    }

    /// Its notifications and what it wrote to standard error.
    pub fn story(&self) -> String {
        let sent: Vec<_> = self.inbox.read(|sent| sent.iter().map(|n| n.lines.join(", ")).collect());
        let threads = self.threads().join(", ");
        format!("Notifications:\n{}\nThreads: {threads}\nStandard error:\n{}", sent.join("\n"), self.said())
    }

    /// What its threads do: their names, states (see proc_pid_stat(5)) and what they wait for in the kernel.
    fn threads(&self) -> Vec<String> {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.pid())) else { return Vec::new() };
        let read = |task: &Path, file: &str| fs::read_to_string(task.join(file)).unwrap_or_default();
        let tasks = tasks.flatten().map(|task| task.path());
        tasks
            .map(|task| {
                let stat = read(&task, "stat");
                let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('?');
                format!("{} {state} {}", read(&task, "comm").trim_end(), read(&task, "wchan"))
            })
            .collect()
    }

    fn read_to_the_end(&mut self) {
        // Lets the reader see an end, after everything that has arrived.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Reads lines until there are no more, which `None` tells.
fn listen(stderr: ChildStderr, said: Arc<Arrivals<Option<String>>>) {
    thread::spawn(move || {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            said.push(Some(String::from_utf8_lossy(&line).into_owned()));
        }
        said.push(None);
    });
}

impl Drop for Service {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("The service at the end of a failed test. {}", self.story());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        for successor in self.main_pids() {
            let _ = rustix::process::kill_process(successor, Signal::KILL);
        }
        self.read_to_the_end();
    }
}
