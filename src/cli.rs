//! The command line: words in, exit status out.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config::last_good::LastGood;
use crate::config::settings::Config;
use crate::config::{self, ConfigError};
use crate::control::{self, Beginning, EINVAL};
use crate::handover::predecessor::{Complaints, Predecessor};
use crate::handover::{self, launch};
use crate::journal::{self, Event, Target};
use crate::rehearse;
use crate::route::Router;
use crate::server::gauges::Gauges;
use crate::status::{self, InUse, VERSION};
use crate::systemd::activation;
use crate::systemd::notify::{Notification, Notifier};

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
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Control socket of the service, instead of /run/outlive/control
    #[arg(long, global = true, value_name = "FILE")]
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
    /// Start a successor: for the service itself
    #[command(name = launch::SUBCOMMAND, hide = true)]
    LaunchSuccessor {
        #[arg(long)]
        orphaned: bool,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        program: Vec<OsString>,
    },
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
        Command::Serve => serve(arguments.config.as_deref(), arguments.control, began),
        Command::Status { json } => status(arguments.control, json),
        Command::Reload => reload(arguments.control),
        Command::LaunchSuccessor { orphaned, program } => launch_successor(orphaned, &program),
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
    match status::client::status(&control.unwrap_or_else(status::client::find)) {
        Ok(status) if json => say(&format!("{status:#}\n")),
        Ok(status) => say(&status::report::text(&status)),
        Err(error) => complain(&error.to_string()),
    }
}

fn reload(control: Option<PathBuf>) -> ExitCode {
    match status::client::reload(&control.unwrap_or_else(status::client::find)) {
        Ok(Ok(text)) => say(&format!("{text}\n")),
        Ok(Err(reason)) => complain(&reason),
        Err(error) => complain(&error.to_string()),
    }
}

fn launch_successor(orphaned: bool, program: &[OsString]) -> ExitCode {
    if orphaned {
        return complain(&launch::become_program(program).to_string());
    }
    match launch::beget(program) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("cannot start a process: {error}")),
    }
}

/// Writes to standard output; whoever has closed it has read enough.
fn say(text: &str) -> ExitCode {
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn complain(text: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "{text}");
    ExitCode::FAILURE
}

fn serve(path: Option<&Path>, control: Option<PathBuf>, began: Instant) -> ExitCode {
    // Before any thread: this reads the environment and changes it.
    let inherited = activation::take(handover::is_stored);
    if let Ok(inherited) = &inherited {
        control::prepare(inherited);
    }
    let (inherited, predecessor) = match inherited.map(|mut inherited| (inherited.link.take(), inherited)) {
        Ok((None, inherited)) => (Ok(inherited), None),
        Ok((Some(link), inherited)) => match Predecessor::greet(link) {
            Ok(predecessor) => (Ok(inherited), Some(predecessor)),
            Err(error) => return complain(&error.to_string()),
        },
        Err(error) => (Err(error), None),
    };
    let target = Target::detect();
    journal::start(target);
    let notifier = Notifier::from_env();
    let complaints = predecessor.as_ref().map(Predecessor::complaints);
    if complaints.is_some() {
        notifier.silence();
    }
    let start = Start { notifier: &notifier, target, complaints };

    let inherited = match inherited {
        Ok(inherited) => inherited,
        Err(error) => return start.failed(&error.to_string(), EINVAL, ExitCode::FAILURE),
    };
    let (config, configuration) = match start.configuration(path) {
        Ok(loaded) => loaded,
        Err(error) => return start.failed(&error, EINVAL, ExitCode::from(CONFIGURATION)),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()) {
        Ok(runtime) => runtime,
        Err(error) => return start.failed(&error.to_string(), EINVAL, ExitCode::FAILURE),
    };
    let beginning = Beginning { config, configuration, inherited, predecessor, control, began };
    match runtime.block_on(control::run(beginning, &notifier)) {
        Ok(ended) if ended.drain.cut == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => start.failed(&error.to_string(), error.errno(), ExitCode::FAILURE),
    }
}

/// A service on its way to serving, and whom it tells if it doesn't get there.
struct Start<'notifier> {
    notifier: &'notifier Notifier,
    target: Target,
    /// If this process was started by a reload, it is for the one that goes on to say why it couldn't serve.
    complaints: Option<Complaints>,
}

impl Start<'_> {
    /// Loads the configuration, or else the last good one.
    fn configuration(&self, path: Option<&Path>) -> Result<(Config, InUse), String> {
        let error = match config::load(path) {
            Ok(config) => {
                for warning in &config.warnings {
                    journal::log(Event::ConfigurationWarning { text: warning.headline() });
                }
                let in_use = InUse { sources: config.sources.clone(), ..InUse::default() };
                return Ok((config, in_use));
            }
            Err(error) => error,
        };
        if let Some(last_good) = self.last_good(&error) {
            return Ok(last_good);
        }
        if self.target == Target::Lines && self.complaints.is_none() {
            print_config_error(&error);
            return Err(error.headline());
        }
        // The headline first: it is all that STATUS= has room for.
        Err(format!("{}\n{error}", error.headline()))
    }

    /// The last good configuration, if it may take the place of a broken one.
    fn last_good(&self, error: &ConfigError) -> Option<(Config, InUse)> {
        // A reload has a better way out: the old process goes on with what it has.
        let last_good = LastGood::from_env().filter(|_| self.complaints.is_none())?;
        if error.strict() == Some(true) {
            return None;
        }
        let kept = match last_good.load() {
            Ok(kept) => kept,
            Err(why) => {
                let text = format!("The last good configuration can't take the place of the broken one: {why}");
                journal::log(Event::Inconvenience { text });
                return None;
            }
        };
        // The file may be too broken to say so itself.
        if error.strict().unwrap_or(kept.config.strict) {
            return None;
        }
        let problem = format!("{}\n{error}", error.headline());
        journal::log(Event::LastGoodServed { problem, since: kept.since.clone() });
        let in_use =
            InUse { sources: kept.config.sources.clone(), broken: Some(error.headline()), since: Some(kept.since) };
        Some((kept.config, in_use))
    }

    /// Says why the service doesn't start: to the process that goes on, or else to the journal, and to whoever types
    /// `systemctl status`.
    fn failed(&self, reason: &str, errno: u32, status: ExitCode) -> ExitCode {
        if let Some(complaints) = &self.complaints {
            complaints.failed(reason);
            return status;
        }
        journal::log(Event::StartFailed { reason: reason.to_owned() });
        let first_line = reason.lines().next().unwrap_or_default();
        self.notifier.send(Notification::Failed { status: format!("Cannot start: {first_line}"), errno });
        journal::flush(LAST_WORDS);
        self.notifier.flush(LAST_WORDS);
        status
    }
}

fn print_config_error(error: &ConfigError) {
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let text = if colour { error.coloured() } else { error.to_string() };
    let _ = writeln!(io::stderr(), "{text}");
}
