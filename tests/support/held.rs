//! Holding one thread of a process still, as a bug that never comes to an end would.

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::wait::{SOON, until};

/// How often to look whether the thread has ended, or is to be let go.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A thread that doesn't move. Dropping this lets it go on.
pub struct Held {
    release: Option<Sender<()>>,
    tracer: Option<JoinHandle<()>>,
}

impl Held {
    /// Stops the thread of that name.
    #[track_caller]
    pub fn thread(process: rustix::process::Pid, name: &str) -> Self {
        // A thread that has just been started has yet to give itself its name.
        let task = until(SOON, &format!("thread {name} of process {process}"), || named(process, name));
        let thread = Pid::from_raw(task.file_name().unwrap().to_str().unwrap().parse().unwrap());
        let leads = thread.as_raw() == process.as_raw_nonzero().get();

        let (stopped, is_stopped) = channel();
        let (release, released) = channel();
        // Only the thread that seized it may wait for it and let it go.
        let tracer = thread::spawn(move || {
            ptrace::seize(thread, ptrace::Options::empty()).unwrap();
            ptrace::interrupt(thread).unwrap();
            waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
            stopped.send(()).unwrap();
            hold(thread, leads, &released);
        });
        is_stopped.recv_timeout(SOON).expect("the thread stops");
        Self { release: Some(release), tracer: Some(tracer) }
    }
}

/// The thread of that name, or the names that there are.
fn named(process: rustix::process::Pid, name: &str) -> Result<PathBuf, String> {
    let mut others = Vec::new();
    for task in fs::read_dir(format!("/proc/{process}/task")).unwrap() {
        let task = task.unwrap().path();
        let comm = fs::read_to_string(task.join("comm")).unwrap_or_default();
        if comm.trim_end() == name {
            return Ok(task);
        }
        others.push(comm.trim_end().to_owned());
    }
    Err(others.join(", "))
}

/// Until the thread is let go, or has ended with its process: a traced one stays until its tracer takes notice.
fn hold(thread: Pid, leads: bool, released: &Receiver<()>) {
    while released.try_recv() == Err(TryRecvError::Empty) {
        // The process's first thread stands for the process, and whoever started that wants to see its end.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::WNOHANG;
        if !leads
            && matches!(waitpid(thread, Some(flags)), Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(_))
        {
            return;
        }
        thread::sleep(LOOK_EVERY);
    }
    let _ = ptrace::detach(thread, None);
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.release.take());
        if let Some(tracer) = self.tracer.take() {
            let _ = tracer.join();
        }
    }
}
