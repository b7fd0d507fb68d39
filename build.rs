//! Tells the program which commit it was built from, where that is known.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=OUTLIVE_COMMIT");
    println!("cargo::rerun-if-changed=.git/HEAD");
    println!("cargo::rerun-if-changed=.git/refs");
    let commit = std::env::var("OUTLIVE_COMMIT").ok().or_else(|| {
        let output = Command::new("git").args(["rev-parse", "--short=10", "HEAD"]).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    });
    let suffix = commit.filter(|commit| !commit.is_empty()).map(|commit| format!(" ({commit})")).unwrap_or_default();
    println!("cargo::rustc-env=OUTLIVE_COMMIT_SUFFIX={suffix}");
}
