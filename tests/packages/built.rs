//! Making the packages: two versions, as a release and its successor are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use crate::support::OUTLIVE;

/// What `packaging/build` makes.
#[derive(Clone)]
pub struct Packages {
    pub version: String,
    pub deb: PathBuf,
    pub rpm: PathBuf,
}

/// The version of Cargo.toml, optimized, as it is published.
pub fn current() -> &'static Packages {
    &both().0
}

/// A later version, whose program is the one that the tests were built with: other machine code, other speed.
pub fn newer() -> &'static Packages {
    &both().1
}

fn both() -> &'static (Packages, Packages) {
    static BOTH: OnceLock<(Packages, Packages)> = OnceLock::new();
    BOTH.get_or_init(|| {
        let target = top().join("target/packages");
        thread::scope(|scope| {
            let newer = scope.spawn(|| {
                let version = concat!(env!("CARGO_PKG_VERSION"), "+test");
                make(version, &target.join("newer"), &["--version", version, "--program", OUTLIVE])
            });
            // For who changes the packages only, and not the program: another build of it takes long.
            let program = std::env::var("OUTLIVE_TEST_PROGRAM").ok();
            let arguments: Vec<_> = program.iter().flat_map(|program| ["--program", program]).collect();
            (make(env!("CARGO_PKG_VERSION"), &target, &arguments), newer.join().unwrap())
        })
    })
}

/// Runs `packaging/build`.
#[track_caller]
pub fn make(version: &str, to: &Path, arguments: &[&str]) -> Packages {
    let mut build = Command::new(top().join("packaging/build"));
    build.args(arguments).arg("--to").arg(to).stdin(Stdio::null());
    forget_cargo(&mut build);
    let status = build.status().unwrap();
    assert!(status.success(), "{build:?}: {status}");
    let named = |prefix: &str, suffix: &str| {
        let mut found = fs::read_dir(to).unwrap().map(|entry| entry.unwrap().path()).filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(prefix) && name.ends_with(suffix)
        });
        found.next().unwrap_or_else(|| panic!("no {prefix}*{suffix} in {}", to.display()))
    };
    Packages {
        version: version.to_owned(),
        deb: named(&format!("outlive_{version}_"), ".deb"),
        rpm: named(&format!("outlive-{version}-1."), ".rpm"),
    }
}

/// What cargo says to a test is not for another cargo.
pub fn forget_cargo(command: &mut Command) {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_") && name != "CARGO_HOME") {
        command.env_remove(name);
    }
}

/// The top of the sources.
pub fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
