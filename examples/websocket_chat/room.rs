//! What is said, and by whom it was heard.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// Bytes that a member is told at a time.
const AT_A_TIME: usize = 16 * 1024;

/// Everything that was ever said, in a file. On a reload two processes serve for a moment: both append to it and both
/// read it, so that nobody misses a word, whichever process a socket is in.
pub struct Room {
    file: File,
    /// How long the file was when this process looked last.
    length: watch::Sender<u64>,
}

impl Room {
    /// The room of the service, in its runtime directory, which goes on over restarts with
    /// `RuntimeDirectoryPreserve=restart`.
    pub fn open() -> io::Result<Arc<Self>> {
        let folder = std::env::var_os("RUNTIME_DIRECTORY").map_or_else(std::env::temp_dir, PathBuf::from);
        let file = OpenOptions::new().read(true).append(true).create(true).open(folder.join("websocket_chat.room"))?;
        let length = watch::Sender::new(file.metadata()?.len());
        let room = Arc::new(Self { file, length });
        let watched = Arc::clone(&room);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let _ = watched.look(); // another process may have added something
            }
        });
        Ok(room)
    }

    /// Says something to all. One write, so that two processes don't get into each other's lines.
    pub fn say(&self, name: &str, text: &str) -> io::Result<()> {
        let line = format!("{name}: {}\n", text.replace(['\r', '\n'], " "));
        (&self.file).write_all(line.as_bytes())?;
        self.look()
    }

    /// The next lines after `heard`, and moves `heard` behind them; `None` if that was all.
    pub fn after(&self, heard: &mut u64) -> io::Result<Option<Vec<String>>> {
        let mut bytes = vec![0; AT_A_TIME];
        let read = self.file.read_at(&mut bytes, *heard)?;
        let whole = bytes[..read].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        *heard += whole as u64;
        let lines = || String::from_utf8_lossy(&bytes[..whole]).lines().map(str::to_owned).collect();
        Ok((whole > 0).then(lines))
    }

    /// Tells when the room has more to hear; its value is how long everything is.
    pub fn listen(&self) -> watch::Receiver<u64> {
        self.length.subscribe()
    }

    fn look(&self) -> io::Result<()> {
        let now = self.file.metadata()?.len();
        self.length.send_if_modified(|length| std::mem::replace(length, now) != now);
        Ok(())
    }
}
