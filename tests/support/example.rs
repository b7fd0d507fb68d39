//! The examples, as programs.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The program of that example, built unless it has been: Cargo only does so by itself when it runs all tests.
#[track_caller]
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap(); // target/debug/deps/test
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--locked", "--example", name]).current_dir(env!("CARGO_MANIFEST_DIR"));
    build.args((profile.file_name() == Some("release".as_ref())).then_some("--release"));
    build.env("CARGO_TARGET_DIR", profile.parent().unwrap());
    let built = build.status().unwrap();
    assert!(built.success(), "{name} can't be built");
    profile.join(Path::new("examples").join(name))
}
