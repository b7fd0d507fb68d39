//! The last configuration that was served, kept so that a typo doesn't make a port go dead.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Value, json};

use super::source::Texts;
use super::{Config, ConfigError, from_texts};

/// What it is called in `StateDirectory=`.
const NAME: &str = "last-good-configuration.json";

/// The form that it is written in. Another one is left alone, and so is never in the way of a downgrade.
const FORMAT: u64 = 1;

/// There is no last good configuration to serve.
#[derive(Debug, thiserror::Error)]
pub enum LastGoodError {
    /// None was kept, or it can't be read.
    #[error("{path} can't be read: {error}")]
    File {
        /// Where it should be.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// It was kept by another version, or isn't what was kept.
    #[error("{path} isn't a configuration that this version has kept")]
    Form {
        /// Where it is.
        path: PathBuf,
    },
    /// It is no good any more, since it names files that are gone, say.
    #[error("the last good configuration isn't good any more either: {}", .0.headline())]
    Broken(Box<ConfigError>),
}

/// A configuration that was kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// It.
    pub config: Config,
    /// When it was first served, as text.
    pub since: String,
}

/// Where the last good configuration is kept.
#[derive(Clone, Debug)]
pub struct LastGood {
    path: PathBuf,
}

impl LastGood {
    /// In the unit's `StateDirectory=`, if it has one: `STATE_DIRECTORY` of systemd.exec(5).
    #[must_use]
    pub fn from_env() -> Option<Self> {
        let folders = std::env::var_os("STATE_DIRECTORY").filter(|folders| !folders.is_empty())?;
        // There may be several, separated by colons.
        let first = folders.as_bytes().split(|byte| *byte == b':').next().unwrap_or_default();
        Some(Self::within(Path::new(OsStr::from_bytes(first))))
    }

    /// In a folder.
    #[must_use]
    pub fn within(folder: &Path) -> Self {
        Self { path: folder.join(NAME) }
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn load(&self) -> Result<Kept, LastGoodError> {
        let (texts, since) = self.read()?;
        let config = from_texts(&texts).map_err(|error| LastGoodError::Broken(Box::new(error)))?;
        Ok(Kept { config, since })
    }

    fn read(&self) -> Result<(Texts, String), LastGoodError> {
        let path = self.path.clone();
        let text = fs::read(&path).map_err(|error| LastGoodError::File { path, error })?;
        let form = || LastGoodError::Form { path: self.path.clone() };
        let kept: Value = serde_json::from_slice(&text).map_err(|_| form())?;
        if kept["format"] != FORMAT {
            return Err(form());
        }
        let file = |file: &Value| Some((file["name"].as_str()?.to_owned(), file["text"].as_str()?.to_owned()));
        let files = kept["files"].as_array().and_then(|files| files.iter().map(file).collect());
        let since = kept["since"].as_str().unwrap_or("an unknown time").to_owned();
        Ok((Texts::new(files.ok_or_else(form)?), since))
    }

    /// Keeps a configuration that is served. One that is the same as before is left as it is.
    ///
    /// # Errors
    ///
    /// Those of the file system; what was kept before is still there then.
    pub fn keep(&self, texts: &Texts) -> io::Result<()> {
        if self.read().is_ok_and(|(kept, _)| kept == *texts) {
            return Ok(());
        }
        let files: Vec<_> = texts.iter().map(|(name, text)| json!({ "name": name, "text": text })).collect();
        let since = httpdate::fmt_http_date(SystemTime::now());
        let kept = json!({ "format": FORMAT, "since": since, "files": files });

        let folder = self.path.parent().unwrap_or(Path::new("."));
        let temporary = folder.join(format!(".{NAME}.{}", std::process::id()));
        let write = || {
            // The configuration may hold secrets, whatever the umask.
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(format!("{kept:#}\n").as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &self.path)?;
            File::open(folder)?.sync_all()
        };
        write().inspect_err(|_| drop(fs::remove_file(&temporary)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::from_str;

    fn texts(text: &str) -> Texts {
        from_str(text, "x.toml").expect("it is valid").texts
    }

    #[test]
    fn what_was_kept_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let last_good = LastGood::within(folder.path());
        assert!(matches!(last_good.load(), Err(LastGoodError::File { .. })));
        last_good.keep(&texts("workers = 3")).unwrap();
        last_good.keep(&texts("workers = 4")).unwrap();
        assert_eq!(last_good.load().unwrap().config.workers.map(usize::from), Some(4));
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [NAME], "nothing else is left behind");
        let mode = fs::metadata(folder.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_embedded_default_is_kept_too() {
        let folder = tempfile::tempdir().unwrap();
        let last_good = LastGood::within(folder.path());
        last_good.keep(&Texts::default()).unwrap();
        assert_eq!(last_good.load().unwrap().config.summary(), "2 routes on 1 listener");
    }

    #[test]
    fn other_forms_are_no_panic_and_no_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let last_good = LastGood::within(folder.path());
        for text in ["", "{}", "[]", "{\"format\":2,\"files\":[]}", "{\"format\":1,\"files\":[{\"name\":1}]}", "\0"] {
            fs::write(folder.path().join(NAME), text).unwrap();
            assert!(matches!(last_good.load(), Err(LastGoodError::Form { .. })), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_good_any_more_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let body = folder.path().join("body");
        fs::write(&body, "x").unwrap();
        let config = format!("[[route]]\npath = '/'\nrespond.body_file = '{}'", body.display());
        let last_good = LastGood::within(folder.path());
        last_good.keep(&texts(&config)).unwrap();
        fs::remove_file(body).unwrap();
        assert!(matches!(last_good.load(), Err(LastGoodError::Broken(_))));
    }
}
