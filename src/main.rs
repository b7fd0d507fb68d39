//! The `outlive` command.

use std::process::ExitCode;

use clap::Parser;
use outlive::rehearse;

/// Your connections outlive your process.
#[derive(Parser)]
#[command(version)]
enum Command {
    Rehearse(rehearse::Arguments),
}

fn main() -> ExitCode {
    match Command::try_parse() {
        Ok(Command::Rehearse(arguments)) => rehearse::run(arguments),
        Err(error) => {
            // What cannot be printed cannot be reported either.
            _ = error.print();
            ExitCode::from(if error.use_stderr() { 64 } else { 0 })
        }
    }
}
