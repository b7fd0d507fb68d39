//! An example that runs.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Once};
use std::thread;

use rustix::process::{Pid, Signal};

use crate::support::arrivals::Arrivals;
use crate::support::wait::{SOON, until};

/// An example that runs, and the processes that take over from it. Dropping it ends them.
pub struct Demonstration {
    child: Child,
    said: Arc<Arrivals<String>>,
}

impl Demonstration {
    /// Starts it as a shell would, on a port that the kernel chooses.
    #[track_caller]
    pub fn start(program: &Path, environment: &[(&str, &str)]) -> Self {
        adopt_orphans();
        let mut command = Command::new(program);
        command.env_clear().env("ADDR", "127.0.0.1:0").envs(environment.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Arrivals::default());
        listen(child.stdout.take().unwrap(), &said);
        listen(child.stderr.take().unwrap(), &said);
        Self { child, said }
    }

    /// The process that was started.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Where the listener of that name listens.
    #[track_caller]
    pub fn address(&self, listener: &str) -> SocketAddr {
        let line = self.wait_for(" Serving ");
        let (before, _) = line.split_once(&format!(" ({listener})")).unwrap_or_else(|| panic!("{line}"));
        before.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Waits for a line that contains a text, and returns it.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        let find = |lines: &[String]| lines.iter().find(|line| line.contains(text)).cloned();
        self.said.wait(SOON, find).unwrap_or_else(|| panic!("waited in vain for {text:?}\n{}", self.said()))
    }

    /// Waits until so many requests run.
    #[track_caller]
    pub fn wait_for_requests(&self, number: usize) {
        let told = format!(", {number} request{}. Since", if number == 1 { "" } else { "s" });
        until(SOON, &told, || {
            self.signal(Signal::USR1);
            let said = self.said();
            if said.contains(&told) { Ok(()) } else { Err(said) }
        });
    }

    /// All that was said so far.
    pub fn said(&self) -> String {
        self.said.read(|lines| lines.join("\n"))
    }

    /// Sends the process that was started a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for the end of the process that was started.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        until(SOON, "the end", || {
            self.child.try_wait().unwrap().ok_or_else(|| self.said.read(|lines| lines.join("\n")))
        })
    }
}

impl Drop for Demonstration {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("The example said:\n{}", self.said());
        }
        // A process that has taken over says so with its number in brackets.
        let lines = self.said.read(<[String]>::to_vec);
        let number = |line: &String| line.strip_prefix('[')?.split_once(']')?.0.parse().ok();
        for pid in lines.iter().filter_map(number).collect::<HashSet<i32>>() {
            // Only one that this process has adopted.
            let Some(pid) = Pid::from_raw(pid).filter(|pid| *pid != self.pid() && is_child(*pid)) else { continue };
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_child(pid: Pid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.contains(&format!("PPid:\t{}\n", std::process::id()))
}

/// Makes this process the parent of those that take over.
fn adopt_orphans() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap());
}

fn listen(stream: impl Read + Send + 'static, said: &Arc<Arrivals<String>>) {
    let said = Arc::clone(said);
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            said.push(String::from_utf8_lossy(&line).into_owned());
        }
    });
}
