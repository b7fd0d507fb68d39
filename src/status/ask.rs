//! Asking a service that runs.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::socket::{NAME, path_by_hand};
use super::{program, report, runtime_directory};

/// How long the service may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of an answer.
const LONGEST: u64 = 1024 * 1024;

/// A service that runs, this program's own or another one on this library, to be asked over its control socket.
///
/// With this at the top of `main`, the program's unit can say `ExecReload=/usr/bin/hello reload` beside
/// `RuntimeDirectory=hello`: `systemctl reload` then waits until the new process serves, or fails and says why it can't.
/// (`kill -HUP` reloads as well, but waits for nothing.)
///
/// ```no_run
/// use outlive::{Control, Ended, Error, Server};
///
/// # async fn hello(_: http::Request<outlive::Body>) -> &'static str { "hello\n" }
/// #[tokio::main]
/// async fn main() -> Result<Ended, Error> {
///     if std::env::args().nth(1).as_deref() == Some("reload") {
///         Control::new().reload()?;
///         return Ok(Ended::default());
///     }
///     Server::new().journal().bind("http", "127.0.0.1:8080").serve(hello).await
/// }
/// ```
///
/// The command `outlive` does the same for every program on this library: `outlive --control FILE status`, and `reload`.
#[derive(Clone, Debug)]
pub struct Control {
    path: PathBuf,
}

impl Control {
    /// This program's service, where it has its control socket unless [`Server::control_socket`] says otherwise: `control`
    /// in the `RuntimeDirectory=` of the unit that runs this process (as it does in `ExecReload=`), or else in
    /// `$XDG_RUNTIME_DIR/NAME` or `/run/NAME`, whichever there is (for root, the latter first). The program's file
    /// is called `NAME`.
    ///
    /// [`Server::control_socket`]: crate::Server::control_socket
    #[must_use]
    pub fn new() -> Self {
        Self::at(runtime_directory().map_or_else(path_by_name, |folder| folder.join(NAME)))
    }

    /// The service whose control socket is there.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where its control socket is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Asks how the service is. Blocks for five seconds at most.
    ///
    /// # Errors
    ///
    /// Why it can't be asked.
    pub fn status(&self) -> Result<Status, ControlError> {
        self.ask("status", Some(PATIENCE)).map(|answer| Status { answer })
    }

    /// Lets a new process take over, with the program that is on disk now, and blocks until it serves; says in a sentence
    /// which process that is.
    ///
    /// # Errors
    ///
    /// Why it can't be asked, or why nothing has changed.
    pub fn reload(&self) -> Result<String, ControlError> {
        // The service itself bounds how long a reload may take.
        let answer = self.ask("reload", None)?;
        let text = answer["text"].as_str().unwrap_or_default().to_owned();
        match answer["ok"].as_bool() {
            Some(true) => Ok(text),
            Some(false) => Err(ControlError::NotReloaded { reason: text }),
            None => Err(ControlError::Strange { path: self.path.clone(), answer: answer.to_string() }),
        }
    }

    fn ask(&self, request: &str, patience: Option<Duration>) -> Result<Value, ControlError> {
        let path = || self.path.clone();
        let unreachable = |error| ControlError::Unreachable { path: path(), error };
        let mut stream = UnixStream::connect(&self.path).map_err(unreachable)?;
        let mut text = String::new();
        let mut talk = || {
            stream.set_read_timeout(patience)?;
            stream.write_all(format!("{request}\n").as_bytes())?;
            (&stream).take(LONGEST).read_to_string(&mut text)?;
            if text.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
        };
        talk().map_err(|error| ControlError::Silent { path: path(), error })?;
        serde_json::from_str(&text).map_err(|_| ControlError::Strange { path: path(), answer: text })
    }
}

impl Default for Control {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the service of this program's name is, the system's or the user's own.
fn path_by_name() -> PathBuf {
    let system = Path::new("/run").join(program().unwrap_or_default()).join(NAME);
    let Some(own) = path_by_hand() else { return system };
    let (first, second) = if rustix::process::geteuid().is_root() { (system, own) } else { (own, system) };
    if is_there(&second) && !is_there(&first) { second } else { first }
}

/// Who may not look into a folder can't know better; they will be told so when they ask.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().map_or_else(|error| error.kind() == io::ErrorKind::PermissionDenied, |_| true)
}

/// How a service is. It displays as `outlive status` does.
#[derive(Clone, Debug)]
pub struct Status {
    answer: Value,
}

impl Status {
    /// All of it as JSON, as `outlive status --json` has it, for programs. Later versions may say more.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{:#}", self.answer)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(report::text(&self.answer).trim_end())
    }
}

/// Why a service couldn't be asked, or didn't do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Nobody answers.
    #[error("no service answers at {path} ({error}): {}", cure(.error))]
    Unreachable {
        /// Where it was looked for.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// It has said nothing, or not in time.
    #[error("the service at {path} has not answered: {error}")]
    Silent {
        /// Where it was asked.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// It has said something else.
    #[error("what answers at {path} isn't outlive: {answer:?}")]
    Strange {
        /// Where it was asked.
        path: PathBuf,
        /// What it said.
        answer: String,
    },
    /// No other process has taken over, and nothing has changed.
    #[error("the reload has failed, and nothing has changed: {reason}")]
    NotReloaded {
        /// Why, in the new process's own words where it had any.
        reason: String,
    },
}

fn cure(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "ask as root, or as the user that the service runs as",
        io::ErrorKind::NotFound => {
            "is it running? Its unit needs RuntimeDirectory=, or --control must say where to ask"
        }
        _ => "is it running?",
    }
}
