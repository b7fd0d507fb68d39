//! Examples, and programs like them, built for a test.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::OUTLIVE;
use super::running::Text as _;

/// The crates that examples use.
const CRATES: [&str; 5] = ["axum", "futures_util", "http", "outlive", "tokio"];

/// An example that was built, and what it was built with.
pub struct Example {
    /// The program.
    pub program: PathBuf,
    /// The libraries, by the names of their crates.
    libraries: HashMap<String, PathBuf>,
}

impl Example {
    /// Builds an example as Cargo does. Libraries are those that the test itself was built with.
    #[track_caller]
    pub fn build(name: &str) -> Self {
        let profile = Path::new(OUTLIVE).parent().unwrap(); // target/debug
        let release = profile.ends_with("release");
        let output = Command::new(env!("CARGO"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["build", "--quiet", "--locked", "--message-format=json", "--example", name])
            .args(["--profile", if release { "release" } else { "dev" }])
            .env("CARGO_TARGET_DIR", profile.parent().unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", output.text());
        let mut program = None;
        let mut libraries = HashMap::new();
        for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let message: Value = serde_json::from_slice(line).unwrap();
            let crate_name = message["target"]["name"].as_str().unwrap_or_default();
            if let Some(path) = message["executable"].as_str().filter(|_| crate_name == name) {
                program = Some(path.into());
            }
            let mut files = message["filenames"].as_array().into_iter().flatten().filter_map(Value::as_str);
            if let Some(library) = files.find(|file| file.ends_with(".rlib")) {
                libraries.insert(crate_name.replace('-', "_"), library.into());
            }
        }
        Self { program: program.expect("Cargo names the program that it has built"), libraries }
    }

    /// Builds another program with the same libraries, as whoever has changed the source would, only faster.
    #[track_caller]
    pub fn rebuild(&self, source: &Path, program: &Path) {
        self.compile(source, &CRATES, &["--crate-name=changed", "-o", program.to_str().unwrap()]);
    }

    /// Compiles another program with any of the same libraries, only to see that it does.
    #[track_caller]
    pub fn check(&self, source: &Path) {
        let crates: Vec<_> = self.libraries.keys().map(String::as_str).collect();
        // Not to /dev/null: for root, rustc would put a file in its place.
        let metadata = tempfile::NamedTempFile::new().unwrap();
        let emit = format!("--emit=metadata={}", metadata.path().display());
        self.compile(source, &crates, &["--crate-name=checked", &emit]);
    }

    #[track_caller]
    fn compile(&self, source: &Path, crates: &[&str], arguments: &[&str]) {
        let compiler = Path::new(env!("CARGO")).with_file_name("rustc");
        let mut command = Command::new(compiler);
        command.arg("--edition=2024").args(arguments).arg(source);
        command.env("CARGO_PKG_VERSION", env!("CARGO_PKG_VERSION")).env("OUTLIVE_COMMIT_SUFFIX", "");
        for name in crates {
            let library = self.libraries.get(*name).unwrap_or_else(|| panic!("no library {name}"));
            command.arg("--extern").arg(format!("{name}={}", library.display()));
            command.arg("-L").arg(format!("dependency={}", library.parent().unwrap().display()));
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", output.text());
    }
}

/// The program of an example, built unless it has been: Cargo only does so by itself when it runs all tests.
#[track_caller]
pub fn example(name: &str) -> PathBuf {
    Example::build(name).program
}

/// An example's source.
pub fn source(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/{name}.rs"))).unwrap()
}
