//! A reload, as the old process sees it: starting the successor, and ending it if it doesn't get ready.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::launch::{LIFE, PARENT, THIS_PROGRAM};
use super::link::{self, Hello, Link, MOST_DESCRIPTORS, Message};
use super::record::VERSION;

/// How long a successor that failed may take to end before it is killed. It may have accepted connections.
const GRACE: Duration = Duration::from_secs(5);

/// How much of what a failed successor wrote to standard error is told.
const WORDS: usize = 4096;

/// How long to wait for the last of it.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How this program was started, and so how its successor is.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// Finds out. To be called early: a relative path counts from where the program was started.
    #[must_use]
    pub fn of_this_process() -> Self {
        let mut arguments = std::env::args_os();
        let name = PathBuf::from(arguments.next().unwrap_or_default());
        let path = if name.components().count() > 1 {
            // Not resolved further: an upgrade may well be a symbolic link that is given another target.
            std::path::absolute(&name).ok()
        } else {
            let folders = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&folders).map(|folder| folder.join(&name)).find(|path| is_program(path))
        };
        let path = path.or_else(|| std::env::current_exe().ok()).unwrap_or(name);
        Self { path, arguments: arguments.collect() }
    }

    /// Another program.
    #[must_use]
    pub fn new(path: PathBuf, arguments: Vec<OsString>) -> Self {
        Self { path, arguments }
    }

    /// Where it is on disk.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn is_program(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Why there is no successor. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum SuccessorError {
    /// Nothing could be started at all.
    #[error("cannot start a process: {0}; look at the unit's TasksMax= and the host's memory")]
    Start(#[from] io::Error),
    /// This process ends all others with it.
    #[error(
        "this is the first process of its container (PID 1), with which all others end: restart the container, or let \
         an init process start outlive"
    )]
    First,
    /// It can't serve, and has said why.
    #[error("{0}")]
    Refused(String),
    /// It has ended, or could not be run.
    #[error("{}", ended(.program, .words))]
    Ended {
        /// The program on disk.
        program: PathBuf,
        /// What it wrote to standard error.
        words: String,
    },
    /// It wasn't ready in time.
    #[error("{} was not ready within {} s ([reload] ready_timeout, or Reload::ready_timeout in a program), and has been ended{}", program.display(),
        .limit.as_secs_f64(), following(.words))]
    Late {
        /// The program on disk.
        program: PathBuf,
        /// The time it had.
        limit: Duration,
        /// What it wrote to standard error.
        words: String,
    },
}

/// The successor is of another version of this program, which reads no records of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the successor reads records of version {theirs}, and this process writes version {VERSION}")]
pub struct Unreadable {
    /// The version of records that it reads.
    pub theirs: u16,
}

fn ended(program: &Path, words: &str) -> String {
    match words {
        "" => format!("{} ended before it was ready, without a word on standard error", program.display()),
        words => words.to_owned(),
    }
}

fn following(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!("; it wrote: {words}") }
}

/// What a successor is given.
#[derive(Debug)]
pub struct Inheritance {
    /// Listeners by name.
    pub listeners: Vec<(String, OwnedFd)>,
    /// What it follows.
    pub hello: Hello,
    /// How long it may take.
    pub ready_timeout: Duration,
}

/// A process that is ready to take over. Dropping this ends it.
#[derive(Debug)]
pub struct Successor {
    pid: Pid,
    process: Option<OwnedFd>,
    link: Option<Link>,
    /// The version of records that it reads.
    records: u16,
}

impl Successor {
    /// Starts the program on disk, and waits until each of its workers accepts.
    ///
    /// Dropping the future ends the new process.
    ///
    /// # Errors
    ///
    /// Why there is none; its process has been told to end then.
    pub async fn start(program: &Program, inheritance: Inheritance) -> Result<Self, SuccessorError> {
        if std::process::id() == 1 {
            return Err(SuccessorError::First);
        }
        let limit = inheritance.ready_timeout;
        let (ours, theirs) = link::pair()?;
        let link = Link::new(ours)?;
        let (mut parent, words) = spawn(program, theirs)?;
        match timeout(limit, Self::raise(&mut parent, link, inheritance)).await {
            Ok(Ok(Ok(successor))) => Ok(successor),
            Ok(Ok(Err(reason))) => Err(SuccessorError::Refused(reason)),
            // The link has come to its end, or doesn't work any more.
            Ok(Err(_)) => Err(SuccessorError::Ended { program: program.path.clone(), words: words.all().await }),
            Err(_) => Err(SuccessorError::Late { program: program.path.clone(), limit, words: words.so_far() }),
        }
    }

    /// The inner error is why it refuses; the outer one, that it is gone.
    async fn raise(parent: &mut Child, link: Link, inheritance: Inheritance) -> io::Result<Result<Self, String>> {
        let gone = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let names: Vec<_> = inheritance.listeners.iter().map(|(name, _)| name.clone()).collect();
        let listeners: Vec<_> = inheritance.listeners.iter().map(|(_, socket)| socket.as_fd()).collect();
        let launch = Message::Launch { names, from: std::process::id() };
        link.send(&launch, listeners.get(..MOST_DESCRIPTORS).unwrap_or(&listeners)).await?;
        for more in listeners.chunks(MOST_DESCRIPTORS).skip(1) {
            link.send(&launch, more).await?;
        }

        let Some((Message::Pid(pid), _)) = link.receive().await? else { return Err(gone()) };
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        // It waits until it is told to go on, so that this is the right process. From here on it is ended on failure.
        let process = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        let mut successor = Self { pid, process: Some(process), link: Some(link), records: 0 };
        // Once the process in between has ended, the successor is the service manager's child.
        parent.wait().await?;
        successor.link().send(&Message::Go, &[]).await?;
        successor.link().send(&Message::Hello(inheritance.hello), &[io::stderr().as_fd()]).await?;

        loop {
            match successor.link().receive().await? {
                Some((Message::Ready(records), _)) => {
                    successor.records = records;
                    return Ok(Ok(successor));
                }
                Some((Message::Failed(reason), _)) => return Ok(Err(reason)),
                Some(_) => {}
                None => return Err(gone()),
            }
        }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it can go on with connections of this process.
    ///
    /// # Errors
    ///
    /// Why it can't.
    pub fn adopts(&self) -> Result<(), Unreadable> {
        if self.records == VERSION { Ok(()) } else { Err(Unreadable { theirs: self.records }) }
    }

    fn link(&self) -> &Link {
        // Only `into_link` takes it, and that takes all of it.
        self.link.as_ref().expect("the link is there until it is given away")
    }

    /// Makes it the service, which nothing takes back. `elders` are links to processes that are still older.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub async fn succeed(mut self, elders: &[OwnedFd]) -> io::Result<Link> {
        self.process = None;
        let link = self.link.take().ok_or(io::ErrorKind::NotConnected)?;
        let elders: Vec<_> = elders.iter().map(AsFd::as_fd).take(MOST_DESCRIPTORS).collect();
        link.send(&Message::Main, &elders).await?;
        loop {
            match link.receive().await? {
                Some((Message::Taken, _)) => return Ok(link),
                Some(_) => {}
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        // It is told by the end of the link, too.
        drop(self.link.take());
        if let Some(process) = self.process.take() {
            end(process);
        }
    }
}

/// Ends a process: with a word at first, since it may have begun to serve.
fn end(process: OwnedFd) {
    let _ = pidfd_send_signal(&process, Signal::TERM);
    let wait = move || {
        let mut ended = [PollFd::new(&process, PollFlags::IN)];
        let grace = GRACE.try_into().ok();
        if !matches!(rustix::io::retry_on_intr(|| poll(&mut ended, grace.as_ref())), Ok(1..)) {
            let _ = pidfd_send_signal(&process, Signal::KILL);
        }
    };
    let _ = thread::Builder::new().name("successor-end".to_owned()).spawn(wait);
}

/// Starts the process in between: see [`super::launch`].
fn spawn(program: &Program, link: OwnedFd) -> io::Result<(Child, Words)> {
    let (words, stderr) = pipe_for_words()?;
    let child = Command::new(THIS_PROGRAM)
        .env(LIFE, PARENT)
        .arg(&program.path)
        .args(&program.arguments)
        .stdin(link)
        .stdout(Stdio::inherit())
        .stderr(stderr)
        .spawn()?;
    Ok((child, words))
}

fn pipe_for_words() -> io::Result<(Words, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    let mut reader = pipe::Receiver::from_owned_fd(reader.into())?;
    let written = Arc::new(Mutex::new(Vec::new()));
    let more = Arc::clone(&written);
    let reading = tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = reader.read(&mut buffer).await {
            let mut written = more.lock().unwrap_or_else(PoisonError::into_inner);
            written.extend_from_slice(&buffer[..read]);
            let excess = written.len().saturating_sub(WORDS);
            written.drain(..excess);
        }
    });
    Ok((Words { written, reading }, writer.into()))
}

/// What a successor writes to standard error until it has taken its own into use: above all, that it can't be run.
struct Words {
    written: Arc<Mutex<Vec<u8>>>,
    reading: tokio::task::JoinHandle<()>,
}

impl Words {
    async fn all(mut self) -> String {
        let _ = timeout(LAST_WORDS, &mut self.reading).await;
        self.so_far()
    }

    fn so_far(&self) -> String {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&written).trim().to_owned()
    }
}
