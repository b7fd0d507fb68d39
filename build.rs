//! Tells the program which commit it was built from, where that is known.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=OUTLIVE_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    // To watch a file that isn't there means to build this package anew whenever anything that uses it is built.
    for file in [".git/HEAD", ".git/refs"] {
        if Path::new(file).exists() {
            println!("cargo::rerun-if-changed={file}");
        }
    }
    let commit = std::env::var("OUTLIVE_COMMIT").ok().or_else(|| {
        // Among another project's files, the commit would be that project's.
        Path::new(".git").exists().then_some(())?;
        let output = Command::new("git").args(["rev-parse", "--short=10", "HEAD"]).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    });
    let suffix = commit.filter(|commit| !commit.is_empty()).map(|commit| format!(" ({commit})")).unwrap_or_default();
    println!("cargo::rustc-env=OUTLIVE_COMMIT_SUFFIX={suffix}");
}
