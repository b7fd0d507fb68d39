//! The main thread: starts the service, tells systemd how it is, hears signals, and leads the drain.

mod listen;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::config::settings::Config;
use crate::journal::{self, DrainSummary, Event, Pace, count, human};
use crate::route::access_log::AccessLog;
use crate::route::{RouteError, Router};
use crate::server::drain::{self, Plan, Window};
use crate::server::gauges::Gauges;
use crate::server::{Options, Pulse, Server, ServerError};
use crate::systemd::activation::Passed;
use crate::systemd::notify::{Notification, Notifier};
use crate::systemd::{unit, watchdog};

pub use listen::ListenError;

/// How often `STATUS=` may change.
const STATUS_EVERY: Duration = Duration::from_secs(1);

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

/// The signals that the service heeds.
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr1: Signal,
    usr2: Signal,
}

enum Heard {
    /// SIGTERM, SIGINT: end.
    End(&'static str),
    /// SIGUSR2: end at once.
    Hammer(&'static str),
    /// SIGUSR1: say how things are.
    Snapshot,
    /// SIGHUP: reload.
    Reload,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Heard {
        tokio::select! {
            _ = self.term.recv() => Heard::End("SIGTERM"), // systemctl stop, systemctl restart
            _ = self.int.recv() => Heard::End("SIGINT"),   // ctrl-C
            _ = self.usr2.recv() => Heard::Hammer("SIGUSR2"), // an impatient operator
            _ = self.usr1.recv() => Heard::Snapshot,       // a curious one
            _ = self.hup.recv() => Heard::Reload,          // systemctl reload
        }
    }
}

/// Runs the service from its validated configuration to its end. `began` is when the process did.
///
/// # Errors
///
/// When it can't start, or has lost a worker.
pub async fn run(
    config: Config,
    passed: Vec<Passed>,
    notifier: &Notifier,
    began: Instant,
) -> Result<Ended, ControlError> {
    // First of all: from here on a signal is heard, not obeyed blindly.
    let mut signals = Signals::new()?;
    let workers = config.workers.unwrap_or_else(cores);
    let gauges = Arc::new(Gauges::new(next_generation(), workers.get()));
    let router = Router::new(&config.routes, &gauges)?;
    let listeners = listen::listen(&config, passed)?;
    let descriptors = raise_descriptor_limit();
    let max_connections = config.max_connections.map_or_else(|| connections_within(descriptors), NonZeroUsize::get);
    let addresses: Vec<_> =
        listeners.iter().map(|listener| format!("{} ({})", listener.address, listener.name)).collect();
    let options = Options {
        workers,
        max_connections,
        limits: config.limits.clone(),
        gauges: Arc::clone(&gauges),
        observer: Some(AccessLog::new(config.log.clone())),
    };
    let mut server = Server::start(router, listeners, options).await?;

    let serving = count(config.routes.len(), "route");
    let (stage, watched) = watch::channel(Stage::Serving(serving.clone()));
    notifier.send(Notification::Ready(status(&gauges, &watched.borrow())));
    journal::log(Event::Ready {
        generation: gauges.generation(),
        listeners: addresses.join(", "),
        serving,
        workers: workers.get(),
        configuration: describe_sources(&config.sources),
        took: began.elapsed(),
    });
    let status_line = StatusLine { notifier: notifier.clone(), gauges: Arc::clone(&gauges), stage: watched };
    tokio::spawn(status_line.keep());
    if let Some(every) = watchdog::interval() {
        tokio::spawn(feed_watchdog(server.pulse(), notifier.clone(), every));
    }
    let window = WindowKeeper::new(config.drain.window, notifier.enabled());
    window.refresh();

    let (cause, hammered) = serve_until_told(&mut server, &mut signals, &gauges, &stage).await?;
    // Before anything else: systemd should know at once.
    let limit = *window.receiver.borrow();
    let _ = stage.send(Stage::Draining { began: Instant::now(), window: window.receiver.clone() });
    notifier.send(Notification::Stopping(draining_status(&gauges, Duration::ZERO, limit)));
    window.refresh();
    let (hammer, fallen) = mpsc::unbounded_channel();
    if hammered {
        let _ = hammer.send(cause);
    }
    tokio::spawn(hear_while_draining(signals, hammer, Arc::clone(&gauges), stage.subscribe()));
    let plan = Plan { cause, window: window.receiver.clone(), settle: config.drain.settle, hammer: fallen };
    let drain = drain::drain(&mut server, plan).await;
    journal::log(Event::DrainEnded(drain.clone()));
    notifier.send(Notification::Status(ended_status(&drain)));
    notifier.flush(LAST_WORDS);
    journal::flush(LAST_WORDS);
    Ok(Ended { drain })
}

/// Serves until a signal asks for the end; says which, and whether it is to be cut short from the beginning.
async fn serve_until_told(
    server: &mut Server,
    signals: &mut Signals,
    gauges: &Gauges,
    stage: &watch::Sender<Stage>,
) -> Result<(&'static str, bool), ControlError> {
    loop {
        let heard = tokio::select! {
            heard = signals.next() => heard,
            lost = server.lost() => return Err(report_lost(lost)),
        };
        match heard {
            Heard::End(cause) => return Ok((cause, false)),
            Heard::Hammer(cause) => return Ok((cause, true)),
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
        status: status(gauges, stage),
        connections: gauges.connections(),
        requests: gauges.requests(),
        answered: gauges.answered(),
        accepted: gauges.accepted(),
        uptime: gauges.uptime(),
    });
}

/// What the service is doing, for `STATUS=`.
enum Stage {
    Serving(String),
    Draining { began: Instant, window: watch::Receiver<Window> },
}

fn status(gauges: &Gauges, stage: &Stage) -> String {
    match stage {
        Stage::Serving(what) => format!(
            "Serving {what}: {}, {}",
            count(gauges.connections(), "connection"),
            count(gauges.requests(), "request")
        ),
        Stage::Draining { began, window } => draining_status(gauges, began.elapsed(), *window.borrow()),
    }
}

fn draining_status(gauges: &Gauges, gone: Duration, window: Window) -> String {
    let left = count(gauges.requests(), "request");
    match window {
        Some(window) => format!("Draining: {left} left, {} s of {} s", gone.as_secs(), window.as_secs_f64().round()),
        None => format!("Draining: {left} left, {} s, without a limit", gone.as_secs()),
    }
}

fn ended_status(drain: &DrainSummary) -> String {
    match drain.cut {
        0 => format!("Drained in {}, no request cut", human(drain.settle + drain.close)),
        cut => format!("Drained in {}, {} cut", human(drain.settle + drain.close), count(cut, "request")),
    }
}

/// Keeps `STATUS=` true: sent when it has changed, and not more often than once a second.
struct StatusLine {
    notifier: Notifier,
    gauges: Arc<Gauges>,
    stage: watch::Receiver<Stage>,
}

impl StatusLine {
    async fn keep(self) {
        if !self.notifier.enabled() {
            return;
        }
        let mut tick = interval(STATUS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = String::new();
        loop {
            tick.tick().await;
            let now = status(&self.gauges, &self.stage.borrow());
            if now != last {
                self.notifier.send(Notification::Status(now.clone()));
                last = now;
            }
        }
    }
}

/// Tells the watchdog that all is well, but only as long as every worker answers.
async fn feed_watchdog(pulse: Pulse, notifier: Notifier, every: Duration) {
    static PACE: Pace = Pace::new(Duration::from_secs(10));
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.tick().await;
    let mut answered_at = Instant::now();
    for number in 1.. {
        pulse.beat(number);
        notifier.send(Notification::Watchdog);
        // The next one is only sent once this one was answered by all; until then systemd's patience runs.
        loop {
            tick.tick().await;
            let Some(worker) = pulse.silent(number) else { break };
            if PACE.permits() {
                journal::log(Event::WorkerStuck { worker, silent: answered_at.elapsed() });
            }
        }
        answered_at = Instant::now();
    }
}

/// Knows how long a drain may take.
struct WindowKeeper {
    sender: Arc<watch::Sender<Window>>,
    receiver: watch::Receiver<Window>,
    ask_systemd: bool,
}

impl WindowKeeper {
    fn new(configured: Window, under_systemd: bool) -> Self {
        let alone = if under_systemd { drain::WINDOW_UNKNOWN } else { drain::WINDOW_ALONE };
        let (sender, receiver) = watch::channel(Some(configured.unwrap_or(alone)));
        Self { sender: Arc::new(sender), receiver, ask_systemd: under_systemd && configured.is_none() }
    }

    /// Asks systemd, off the path of everything else: the answer may have changed with a drop-in since the last time.
    fn refresh(&self) {
        if !self.ask_systemd {
            return;
        }
        let sender = Arc::clone(&self.sender);
        tokio::spawn(async move {
            match unit::stop_timeout().await {
                Ok(timeout) => {
                    let window = drain::window_within(timeout);
                    sender.send_if_modified(|now| std::mem::replace(now, window) != window);
                }
                Err(error) => journal::log(Event::WindowUnknown {
                    reason: error.to_string(),
                    assumed: sender.borrow().unwrap_or(drain::WINDOW_UNKNOWN),
                }),
            }
        });
    }
}

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Raises RLIMIT_NOFILE to what is allowed (nothing here uses select(2), which is why the soft limit is low), and
/// returns it.
fn raise_descriptor_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// How many connections fit, when one in eight of them has a file open at the same moment.
fn connections_within(descriptors: usize) -> usize {
    let usable = descriptors.saturating_sub(DESCRIPTORS_RESERVED);
    (usable - usable / 8).max(1)
}

/// Counts the processes since the service was first started, in RuntimeDirectory=, which outlives a restart.
fn next_generation() -> u64 {
    let Some(folder) = std::env::var_os("RUNTIME_DIRECTORY") else { return 1 };
    let file = PathBuf::from(folder).join("generation");
    let last: u64 = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let this = last.saturating_add(1);
    // A number for people: not worth failing for.
    let _ = std::fs::write(&file, format!("{this}\n"));
    this
}

fn describe_sources(sources: &[PathBuf]) -> String {
    if sources.is_empty() {
        return "built in".to_owned();
    }
    sources.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
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
