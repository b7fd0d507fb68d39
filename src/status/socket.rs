//! The control socket: where the service answers `outlive status` and `outlive reload`.
//!
//! It is at one path for the whole life of the service. A successor puts its own in that place at the moment of its
//! taking over, by rename(2), so that at no time there is none; whoever has connected to the old one still gets the
//! answer from there, even if that process is about to end. Nothing ever removes it: it would be the next process's.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::{Facts, program, runtime_directory};

/// What it is called in `RuntimeDirectory=`.
pub const NAME: &str = "control";

/// How long a client may take to say what it wants, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Clients at a time; more wait in the backlog.
const CLIENTS: usize = 16;

/// Bytes of a request.
const LONGEST: usize = 64;

/// How long to leave the backlog alone when descriptors are lacking.
const BREATHER: Duration = Duration::from_millis(100);

/// A wish to reload. The answer has to be sent, whatever it is.
#[derive(Debug)]
pub struct ReloadRequest {
    /// Where to tell how it went: which process has taken over, or why none has.
    pub answer: oneshot::Sender<Result<String, String>>,
    /// Ends when the client has the answer, or is gone.
    pub delivered: oneshot::Receiver<()>,
}

/// Where the socket of a service is that this process is.
///
/// In `RuntimeDirectory=`, or else in a folder of the program's name in the user's runtime directory; `None` if there is
/// neither.
#[must_use]
pub fn path() -> Option<PathBuf> {
    runtime_directory().map(|folder| folder.join(NAME)).or_else(path_by_hand)
}

/// The same for a service that a user runs without systemd.
pub(super) fn path_by_hand() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty())?;
    Some(Path::new(&folder).join(program()?).join(NAME))
}

/// The socket, open.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
}

impl ControlSocket {
    /// Opens it, in the place of any that was there. `succeeding`: the one there is that of the process before.
    ///
    /// # Errors
    ///
    /// Those of the file system and of bind(2). Outside a `RuntimeDirectory=`, which is one service's own, AddrInUse if
    /// another service answers there.
    pub fn open(path: &Path, succeeding: bool) -> io::Result<Self> {
        let own = runtime_directory().is_some_and(|folder| path.starts_with(folder));
        if !own && !succeeding && std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let _ = fs::remove_file(&temporary); // of a process that had the same number
        let open = || {
            let listener = UnixListener::bind(&temporary)?;
            // Before it is where anyone looks.
            fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600))?;
            fs::rename(&temporary, path)?;
            Ok(Self { listener })
        };
        open().inspect_err(|_| drop(fs::remove_file(&temporary)))
    }

    /// Answers until `end` is dropped, and then those who have connected by that time.
    pub async fn serve(
        self,
        facts: Arc<Facts>,
        reloads: mpsc::UnboundedSender<ReloadRequest>,
        mut end: oneshot::Receiver<()>,
    ) {
        let clients = Arc::new(Semaphore::new(CLIENTS));
        loop {
            // The semaphore is never closed.
            let Ok(permit) = Arc::clone(&clients).acquire_owned().await else { return };
            let accepted = tokio::select! {
                biased; // or else someone in the backlog might be left there
                accepted = self.listener.accept() => accepted,
                _ = &mut end => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (facts, reloads) = (Arc::clone(&facts), reloads.clone());
                    tokio::spawn(async move {
                        // A client that goes away has no further wish.
                        let _ = answer(stream, &facts, &reloads).await;
                        drop(permit);
                    });
                }
                Err(_) => sleep(BREATHER).await,
            }
        }
        let _ = clients.acquire_many(CLIENTS as u32).await; // once the last answer is out
    }
}

async fn answer(
    mut stream: UnixStream,
    facts: &Facts,
    reloads: &mpsc::UnboundedSender<ReloadRequest>,
) -> io::Result<()> {
    let request = timeout(PATIENCE, read_request(&mut stream)).await??;
    // Dropped once the answer is out.
    let (delivered, is_delivered) = oneshot::channel();
    let answer = match request.as_str() {
        "status" => facts.gather().await,
        "reload" => reload(reloads, is_delivered).await,
        other => json!({ "error": format!("there is no request {other:?}") }),
    };
    let answer = format!("{answer}\n");
    timeout(PATIENCE, stream.write_all(answer.as_bytes())).await??;
    drop(delivered);
    Ok(())
}

async fn reload(reloads: &mpsc::UnboundedSender<ReloadRequest>, delivered: oneshot::Receiver<()>) -> Value {
    let (answer, asked) = oneshot::channel();
    let _ = reloads.send(ReloadRequest { answer, delivered });
    match asked.await {
        Ok(Ok(text)) => json!({ "ok": true, "text": text }),
        Ok(Err(text)) => json!({ "ok": false, "text": text }),
        Err(_) => json!({ "ok": false, "text": "the service ends" }),
    }
}

async fn read_request(stream: &mut UnixStream) -> io::Result<String> {
    let mut request = Vec::with_capacity(LONGEST);
    loop {
        let read = stream.read_buf(&mut request).await?;
        if let Some(end) = request.iter().position(|byte| *byte == b'\n') {
            request.truncate(end);
            return Ok(String::from_utf8_lossy(&request).into_owned());
        }
        if read == 0 || request.len() >= LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}
