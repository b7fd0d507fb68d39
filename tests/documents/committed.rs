//! Files that are made from the code and committed.

use std::fs;
use std::path::{Path, PathBuf};

/// A file of packaging/, in folders that mirror where it goes.
pub fn packaged(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(path)
}

/// Fails unless the file is what the code makes of it today; writes it if asked to.
#[track_caller]
pub fn is_up_to_date(path: &str, text: &str) {
    let file = packaged(path);
    if std::env::var_os("OUTLIVE_WRITE_DOCUMENTS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    let differ = committed.lines().zip(text.lines()).position(|(committed, made)| committed != made);
    let line = differ.unwrap_or_else(|| committed.lines().count().min(text.lines().count()));
    assert!(
        committed == text,
        "packaging/{path} is out of date from line {} on: OUTLIVE_WRITE_DOCUMENTS=1 cargo test --test documents\n\
         committed: {:?}\n     made: {:?}",
        line + 1,
        committed.lines().nth(line),
        text.lines().nth(line),
    );
}
