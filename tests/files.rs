//! `files`, with paths resolved by openat2(2) where the kernel has it.

#![allow(clippy::unwrap_used, reason = "a test may panic; Clippy only knows that of functions marked as tests")]

#[path = "support/file_cases.rs"]
#[macro_use]
mod file_cases;
#[path = "support/routes.rs"]
#[allow(dead_code, reason = "shared between tests that each need a part of it")]
mod support;

fn run<F: Future<Output = ()>>(case: fn() -> F) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(case());
}

file_cases!(run);
