//! The main thread: starts the service, tells systemd how it is, hears signals, and leads the drain.

mod handover;
mod heartbeat;
mod listen;
mod signals;
mod status;
mod window;

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{mpsc, watch};

use handover::WayOut;
use heartbeat::feed_watchdog;
use signals::{Heard, Signals};
use status::{Stage, StatusLine};
use window::WindowKeeper;

use crate::config::settings::Config;
use crate::handover::adopt;
use crate::journal::{self, DrainSummary, Event, count};
use crate::route::access_log::AccessLog;
use crate::route::{RouteError, Router};
use crate::server::drain::{self, Plan};
use crate::server::gauges::Gauges;
use crate::server::last_exit::LastExit;
use crate::server::{Options, Server, ServerError};
use crate::systemd::activation::{Inherited, Passed};
use crate::systemd::notify::{Notification, Notifier};
use crate::systemd::watchdog;

pub use listen::ListenError;

/// Descriptors that aren't connections: listeners, epoll, the journal, and files that are being served.
const DESCRIPTORS_RESERVED: usize = 64;

/// How long to wait at the end for journald and systemd to take what is queued.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The service couldn't start, or couldn't go on.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A listener is missing.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The routes can't be served.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// Signals, threads, descriptors.
    #[error("the system refuses: {0}")]
    System(#[from] std::io::Error),
    /// A worker is missing.
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl ControlError {
    /// The errno(3) behind it, for systemd's `ERRNO=`.
    #[must_use]
    pub fn errno(&self) -> u32 {
        let code = match self {
            Self::Listen(error) => error.errno(),
            Self::System(error) => error.raw_os_error(),
            Self::Server(ServerError::Thread { error, .. }) => error.raw_os_error(),
            _ => None,
        };
        code.and_then(|code| u32::try_from(code).ok()).unwrap_or(EINVAL)
    }
}

/// EINVAL of errno(3): the word for a start that failed for no errno of its own.
pub const EINVAL: u32 = 22;

/// How the service has ended.
#[derive(Debug)]
pub struct Ended {
    /// How the drain went.
    pub drain: DrainSummary,
}

/// Runs the service from its validated configuration to its end. `began` is when the process did.
///
/// # Errors
///
/// When it can't start, or has lost a worker.
pub async fn run(
    config: Config,
    inherited: Inherited,
    notifier: &Notifier,
    began: Instant,
) -> Result<Ended, ControlError> {
    // First of all: from here on a signal is heard, not obeyed blindly.
    let mut signals = Signals::new()?;
    let workers = config.workers.unwrap_or_else(cores);
    let gauges = Arc::new(Gauges::new(next_generation(), workers.get()));
    let Inherited { listeners: passed, stored } = inherited;
    let (mut server, listeners) = start(&config, workers, &gauges, passed).await?;
    handover::take_in(&server, stored, connections_at_most(), notifier).await;

    let serving = count(config.routes.len(), "route");
    let (stage, watched) = watch::channel(Stage::Serving(serving.clone()));
    let sent = watched.borrow().describe(&gauges);
    journal::log(Event::Ready {
        generation: gauges.generation(),
        listeners,
        serving,
        workers: workers.get(),
        configuration: config.origin(),
        took: began.elapsed(),
    });
    notifier.send(Notification::Ready(sent.clone()));
    let status_line = StatusLine { notifier: notifier.clone(), gauges: Arc::clone(&gauges), stage: watched, sent };
    tokio::spawn(status_line.keep());
    if let Some(every) = watchdog::interval() {
        tokio::spawn(feed_watchdog(server.pulse(), notifier.clone(), every));
    }
    let window = WindowKeeper::new(config.drain.window, notifier.enabled());
    window.refresh();

    let told = serve_until_told(&mut server, &mut signals, &gauges, &stage).await?;
    // Before systemd is told: whoever hears of the end from it may ask for the service's health.
    gauges.set_draining();
    let _ = stage.send(Stage::Draining { began: Instant::now(), window: window.watch() });
    notifier.send(Notification::Stopping(stage.borrow().describe(&gauges)));
    window.refresh();
    let (carrier, way_out) = WayOut::open(notifier, gauges.generation(), *window.watch().borrow());
    // Held until the process ends: the last words are bounded as well.
    let last_exit = LastExit::start();
    let (hammer, fallen) = mpsc::unbounded_channel();
    if told.at_once {
        let _ = hammer.send(told.cause);
    }
    let plan = Plan {
        cause: told.cause,
        window: window.watch(),
        settle: config.drain.settle,
        hammer: fallen,
        carrier: Some(carrier),
        last_exit: Some(last_exit.clone()),
    };
    tokio::spawn(hear_while_draining(signals, hammer, gauges, stage.subscribe()));
    let drain = drain::drain(&mut server, plan).await;
    way_out.close();
    journal::log(Event::DrainEnded(drain.clone()));
    notifier.send(Notification::Status(status::ended(&drain)));
    window.answered(LAST_WORDS).await;
    notifier.flush(LAST_WORDS);
    journal::flush(LAST_WORDS);
    Ok(Ended { drain })
}

/// Gets the process ready for as many connections as there may be. To be called before any thread is started.
pub fn prepare(inherited: &Inherited) {
    raise_descriptor_limit();
    adopt::make_room(&inherited.stored, connections_at_most());
}

/// Starts the server; says where it listens.
async fn start(
    config: &Config,
    workers: NonZeroUsize,
    gauges: &Arc<Gauges>,
    passed: Vec<Passed>,
) -> Result<(Server, String), ControlError> {
    let router = Router::new(&config.routes, gauges)?;
    let listeners = listen::listen(config, passed)?;
    let addresses: Vec<_> =
        listeners.iter().map(|listener| format!("{} ({})", listener.address, listener.name)).collect();
    let descriptors = descriptor_limit();
    let options = Options {
        workers,
        max_connections: config.max_connections.map_or_else(|| connections_within(descriptors), NonZeroUsize::get),
        limits: config.limits.clone(),
        gauges: Arc::clone(gauges),
        observer: Some(AccessLog::new(config.log.clone())),
    };
    Ok((Server::start(router, listeners, options).await?, addresses.join(", ")))
}

/// The wish to end.
struct Told {
    cause: &'static str,
    /// Whether the drain is to be cut short from the beginning.
    at_once: bool,
}

/// Serves until a signal asks for the end.
async fn serve_until_told(
    server: &mut Server,
    signals: &mut Signals,
    gauges: &Gauges,
    stage: &watch::Sender<Stage>,
) -> Result<Told, ControlError> {
    loop {
        let heard = tokio::select! {
            heard = signals.next() => heard,
            lost = server.lost() => return Err(report_lost(lost)),
        };
        match heard {
            Heard::End(cause) => return Ok(Told { cause, at_once: false }),
            Heard::Hammer(cause) => return Ok(Told { cause, at_once: true }),
            Heard::Snapshot => snapshot(gauges, &stage.borrow()),
            Heard::Reload => journal::log(Event::ReloadUnsupported),
        }
    }
}

fn report_lost(lost: ServerError) -> ControlError {
    if let ServerError::Lost { worker, reason } = &lost {
        journal::log(Event::WorkerLost { worker: *worker, reason: reason.clone() });
    }
    lost.into()
}

/// During a drain every further wish to end is the hammer.
async fn hear_while_draining(
    mut signals: Signals,
    hammer: mpsc::UnboundedSender<&'static str>,
    gauges: Arc<Gauges>,
    stage: watch::Receiver<Stage>,
) {
    loop {
        match signals.next().await {
            Heard::End(cause) | Heard::Hammer(cause) => drop(hammer.send(cause)),
            Heard::Snapshot => snapshot(&gauges, &stage.borrow()),
            Heard::Reload => journal::log(Event::ReloadUnsupported),
        }
    }
}

fn snapshot(gauges: &Gauges, stage: &Stage) {
    journal::log(Event::Snapshot {
        status: stage.describe(gauges),
        connections: gauges.connections(),
        requests: gauges.requests(),
        answered: gauges.answered(),
        accepted: gauges.accepted(),
        uptime: gauges.uptime(),
    });
}

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Raises RLIMIT_NOFILE to what is allowed: nothing here uses select(2), which is why the soft limit is low.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}

fn descriptor_limit() -> usize {
    getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// How many connections there can be at all.
fn connections_at_most() -> usize {
    descriptor_limit().saturating_sub(DESCRIPTORS_RESERVED)
}

/// How many connections fit, when one in eight of them has a file open at the same moment.
fn connections_within(descriptors: usize) -> usize {
    let usable = descriptors.saturating_sub(DESCRIPTORS_RESERVED);
    (usable - usable / 8).max(1)
}

/// Counts the processes since the service was first started, in RuntimeDirectory=, which outlives a restart.
fn next_generation() -> u64 {
    let Some(folder) = std::env::var_os("RUNTIME_DIRECTORY") else { return 1 };
    // There may be several, separated by colons.
    let first = folder.as_bytes().split(|byte| *byte == b':').next().unwrap_or_default();
    let file = PathBuf::from(OsStr::from_bytes(first)).join("generation");
    let last: u64 = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let this = last.saturating_add(1);
    // A number for people: not worth failing for.
    let _ = std::fs::write(&file, format!("{this}\n"));
    this
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        assert_eq!(connections_within(1024), 840);
        assert_eq!(connections_within(10), 1);
    }
}
