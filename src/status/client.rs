//! Asking a service that runs.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::runtime_directory;
use super::socket::{NAME, path_by_hand};

/// Where the packaged unit has it.
const SYSTEM: &str = "/run/outlive";

/// How long the service may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of an answer.
const LONGEST: u64 = 1024 * 1024;

/// The service couldn't be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
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
}

fn cure(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "ask as root, or as the user that the service runs as",
        io::ErrorKind::NotFound => "is it running? Name its socket with --control if it is elsewhere",
        _ => "is it running?",
    }
}

/// Where to ask: where this process's own unit has the socket, or the packaged unit, or else the user by hand.
#[must_use]
pub fn find() -> PathBuf {
    let system = || Some(Path::new(SYSTEM)).filter(|folder| folder.exists()).map(Path::to_owned);
    let folder = runtime_directory().or_else(system).map(|folder| folder.join(NAME));
    folder.or_else(path_by_hand).unwrap_or_else(|| Path::new(SYSTEM).join(NAME))
}

/// Asks how the service is.
///
/// # Errors
///
/// Why it can't be asked.
pub fn status(path: &Path) -> Result<Value, ClientError> {
    ask(path, "status", Some(PATIENCE))
}

/// Asks for a reload and waits for its outcome, in words: the inner error says why nothing has changed.
///
/// # Errors
///
/// Why it can't be asked.
pub fn reload(path: &Path) -> Result<Result<String, String>, ClientError> {
    // The service itself bounds how long a reload may take.
    let answer = ask(path, "reload", None)?;
    let text = answer["text"].as_str().unwrap_or_default().to_owned();
    match answer["ok"].as_bool() {
        Some(true) => Ok(Ok(text)),
        Some(false) => Ok(Err(text)),
        None => Err(ClientError::Strange { path: path.to_owned(), answer: answer.to_string() }),
    }
}

fn ask(path: &Path, request: &str, patience: Option<Duration>) -> Result<Value, ClientError> {
    let owned = || path.to_owned();
    let mut stream = UnixStream::connect(path).map_err(|error| ClientError::Unreachable { path: owned(), error })?;
    let mut text = String::new();
    let mut talk = || {
        stream.set_read_timeout(patience)?;
        stream.write_all(format!("{request}\n").as_bytes())?;
        (&stream).take(LONGEST).read_to_string(&mut text)?;
        if text.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    };
    talk().map_err(|error| ClientError::Silent { path: owned(), error })?;
    serde_json::from_str(&text).map_err(|_| ClientError::Strange { path: owned(), answer: text })
}
