//! The configuration: TOML files in, settings that can be acted on out.
//!
//! It comes from one file, `/etc/outlive/outlive.toml` unless another is named, and from drop-ins beside it,
//! `outlive.toml.d/*.toml`, in the order of their names. A later file wins key by key; its routes are added to the
//! earlier ones, except that
//!
//! - a route takes the place of those in earlier files that have its `host` and `path` and a method in common, and
//! - `route = []` drops those of all earlier files, as an empty assignment does in a systemd unit.
//!
//! Reading has three stages, and each has a type of its own: a *fragment* is what one file says, every value checked
//! for itself; *merged* is what all files say together; [`settings::Config`] is what has been checked as a whole. All
//! that is wrong is gathered on the way and told at once, each with its file, line, column and cure.

mod diagnostic;
mod fragment;
pub mod last_good;
mod load;
mod merge;
mod names;
mod path;
pub mod quantity;
mod respond;
mod route;
mod section;
pub mod settings;
mod source;
mod syntax;
mod unknown;
mod validate;
mod value;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

pub(crate) use diagnostic::counted;
pub use diagnostic::{ConfigError, Diagnostic, Severity};
use fragment::Fragment;
use load::Files;
use merge::Merged;
use section::Findings;
pub use settings::Config;
use source::Source;
pub use source::Texts;

/// The file that is read unless another is named.
pub const DEFAULT_PATH: &str = "/etc/outlive/outlive.toml";

/// What counts if there is no file at all: a welcome page on 127.0.0.1:8080. It is the file that packages install,
/// which names every key there is.
pub const EMBEDDED_DEFAULT: &str = include_str!("../../packaging/etc/outlive/outlive.toml");

/// Reads the configuration: the file that was named, which must exist, or else [`DEFAULT_PATH`], and its drop-ins. If
/// there are no files at all, [`EMBEDDED_DEFAULT`] counts.
///
/// # Errors
/// Everything that is wrong with any of the files.
pub fn load(explicit: Option<&Path>) -> Result<Config, ConfigError> {
    match explicit {
        Some(path) => load_files(path, true),
        None => load_files(Path::new(DEFAULT_PATH), false),
    }
}

/// Reads a configuration from a text. `name` stands for its file in what is said of it.
///
/// # Errors
/// Everything that is wrong with it.
///
/// ```
/// use outlive::config::from_str;
///
/// let config = from_str("[drain]\nwindow = \"1min 30s\"", "example.toml")?;
/// assert_eq!(config.drain.window, Some(std::time::Duration::from_secs(90)));
///
/// let error = from_str("[drain]\nwinow = \"90s\"", "example.toml").unwrap_err();
/// assert_eq!(error.headline(), "example.toml:2:1: unknown key `winow` in [drain]");
/// # Ok::<(), outlive::config::ConfigError>(())
/// ```
pub fn from_str(text: &str, name: &str) -> Result<Config, ConfigError> {
    let sources = vec![Source::new(name, text.to_owned())];
    build(Files { sources, paths: vec![PathBuf::from(name)], ..Files::default() })
}

/// Reads a configuration from texts that were kept, [`Config::texts`] of an earlier one.
///
/// # Errors
/// Everything that is wrong with them: files that they name may be gone.
pub fn from_texts(texts: &Texts) -> Result<Config, ConfigError> {
    let sources: Vec<_> = texts.iter().map(|(name, text)| Source::new(name, text.to_owned())).collect();
    if sources.is_empty() {
        return build(Files::embedded());
    }
    let paths = texts.iter().map(|(name, _)| PathBuf::from(name)).collect();
    build(Files { sources, paths, ..Files::default() })
}

/// Every key that can be written, by its dotted path: `drain.window`, `listen.NAME.bind`, `route.respond.status`.
#[must_use]
pub fn known_keys() -> BTreeSet<String> {
    let source = Source::new("", String::new());
    let mut findings = Findings { listing: true, ..Findings::default() };
    fragment::read(&source, &DeTable::new(), &mut findings);
    findings.keys
}

fn load_files(path: &Path, must_exist: bool) -> Result<Config, ConfigError> {
    let files = Files::read(path, must_exist);
    if files.sources.is_empty() && files.errors.is_empty() {
        return build(Files { warnings: files.warnings, ..Files::embedded() });
    }
    build(files)
}

fn build(files: Files) -> Result<Config, ConfigError> {
    let mut whole = files.errors.is_empty();
    let mut findings = Findings { errors: files.errors, warnings: files.warnings, ..Findings::default() };
    let mut merged = Merged::default();
    let mut strict_at_least = None;
    for source in &files.sources {
        match read_fragment(source, &mut findings) {
            Ok(fragment) => merged.add(fragment),
            Err(unreadable) => {
                whole = false;
                strict_at_least = unreadable.strict.or(strict_at_least);
            }
        }
    }
    if !findings.unknown.is_empty() {
        let known = known_keys();
        findings.errors.extend(findings.unknown.iter().map(|key| unknown::unknown_key(key, &known)));
    }
    let strict = merged.strict.as_ref().map(|strict| strict.value).or(strict_at_least);
    if !whole {
        // What the missing files say could set right what seems wrong between the others.
        return Err(ConfigError::new(findings.errors, &files.tried).with_strict(strict));
    }
    let texts = files.paths.iter().zip(&files.sources);
    let texts = texts.map(|(path, source)| (path.display().to_string(), source.text.clone())).collect();
    let config = validate::validate(merged, files.paths, &mut findings);
    if findings.errors.is_empty() {
        Ok(Config { texts: Texts::new(texts), warnings: findings.warnings, ..config })
    } else {
        Err(ConfigError::new(findings.errors, &files.tried).with_strict(strict))
    }
}

/// A file whose syntax leaves open what it means.
struct Unreadable {
    /// What it says of `strict` nevertheless.
    strict: Option<bool>,
}

/// Reads one file.
fn read_fragment(source: &Arc<Source>, findings: &mut Findings) -> Result<Fragment, Unreadable> {
    let repaired = syntax::repair(source);
    let (table, errors) = DeTable::parse_recoverable(&repaired.text);
    let syntax = syntax::explain(source, &repaired, table.get_ref(), errors);
    findings.errors.extend(syntax.errors);
    if !syntax.readable {
        let strict = table.get_ref().get("strict").and_then(|value| value.get_ref().as_bool());
        return Err(Unreadable { strict });
    }
    let mut own = Findings::default();
    let fragment = fragment::read(source, table.get_ref(), &mut own);
    if !syntax.guessed.is_empty() {
        let sure = |line: Option<usize>| line.is_none_or(|line| !syntax.guessed.contains(&line));
        own.errors.retain(|error| sure(error.line()));
        own.warnings.retain(|warning| sure(warning.line()));
        own.unknown.retain(|unknown| sure(Some(unknown.key.place.line())));
    }
    findings.errors.append(&mut own.errors);
    findings.warnings.append(&mut own.warnings);
    findings.unknown.append(&mut own.unknown);
    Ok(fragment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_any_file_the_embedded_default_counts() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let config = load_files(&folder.path().join("outlive.toml"), false).expect("the embedded default is valid");
        assert!(config.sources.is_empty());
        assert_eq!(config.summary(), "2 routes on 1 listener");
    }

    #[test]
    fn drop_ins_alone_replace_the_embedded_default() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let drop_ins = folder.path().join("outlive.toml.d");
        std::fs::create_dir(&drop_ins).expect("a folder can be made");
        std::fs::write(drop_ins.join("a.toml"), "workers = 3").expect("a file can be written");
        let config = load_files(&folder.path().join("outlive.toml"), false).expect("the drop-in is valid");
        assert_eq!(config.sources, [drop_ins.join("a.toml")]);
        assert_eq!(config.workers.map(usize::from), Some(3));
        assert_eq!(config.summary(), "0 routes on 0 listeners");
    }
}
