//! The command line: words in, exit status out.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config::{self, ConfigError};
use crate::rehearse;
use crate::route::Router;
use crate::service;
use crate::{Control, ControlError, Gauges, connected_to_journal};

/// The version with the commit that it was built from.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), env!("OUTLIVE_COMMIT_SUFFIX"));

/// EX_USAGE of sysexits(3).
const USAGE: u8 = 64;

/// EX_CONFIG of sysexits(3).
pub(crate) const CONFIGURATION: u8 = 78;

const AFTER_HELP: &str = "\
Exit status:
   0  ended as asked, and no request was cut
   1  could not start, or requests were cut at the end of a drain
  64  the command line is wrong
  78  the configuration is wrong

Signals to a running service:
  SIGTERM, SIGINT   drain: finish what runs, then exit
  the same again    cut the drain short (so does SIGUSR2)
  SIGHUP            reload: let a new process take over, without an interruption
  SIGUSR1           write the counters to the journal

Files:
  /etc/outlive/outlive.toml             the configuration
  /etc/outlive/outlive.toml.d/*.toml    parts that override it, in alphabetical order
  Without both, a welcome page is served on http://127.0.0.1:8080/.";

/// An HTTP service for systemd hosts that loses no request when it is restarted.
#[derive(Debug, Parser)]
#[command(name = "outlive", version = VERSION, after_help = AFTER_HELP, max_term_width = 100)]
struct Arguments {
    /// Configuration file, instead of /etc/outlive/outlive.toml
    #[arg(long, short, global = true, value_name = "FILE", help_heading = "The service")]
    config: Option<PathBuf>,

    /// Control socket of the service (of any that uses the library), instead of /run/outlive/control
    #[arg(long, global = true, value_name = "FILE", help_heading = "The service")]
    control: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve; this is what happens without a command
    Serve,
    /// Say whether the configuration can be served, and what is wrong with it
    Check,
    /// Say how the service is
    Status {
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Let a new process take over, with the program and the configuration that are on disk now
    #[command(
        long_about = "Lets a new process take over, with the program and the configuration that are on disk now. \
        Waits for the outcome: exits with 0 once it serves, and with 1 if it doesn't. In that case it says why, and the \
        old process goes on as if nothing had been."
    )]
    Reload,
    Rehearse(Box<rehearse::Arguments>),
}

/// The command line as such: man pages and completions are made from it.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Runs the program.
///
/// To be called first thing in `main`, before any thread is started: it takes over what systemd has passed.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            // Asking for help or the version isn't an error, though clap hands it over as one.
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => service::serve(arguments.config.as_deref(), arguments.control),
        Command::Status { json } => status(arguments.control, json),
        Command::Reload => reload(arguments.control),
        Command::Check => check(arguments.config.as_deref()),
        Command::Rehearse(arguments) => rehearse::run(*arguments),
    }
}

fn check(path: Option<&Path>) -> ExitCode {
    match config::load(path) {
        Ok(config) => {
            // Who doesn't listen any more has the exit status. (The macros would panic.)
            for warning in &config.warnings {
                let _ = writeln!(io::stderr(), "{warning}\n");
            }
            // Folders are opened and paths are laid out, as a start would.
            if let Err(error) = Router::new(&config.routes, &Arc::new(Gauges::new(1, 1))) {
                let _ = writeln!(io::stderr(), "error: {error}");
                return ExitCode::from(CONFIGURATION);
            }
            let _ = writeln!(io::stdout(), "The configuration ({}) is valid: {}", config.origin(), config.summary());
            ExitCode::SUCCESS
        }
        Err(error) => {
            print_config_error(&error);
            ExitCode::from(CONFIGURATION)
        }
    }
}

fn status(control: Option<PathBuf>, json: bool) -> ExitCode {
    match asked(control).status() {
        Ok(status) if json => say(&status.to_json()),
        Ok(status) => say(&status.to_string()),
        Err(error) => complain(&error.to_string()),
    }
}

fn reload(control: Option<PathBuf>) -> ExitCode {
    match asked(control).reload() {
        Ok(text) => say(&text),
        // The service has written all of it to the journal; systemctl shows the last ten lines of that.
        Err(ControlError::NotReloaded { reason }) if connected_to_journal() => {
            complain(reason.lines().next().unwrap_or_default())
        }
        Err(ControlError::NotReloaded { reason }) => complain(&reason),
        Err(error) => complain(&error.to_string()),
    }
}

/// The service that is to be asked.
fn asked(control: Option<PathBuf>) -> Control {
    control.map_or_else(Control::new, Control::at)
}

/// Writes to standard output; whoever has closed it has read enough.
fn say(text: &str) -> ExitCode {
    let _ = writeln!(io::stdout(), "{text}");
    ExitCode::SUCCESS
}

pub(crate) fn complain(text: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "{text}");
    ExitCode::FAILURE
}

pub(crate) fn print_config_error(error: &ConfigError) {
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let text = if colour { error.coloured() } else { error.to_string() };
    let _ = writeln!(io::stderr(), "{text}");
}
