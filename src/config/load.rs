//! Which files are read, and what may be wrong with them as files.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::EMBEDDED_DEFAULT;
use super::diagnostic::{Diagnostic, Severity};
use super::quantity::Size;
use super::source::{Place, Source, visible};

/// No configuration is longer; a device that never ends is.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;

/// The files that were found, in the order they count, and what was wrong with the others.
#[derive(Default)]
pub(super) struct Files {
    pub(super) sources: Vec<Arc<Source>>,
    /// Where they were found.
    pub(super) paths: Vec<PathBuf>,
    /// All that were tried, by the names that errors have.
    pub(super) tried: Vec<String>,
    pub(super) errors: Vec<Diagnostic>,
    pub(super) warnings: Vec<Diagnostic>,
}

impl Files {
    /// What counts if there are none.
    pub(super) fn embedded() -> Self {
        let source = Source::new("the embedded default", EMBEDDED_DEFAULT.to_owned());
        Self { sources: vec![source], ..Self::default() }
    }

    /// Reads the main file and its drop-ins.
    pub(super) fn read(main: &Path, must_exist: bool) -> Self {
        let mut files = Self::default();
        match fs::symlink_metadata(main) {
            Err(error) if error.kind() == ErrorKind::NotFound && !must_exist => {}
            _ => files.add(main),
        }
        let mut folder = main.as_os_str().to_owned();
        folder.push(".d");
        for path in files.drop_ins(Path::new(&folder)) {
            files.add(&path);
        }
        files
    }

    /// The drop-ins in the order of their names. What is hidden, or ends differently, is none.
    fn drop_ins(&mut self, folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
        let mut paths: Vec<PathBuf> = match entries {
            Ok(paths) => paths,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                self.tried.push(visible(&folder.display().to_string()));
                self.errors.push(unreadable_file(folder, &error));
                Vec::new()
            }
        };
        paths.sort();
        let hidden = |path: &Path| path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let ends_in = |path: &Path, extension| path.extension().is_some_and(|own| own == extension);
        paths.retain(|path| !hidden(path));
        // systemd's drop-ins end so.
        for path in paths.iter().filter(|path| ends_in(path, "conf")) {
            let what = "isn't read: its name doesn't end in .toml";
            let warning = Diagnostic::about_file(Severity::Warning, &path.display().to_string(), what);
            self.warnings.push(warning.cure("rename it"));
        }
        paths.retain(|path| ends_in(path, "toml"));
        paths
    }

    fn add(&mut self, path: &Path) {
        self.tried.push(visible(&path.display().to_string()));
        match read_file(path) {
            Ok(source) => {
                self.sources.push(source);
                self.paths.push(path.to_owned());
            }
            Err(error) => self.errors.push(*error),
        }
    }
}

fn read_file(path: &Path) -> Result<Arc<Source>, Box<Diagnostic>> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes));
    read.map_err(|error| Box::new(unreadable_file(path, &error)))?;
    if bytes.len() as u64 > LARGEST_FILE {
        let what = format!("is longer than {}", Size(LARGEST_FILE));
        let cure = "name a configuration file; long bodies belong into files of their own (`body_file`)";
        return Err(Box::new(Diagnostic::about_file(Severity::Error, &name, &what).cure(cure)));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source::new(&name, text)),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let byte = error.as_bytes().get(at).copied().unwrap_or_default();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let place = Place::new(&Source::new(&name, text), at..at + 1);
            let what = format!("this file is no UTF-8 text: the byte 0x{byte:02X} can't stand here");
            Err(Box::new(Diagnostic::error(&place, what).cure("save it as UTF-8")))
        }
    }
}

fn unreadable_file(path: &Path, error: &io::Error) -> Diagnostic {
    let (what, cure) = unreadable(error);
    Diagnostic::about_file(Severity::Error, &path.display().to_string(), what).cure(cure)
}

/// Why a file can't be read, to follow its name, and the cure.
pub(super) fn unreadable(error: &io::Error) -> (&'static str, String) {
    match error.kind() {
        ErrorKind::NotFound => ("doesn't exist", "create it, or correct its path".to_owned()),
        ErrorKind::PermissionDenied => {
            let cure = "let the user that outlive runs as read it, and enter the folders above it (chmod o+r, o+x)";
            ("may not be read", cure.to_owned())
        }
        ErrorKind::IsADirectory => ("is a folder", "name a file".to_owned()),
        ErrorKind::NotADirectory => ("is no folder, or lies below a file", "correct its path".to_owned()),
        _ => ("can't be read", format!("the system says: {error}")),
    }
}
