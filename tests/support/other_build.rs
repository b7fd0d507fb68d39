//! A build of the service whose formats have another version, as a later or an earlier release's may have.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The version of its formats: see `FORMAT` in src/handover/mod.rs.
pub const VERSION: u16 = 2;

/// Its program. It is built when it is first needed.
#[track_caller]
pub fn other_build() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("other-build");
        let mut command = Command::new(env!("CARGO"));
        command.args(["build", "--quiet", "--locked", "--bin", "outlive", "--target-dir"]).arg(&target);
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        command.env("OUTLIVE_TEST_FORMAT", VERSION.to_string()).env("CARGO_PROFILE_DEV_DEBUG", "0");
        let built = command.output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        target.join("debug/outlive")
    })
}
