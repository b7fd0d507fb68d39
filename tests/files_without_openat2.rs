//! `files` as the service runs: systemd makes openat2(2) fail with ENOSYS under `RestrictSUIDSGID=`, which
//! `DynamicUser=` implies.
//!
//! A test binary of its own, because cap-std remembers for the whole process that openat2 is missing.

#![allow(clippy::unwrap_used, reason = "a test may panic; Clippy only knows that of functions marked as tests")]

#[path = "support/file_cases.rs"]
#[macro_use]
mod file_cases;
#[path = "support/routes.rs"]
#[allow(dead_code, reason = "shared between tests that each need a part of it")]
mod support;

use std::collections::BTreeMap;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// openat2's number, the same on all architectures.
const OPENAT2: i64 = 437;

/// Runs a case on a thread without openat2; the threads that it starts have none either.
fn run<F: Future<Output = ()> + 'static>(case: fn() -> F) {
    let without = std::thread::spawn(move || {
        let enosys = SeccompAction::Errno(Errno::NOSYS.raw_os_error().cast_unsigned());
        let rules = BTreeMap::from([(OPENAT2, Vec::new())]);
        let architecture = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, enosys, architecture).unwrap();
        seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
        let missing = openat2(CWD, ".", OFlags::PATH, Mode::empty(), ResolveFlags::BENEATH);
        assert_eq!(missing.map(drop), Err(Errno::NOSYS), "the filter works");
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(case());
    });
    if let Err(panic) = without.join() {
        std::panic::resume_unwind(panic);
    }
}

file_cases!(run);
