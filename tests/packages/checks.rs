//! The packages as files: what the distributions' own checkers say, what is in them, whether they can be made again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::built::{current, forget_cargo, top};
use crate::support::running::Text as _;

/// Bytes of the program.
const LARGEST: u64 = 6 << 20;

#[test]
fn lintian_and_rpmlint_have_nothing_to_say() {
    let (deb, rpm) = (&current().deb, &current().rpm);
    let lintian = run(Command::new("lintian").args(["--fail-on", "error,warning", "--no-cfg"]).arg(deb));
    let said: Vec<_> = lintian.lines().filter(|line| !line.starts_with("running with root privileges")).collect();
    assert!(said.is_empty(), "{lintian}");
    let config = top().join("packaging/rpm/rpmlint.toml");
    let rpmlint = run(Command::new("rpmlint").arg("--config").arg(config).arg(rpm));
    assert!(rpmlint.contains(" 0 errors, 0 warnings"), "{rpmlint}");
}

#[test]
fn man_pages_have_no_faults() {
    let mut pages = 0;
    for folder in ["man1", "man5"] {
        for page in fs::read_dir(top().join("packaging/usr/share/man").join(folder)).unwrap() {
            let mut man = Command::new("man");
            man.args(["--warnings", "--local-file", "--troff-device=utf8", "--ditroff"]).arg(page.unwrap().path());
            let output = man.env("LC_ALL", "C.UTF-8").output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty() && output.stdout.len() > 1000, "{man:?}: {said}");
            pages += 1;
        }
    }
    assert_eq!(pages, 3);
}

#[test]
fn the_program_is_small_and_stripped() {
    let folder = tempfile::tempdir().unwrap();
    run(Command::new("dpkg-deb").arg("--extract").arg(&current().deb).arg(folder.path()));
    let program = folder.path().join("usr/bin/outlive");
    let size = fs::metadata(&program).unwrap().len();
    println!("{size} bytes; {} of .deb", fs::metadata(&current().deb).unwrap().len());
    assert!(size < LARGEST, "{size} bytes");
    let sections = run(Command::new("readelf").args(["--section-headers", "--wide"]).arg(&program));
    assert!(!sections.contains(".symtab") && !sections.contains(".debug_info"), "{sections}");
    let bytes = fs::read(&program).unwrap();
    for folder in [top().to_str().unwrap(), "/.cargo/registry"] {
        let found = bytes.windows(folder.len()).any(|window| window == folder.as_bytes());
        assert!(!found, "the program tells that it was built from {folder}");
    }
}

#[test]
fn nothing_is_for_one_architecture_alone() {
    let mut checked = 0;
    for file in files(&top().join("packaging")) {
        // An example of a command names the file that there is on most machines.
        let text = fs::read_to_string(&file).unwrap().replace("_amd64.deb", "");
        for word in ["amd64", "x86_64", "x86-64"] {
            assert!(!text.contains(word), "{} has {word}", file.display());
        }
        checked += 1;
    }
    assert!(checked > 20, "{checked} files");
}

/// From other folders, the program the same. `OUTLIVE_TEST_REBUILD=1` compiles it there again, from nothing.
#[test]
fn the_same_sources_make_the_same_bytes() {
    let first = current();
    let folder = tempfile::tempdir().unwrap();
    let (copy, packages) = (folder.path().join("another/place"), folder.path().join("packages"));
    fs::create_dir_all(&copy).unwrap();
    let tracked = "git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x -C \"$0\"";
    run(Command::new("sh").args(["-euc", tracked]).arg(&copy).current_dir(top()));
    // The copy has no history to tell these.
    let git = |arguments: &[&str]| run(Command::new("git").args(arguments).current_dir(top())).trim().to_owned();
    let mut build = Command::new(copy.join("packaging/build"));
    build.env("SOURCE_DATE_EPOCH", git(&["log", "-1", "--format=%ct"]));
    build.env("OUTLIVE_COMMIT", git(&["rev-parse", "--short=10", "HEAD"]));
    build.arg("--to").arg(&packages);
    if std::env::var_os("OUTLIVE_TEST_REBUILD").is_none() {
        let built = || top().join("target/packages/build/release/outlive").into();
        build.arg("--program").arg(std::env::var_os("OUTLIVE_TEST_PROGRAM").unwrap_or_else(built));
    }
    forget_cargo(&mut build);
    run(&mut build);
    for file in [&first.deb, &first.rpm] {
        let again = packages.join(file.file_name().unwrap());
        assert!(fs::read(file).unwrap() == fs::read(&again).unwrap(), "{} differs", again.display());
    }
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.env("LC_ALL", "C.UTF-8").output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, output.text());
    output.text()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    files.into_iter().chain(folders.iter().flat_map(|folder| self::files(folder))).collect()
}
