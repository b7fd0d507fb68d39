//! The `outlive` command: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    outlive::cli::main()
}
