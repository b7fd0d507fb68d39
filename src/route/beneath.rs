//! Opening files beneath a folder, and nowhere else.
//!
//! cap-std resolves the paths: with openat2(2) and `RESOLVE_BENEATH` where that works, else component by component
//! from a descriptor of the folder, following links itself. The second way is the usual one for this service: systemd
//! makes openat2 fail with ENOSYS under `RestrictSUIDSGID=`, which `DynamicUser=` implies, because seccomp cannot look
//! into its arguments. Either way nothing is checked first and opened later by name, so renaming a folder or swapping a
//! link while a request runs leads nowhere else.

use std::fs;
use std::future::{Future, Ready, ready};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tower_http::services::fs as serve;

/// A folder; only what lies beneath it can be opened.
///
/// The folder itself is opened anew for each request, as its path may be a link that a deployment moves on to the next
/// release.
#[derive(Clone, Debug)]
pub(super) struct Beneath {
    root: Arc<Path>,
}

impl Beneath {
    /// # Errors
    ///
    /// If there is no such folder, or it may not be opened.
    pub(super) fn new(root: &Path) -> io::Result<Self> {
        Dir::open_ambient_dir(root, ambient_authority())?;
        Ok(Self { root: root.into() })
    }

    /// Opens a regular file for reading.
    fn open_file(&self, path: &Path) -> io::Result<(fs::File, Facts)> {
        self.within(path, |root, path| {
            // Looked at before it is opened: opening alone makes some devices act, and frees whoever waits at a fifo.
            regular(&root.metadata(path)?)?;
            // In between it may have become a fifo, which must not make this thread wait.
            let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
            let file = root.open_with(path, OpenOptions::new().read(true).custom_flags(flags))?;
            let facts = regular(&file.metadata()?)?;
            Ok((file.into_std(), facts))
        })
    }

    /// What can be said of a regular file or folder without opening it.
    fn facts(&self, path: &Path) -> io::Result<Facts> {
        self.within(path, |root, path| {
            let metadata = root.metadata(path)?;
            if metadata.is_dir() { Ok(Facts::from(&metadata)) } else { regular(&metadata) }
        })
    }

    /// Does something with a path beneath the folder.
    fn within<T>(&self, path: &Path, act: impl Fn(&Dir, &Path) -> io::Result<T>) -> io::Result<T> {
        let root = Dir::open_ambient_dir(&self.root, ambient_authority()).map_err(|error| {
            // Not for a client to be told as a 404: the folder was there when the service started.
            io::Error::other(format!("cannot open the folder {}: {error}", self.root.display()))
        })?;
        let result = match act(&root, path) {
            Err(error) if leads_out(&error) => act(&root, &self.by_absolute_links(path)?),
            result => result,
        };
        result.map_err(|error| if says_nothing_here(&error) { nothing_here(error) } else { error })
    }

    /// The path with its links resolved, for links whose targets are absolute and yet beneath the folder.
    ///
    /// It is only a suggestion: what it says is opened beneath the folder again, and no link may lead out then.
    fn by_absolute_links(&self, path: &Path) -> io::Result<PathBuf> {
        let root = fs::canonicalize(&self.root)?;
        let target = fs::canonicalize(root.join(path)).map_err(nothing_here)?;
        match target.strip_prefix(&root) {
            Ok(beneath) if beneath.as_os_str().is_empty() => Ok(PathBuf::from(".")),
            Ok(beneath) => Ok(beneath.to_owned()),
            Err(outside) => Err(nothing_here(io::Error::other(outside))),
        }
    }
}

fn regular(metadata: &Metadata) -> io::Result<Facts> {
    if metadata.is_file() { Ok(Facts::from(metadata)) } else { Err(Errno::NOENT.into()) }
}

/// Whether cap-std refused to follow the path out of the folder. It has no error number for that.
fn leads_out(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none()
}

/// Whether an error means that the client asked for something that isn't there, or isn't for it to see.
fn says_nothing_here(error: &io::Error) -> bool {
    leads_out(error)
        || matches!(
            Errno::from_io_error(error),
            Some(
                Errno::NOENT
                    | Errno::NOTDIR
                    | Errno::ISDIR
                    | Errno::ACCESS
                    | Errno::LOOP
                    | Errno::NAMETOOLONG
                    | Errno::INVAL
                    | Errno::NXIO
                    | Errno::NODEV
            )
        )
}

/// All of them alike, so that a client cannot tell what is hidden from what isn't there.
fn nothing_here(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, error)
}

/// What is known of a file or folder.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    folder: bool,
    length: u64,
    modified: Option<SystemTime>,
}

impl From<&Metadata> for Facts {
    fn from(metadata: &Metadata) -> Self {
        let modified = metadata.modified().ok().map(cap_std::time::SystemTime::into_std);
        Self { folder: metadata.is_dir(), length: metadata.len(), modified }
    }
}

impl serve::Metadata for Facts {
    fn is_dir(&self) -> bool {
        self.folder
    }

    fn modified(&self) -> io::Result<SystemTime> {
        self.modified.ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    fn len(&self) -> u64 {
        self.length
    }
}

/// An open regular file.
#[derive(Debug)]
pub(super) struct OpenFile {
    file: tokio::fs::File,
    facts: Facts,
}

impl AsyncRead for OpenFile {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_read(cx, buffer)
    }
}

impl AsyncSeek for OpenFile {
    fn start_seek(mut self: Pin<&mut Self>, position: io::SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.file).start_seek(position)
    }

    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.file).poll_complete(cx)
    }
}

impl serve::File for OpenFile {
    type Metadata = Facts;
    type MetadataFuture<'a> = Ready<io::Result<Facts>>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        ready(Ok(self.facts.clone()))
    }
}

type Later<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

impl serve::Backend for Beneath {
    type File = OpenFile;
    type Metadata = Facts;
    type OpenFuture = Later<OpenFile>;
    type MetadataFuture = Later<Facts>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        let folder = self.clone();
        Box::pin(async move {
            let (file, facts) = tokio::task::spawn_blocking(move || folder.open_file(&path)).await??;
            Ok(OpenFile { file: tokio::fs::File::from_std(file), facts })
        })
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        let folder = self.clone();
        Box::pin(async move { tokio::task::spawn_blocking(move || folder.facts(&path)).await? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_looks_like_what_is_not_there() {
        for errno in
            [Errno::NOENT, Errno::ACCESS, Errno::LOOP, Errno::NAMETOOLONG, Errno::NOTDIR, Errno::INVAL, Errno::NXIO]
        {
            assert!(says_nothing_here(&errno.into()), "{errno}");
        }
    }

    #[test]
    fn trouble_of_the_server_does_not() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::IO, Errno::PERM] {
            assert!(!says_nothing_here(&errno.into()), "{errno}");
        }
    }

    /// cap-std documents no way to tell this from a permission that is missing.
    #[test]
    fn a_path_that_leads_out_is_known_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let root = Dir::open_ambient_dir(folder.path(), ambient_authority()).unwrap();
        for path in ["..", "/", "../x"] {
            assert!(leads_out(&root.metadata(path).map(drop).unwrap_err()), "{path}");
        }
        assert!(!leads_out(&Errno::ACCESS.into()));
    }
}
