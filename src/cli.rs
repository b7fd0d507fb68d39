//! The command line: words in, exit status out.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};

use crate::config::settings::Config;
use crate::config::{self, ConfigError};
use crate::control::{self, EINVAL};
use crate::handover;
use crate::journal::{self, Event, Target};
use crate::rehearse;
use crate::route::Router;
use crate::server::gauges::Gauges;
use crate::systemd::activation;
use crate::systemd::notify::{Notification, Notifier};

/// The version with the commit that it was built from.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), env!("OUTLIVE_COMMIT_SUFFIX"));

/// EX_USAGE of sysexits(3).
const USAGE: u8 = 64;

/// EX_CONFIG of sysexits(3).
const CONFIGURATION: u8 = 78;

/// How long a process that couldn't start waits for its last words to be taken.
const LAST_WORDS: Duration = Duration::from_secs(1);

const AFTER_HELP: &str = "\
Exit status:
   0  ended as asked, and no request was cut
   1  could not start, or requests were cut at the end of a drain
  64  the command line is wrong
  78  the configuration is wrong

Signals to a running service:
  SIGTERM, SIGINT   drain: finish what runs, then exit
  the same again    cut the drain short (so does SIGUSR2)
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
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve; this is what happens without a command
    Serve,
    /// Say whether the configuration can be served, and what is wrong with it
    Check,
    Rehearse(Box<rehearse::Arguments>),
}

/// Runs the program.
///
/// To be called first thing in `main`, before any thread is started: it takes over what systemd has passed.
#[must_use]
pub fn main() -> ExitCode {
    let began = Instant::now();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            // Asking for help or the version isn't an error, though clap hands it over as one.
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => serve(arguments.config.as_deref(), began),
        Command::Check => check(arguments.config.as_deref()),
        Command::Rehearse(arguments) => rehearse::run(*arguments),
    }
}

fn check(path: Option<&std::path::Path>) -> ExitCode {
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

fn serve(path: Option<&std::path::Path>, began: Instant) -> ExitCode {
    // Before any thread: this reads the environment and changes it.
    let inherited = activation::take(handover::is_stored);
    let target = Target::detect();
    journal::start(target);
    let notifier = Notifier::from_env();

    let inherited = match inherited {
        Ok(inherited) => inherited,
        Err(error) => return failed(&notifier, &error.to_string(), EINVAL, ExitCode::FAILURE),
    };
    let config = match load(path, target) {
        Ok(config) => config,
        Err(error) => return failed(&notifier, &error, EINVAL, ExitCode::from(CONFIGURATION)),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&notifier, &error.to_string(), EINVAL, ExitCode::FAILURE),
    };
    match runtime.block_on(control::run(config, inherited, &notifier, began)) {
        Ok(ended) if ended.drain.cut == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => failed(&notifier, &error.to_string(), error.errno(), ExitCode::FAILURE),
    }
}

/// Loads the configuration; what is wrong with it is shown whole, on a terminal or in the journal.
fn load(path: Option<&std::path::Path>, target: Target) -> Result<Config, String> {
    match config::load(path) {
        Ok(config) => {
            for warning in &config.warnings {
                journal::log(Event::ConfigurationWarning { text: warning.headline() });
            }
            Ok(config)
        }
        Err(error) => {
            if target == Target::Lines {
                print_config_error(&error);
                return Err(error.headline());
            }
            // The headline first: it is all that STATUS= has room for.
            Err(format!("{}\n{error}", error.headline()))
        }
    }
}

fn print_config_error(error: &ConfigError) {
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let text = if colour { error.coloured() } else { error.to_string() };
    let _ = writeln!(io::stderr(), "{text}");
}

/// Says why the service doesn't start: to the journal, and to whoever types `systemctl status`.
fn failed(notifier: &Notifier, reason: &str, errno: u32, status: ExitCode) -> ExitCode {
    journal::log(Event::StartFailed { reason: reason.to_owned() });
    let first_line = reason.lines().next().unwrap_or_default();
    notifier.send(Notification::Failed { status: format!("Cannot start: {first_line}"), errno });
    journal::flush(LAST_WORDS);
    notifier.flush(LAST_WORDS);
    status
}
