//! The files that packages install, in folders that mirror where they go.

use std::path::{Path, PathBuf};

/// The folder of them all.
pub fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging")
}

/// A unit's text.
pub fn text(unit: &str) -> String {
    std::fs::read_to_string(packaging().join("usr/lib/systemd/system").join(unit)).unwrap()
}

/// The most exposure that `systemd-analyze security` may find, of 10.
pub const EXPOSURE_AT_MOST: f64 = 1.5;
