//! Tells the program which commit it was built from, where that is known.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=OUTLIVE_COMMIT");
    // Wherever they are: a worktree has them in its repository's folder. A file that doesn't exist would count as changed.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let commit = std::env::var("OUTLIVE_COMMIT").ok().or_else(|| git(&["rev-parse", "--short=10", "HEAD"]));
    let suffix = commit.filter(|commit| !commit.is_empty()).map(|commit| format!(" ({commit})")).unwrap_or_default();
    println!("cargo::rustc-env=OUTLIVE_COMMIT_SUFFIX={suffix}");
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
