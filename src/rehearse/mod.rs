//! `outlive rehearse`: prove that a restart loses nothing, on any HTTP server.
//!
//! Clients that never retry use the server while a command restarts it, and whatever they lose is counted by class. One
//! thread does it all, so that nothing needs a lock and measuring costs little:
//!
//! - `arguments` become a checked plan; `limits` makes room for it; `preflight` asks once.
//! - `busy`, `fresh`, `http2` and `websocket` clients then run freely, each a task of its own, while `rounds`
//!   runs the command and leads the `idle` and `half` clients through it.
//! - HTTP/1.1 clients share `client`, which opens, asks, judges and counts; under it `connection` speaks to the
//!   socket and tells how it ended, and `answer` reads.
//! - Everything ends up in the `tally` (with its `timeline`, and the `census` of kept-alive connections), from which
//!   `progress`, `summary`, `json` and `report` are written. `class` defines the classes of failure for all of them.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use tokio::runtime::LocalOptions;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

mod answer;
mod arguments;
mod busy;
mod census;
mod class;
mod client;
mod connection;
mod fresh;
mod half;
mod http2;
mod idle;
mod json;
mod limits;
mod preflight;
mod progress;
mod report;
mod rounds;
mod summary;
mod tally;
mod target;
mod timeline;
mod websocket;

pub use arguments::Arguments;
pub use class::Failure;
pub use preflight::PreflightError;
pub use target::UsageError;

use arguments::Plan;
use client::Run;
use progress::Progress;
use summary::Summary;

/// `EX_USAGE` of sysexits.h.
const BAD_USAGE: u8 = 64;

/// How often the process looks how late it wakes up.
const HEARTBEAT: Duration = Duration::from_millis(10);

/// How many tasks run before the runtime looks for input again. With its default, 61, answers would lie in their sockets
/// while a burst of requests is sent, and that would count as the server's latency.
const EVENT_INTERVAL: u32 = 8;

/// Why a rehearsal could not be done.
#[derive(Debug, thiserror::Error)]
enum RehearseError {
    #[error(transparent)]
    Usage(#[from] UsageError),
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    #[error("interrupted before the first round: nothing was measured")]
    Interrupted,
    #[error("{}: cannot be written: {error}", path.display())]
    Output { path: PathBuf, error: io::Error },
    #[error("the runtime cannot start: {0}")]
    Runtime(io::Error),
}

/// Rehearses, and writes what came of it to standard output, standard error and the files asked for.
///
/// The exit status is 0 if nothing failed, 1 if anything did or the rehearsal could not be done, and 64 for bad usage.
#[must_use]
pub fn run(arguments: Arguments) -> ExitCode {
    match rehearse(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("outlive rehearse: {error}");
            if matches!(error, RehearseError::Usage(_)) { ExitCode::from(BAD_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

/// Whether nothing failed.
fn rehearse(arguments: Arguments) -> Result<bool, RehearseError> {
    let plan = Plan::new(arguments)?;
    let sources = limits::prepare(&plan)?;
    let outputs = Outputs::open(&plan)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build_local(LocalOptions::default())
        .map_err(RehearseError::Runtime)?;
    let run = Rc::new(Run::new(plan, sources));
    let interrupted = runtime.block_on(perform(&run))?;
    outputs.write(&run, interrupted)?;
    Ok(run.tally.borrow().all_well())
}

/// Everything from the first request to the last; whether it was interrupted.
async fn perform(run: &Rc<Run>) -> Result<bool, RehearseError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RehearseError::Runtime)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(RehearseError::Runtime)?;
    tokio::select! {
        checked = preflight::check(run) => checked?,
        _ = interrupt.recv() => return Err(RehearseError::Interrupted),
        _ = terminate.recv() => return Err(RehearseError::Interrupted),
    }
    let progress = Rc::new(Progress::new(&run.plan));
    run.tally.borrow_mut().start();
    let mut clients = start_clients(run);
    let watching = tokio::task::spawn_local(watch(Rc::clone(run), Rc::clone(&progress)));
    let complete = async {
        let _connections = rounds::perform(run, &progress).await;
        run.end();
        // What is under way may finish, and is bounded by its own timeouts.
        while clients.join_next().await.is_some() {}
    };
    let interrupted = tokio::select! {
        () = complete => false,
        _ = interrupt.recv() => true,
        _ = terminate.recv() => true,
    };
    watching.abort();
    progress.end();
    if interrupted {
        run.tally.borrow_mut().break_off();
    }
    Ok(interrupted)
}

/// Starts the clients that the rounds do not lead.
fn start_clients(run: &Rc<Run>) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for number in 0..run.plan.busy {
        clients.spawn_local(busy::client(Rc::clone(run), number));
    }
    for number in 0..run.plan.fresh {
        clients.spawn_local(fresh::client(Rc::clone(run), number));
    }
    for number in 0..run.plan.http2 {
        clients.spawn_local(http2::client(Rc::clone(run), number));
    }
    for number in 0..run.plan.websockets {
        clients.spawn_local(websocket::client(Rc::clone(run), number));
    }
    clients
}

/// Draws the progress, and notes how late this process itself wakes up.
async fn watch(run: Rc<Run>, progress: Rc<Progress>) {
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut drawn = tokio::time::Instant::now();
    loop {
        let due = heartbeat.tick().await;
        let mut tally = run.tally.borrow_mut();
        let late = due.elapsed();
        tally.own_delay.saturating_record(u64::try_from(late.as_micros()).unwrap_or(u64::MAX));
        if drawn.elapsed() >= progress::REFRESH {
            drawn = tokio::time::Instant::now();
            progress.live(&tally);
        }
    }
}

/// The files asked for, opened before anything is loaded: a mistyped path should not cost a whole run.
struct Outputs {
    json: Option<(PathBuf, Option<File>)>,
    report: Option<(PathBuf, File)>,
}

impl Outputs {
    fn open(plan: &Plan) -> Result<Self, RehearseError> {
        let create = |path: &PathBuf| File::create(path).map_err(|error| cannot_write(path, error));
        let json = plan.json.as_ref().map(|path| {
            let file = if path == Path::new("-") { None } else { Some(create(path)?) };
            Ok::<_, RehearseError>((path.clone(), file))
        });
        let report = plan.report.as_ref().map(|path| Ok::<_, RehearseError>((path.clone(), create(path)?)));
        Ok(Self { json: json.transpose()?, report: report.transpose()? })
    }

    fn write(self, run: &Run, interrupted: bool) -> Result<(), RehearseError> {
        let tally = run.tally.borrow();
        let summary = Summary { plan: &run.plan, tally: &tally, interrupted }.to_string();
        let to_standard_output = matches!(self.json, Some((_, None)));
        if to_standard_output {
            eprint!("{summary}");
        } else {
            write_all(&mut io::stdout(), &summary)
                .map_err(|error| cannot_write(Path::new("standard output"), error))?;
        }
        if let Some((path, file)) = self.json {
            let text = format!("{:#}\n", json::document(&run.plan, &tally, interrupted));
            let written = match file {
                Some(mut file) => write_all(&mut file, &text),
                None => write_all(&mut io::stdout(), &text),
            };
            written.map_err(|error| cannot_write(&path, error))?;
        }
        if let Some((path, mut file)) = self.report {
            let page = report::page(&run.plan, &tally, interrupted);
            write_all(&mut file, &page).map_err(|error| cannot_write(&path, error))?;
        }
        Ok(())
    }
}

fn write_all(to: &mut impl Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes())?;
    to.flush()
}

fn cannot_write(path: &Path, error: io::Error) -> RehearseError {
    RehearseError::Output { path: path.to_owned(), error }
}
