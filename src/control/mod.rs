//! The main thread: starts the service, tells systemd how it is, hears signals, and leads the drain.

mod handover;
mod heartbeat;
mod line;
mod listen;
mod reload;
mod signals;
mod succession;
mod window;

use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, spawn_local};

use handover::WayOut;
use heartbeat::feed_watchdog;
use line::{Serving, Stage, StatusLine};
use listen::Listeners;
use reload::{Outcome, Reloads, Wish};
use signals::{Heard, Signals};
use succession::Linger;
use window::WindowKeeper;

use crate::config::last_good::LastGood;
use crate::config::settings::Config;
use crate::handover::adopt;
use crate::handover::elders::Elders;
use crate::handover::link::Link;
use crate::handover::predecessor::Predecessor;
use crate::handover::successor::Unreadable;
use crate::journal::{self, DrainSummary, Event, count};
use crate::route::access_log::AccessLog;
use crate::route::{RouteError, Router};
use crate::server::drain::{self, Plan};
use crate::server::gauges::Gauges;
use crate::server::last_exit::LastExit;
use crate::server::upgrade::Handlers;
use crate::server::{Options, Server, ServerError};
use crate::status::socket::{self, ControlSocket, ReloadRequest};
use crate::status::{self, Facts, Handover, InUse, State, runtime_directory};
use crate::systemd::activation::{Inherited, Passed};
use crate::systemd::notify::{Notification, Notifier};
use crate::systemd::watchdog;

pub use listen::ListenError;

/// Descriptors that aren't connections: listeners, epoll, the journal, and files that are being served.
const DESCRIPTORS_RESERVED: usize = 64;

/// Where the number of the last process is noted, in RuntimeDirectory=.
const GENERATION: &str = "generation";

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

/// What a process begins with.
#[derive(Debug)]
pub struct Beginning {
    /// The validated configuration.
    pub config: Config,
    /// What it is, and whether it is the one on disk.
    pub configuration: InUse,
    /// What was passed to it.
    pub inherited: Inherited,
    /// The process that has started this one, if it is a successor.
    pub predecessor: Option<Predecessor>,
    /// Where to answer questions; `None`: where the service's own place is.
    pub control: Option<PathBuf>,
    /// When the process began.
    pub began: Instant,
}

/// Runs the service from its beginning to its end. To be called within a local runtime.
///
/// # Errors
///
/// When it can't start, or has lost a worker.
pub async fn run(beginning: Beginning, notifier: &Notifier) -> Result<Ended, ControlError> {
    // First of all: from here on a signal is heard, not obeyed blindly.
    let mut signals = Signals::new()?;
    let Beginning { config, configuration, inherited, predecessor, control, began } = beginning;
    let workers = config.workers.unwrap_or_else(cores);
    let hello = predecessor.as_ref().map(|predecessor| predecessor.hello().clone());
    let former = adopt::former_generation(&inherited.stored);
    let former = hello.as_ref().map_or_else(|| former.max(last_generation()), |hello| Some(hello.generation));
    let generation = former.unwrap_or(0) + 1;
    let gauges = Arc::new(Gauges::new(generation, workers.get()));
    if hello.is_none() {
        note_generation(generation); // before anyone is served, since the process may be killed at any moment
    }
    let bound = hello.map(|hello| hello.bound).unwrap_or_default();
    let Inherited { listeners: passed, stored, .. } = inherited;
    let (mut server, listening) = start(&config, workers, &gauges, passed, &bound).await?;
    let restarted = handover::take_in(&server, stored, connections_at_most(), notifier, began).await;

    let mut takeover = None;
    if let Some(predecessor) = predecessor {
        takeover = succession::wait_for_it(predecessor, &mut signals, &mut server).await?;
        if takeover.is_none() {
            succession::step_back(&mut server).await;
            return Ok(Ended { drain: DrainSummary::default() });
        }
    }
    let facts = Arc::new(Facts::new(Arc::clone(&gauges), server.census(), listening.addresses.clone(), configuration));
    let succeeding = takeover.is_some();
    let asked = serve_control(control, succeeding, &facts);
    if let Some(restarted) = restarted {
        facts.handed_over(restarted);
    }
    let elders = Elders::new(handover::receive(server.adopter(), &facts));
    if let Some(takeover) = takeover {
        note_generation(generation);
        facts.handed_over(Handover::now("reload", generation - 1, began.elapsed()));
        elders.adopt(takeover.taken().await);
        notifier.speak();
    }

    let what = count(config.routes.len(), "route");
    let serving = Serving { what: what.clone(), notes: notes(&facts.configuration) };
    let (stage, watched) = watch::channel(Stage::Serving(serving));
    let sent = watched.borrow().describe(&gauges);
    journal::log(Event::Ready {
        generation,
        listeners: listening.addresses,
        serving: what,
        workers: workers.get(),
        configuration: facts.configuration.describe(),
        took: began.elapsed(),
    });
    notifier.send(if succeeding { Notification::Status(sent.clone()) } else { Notification::Ready(sent.clone()) });
    keep_last_good(&config, &facts.configuration);
    let status_line = StatusLine { notifier: notifier.clone(), gauges: Arc::clone(&gauges), stage: watched, sent };
    tokio::spawn(status_line.keep());
    if let Some(every) = watchdog::interval() {
        tokio::spawn(feed_watchdog(server.pulse(), notifier.clone(), every));
    }
    let window = WindowKeeper::new(config.drain.window, notifier.enabled());
    window.refresh();

    let reloads = Reloads::new(listening.descriptors, listening.bound, generation, config.reload.ready_timeout);
    let mut service = Service { server, signals, notifier, gauges, facts, elders, stage, window, asked, reloads };
    match service.until_told().await? {
        Turn::End(told) => Ok(service.drain(told, config.drain.settle).await),
        Turn::Succeeded(by) => Ok(service.linger(by, config.reload.linger).await),
    }
}

/// A service that serves.
struct Service<'notifier> {
    server: Server,
    signals: Signals,
    notifier: &'notifier Notifier,
    gauges: Arc<Gauges>,
    facts: Arc<Facts>,
    elders: Elders,
    stage: watch::Sender<Stage>,
    window: WindowKeeper,
    asked: Asked,
    reloads: Reloads,
}

/// What ends a process's time as the service.
enum Turn {
    End(Told),
    Succeeded(Succeeded),
}

/// Another process is the service.
struct Succeeded {
    link: Link,
    wish: Wish,
    pid: u32,
    /// Whether it can go on with connections of this one.
    adopts: Result<(), Unreadable>,
}

/// Gets the process ready for as many connections as there may be. To be called before any thread is started.
pub fn prepare(inherited: &Inherited) {
    raise_descriptor_limit();
    adopt::make_room(&inherited.stored, connections_at_most());
}

/// The wish to end.
struct Told {
    cause: &'static str,
    /// Whether the drain is to be cut short from the beginning.
    at_once: bool,
}

impl Service<'_> {
    /// Serves until a signal asks for the end, or another process is the service.
    async fn until_told(&mut self) -> Result<Turn, ControlError> {
        let mut elders = self.elders.left();
        elders.mark_changed();
        loop {
            let end = |cause, at_once| Turn::End(Told { cause, at_once });
            tokio::select! {
                heard = self.signals.next() => match heard {
                    Heard::End(cause) => return Ok(end(cause, false)),
                    Heard::Hammer(cause) => return Ok(end(cause, true)),
                    Heard::Snapshot => snapshot(&self.gauges, &self.stage.borrow()),
                    Heard::Reload => self.begin_reload(Wish::of_signal()),
                },
                Some(request) = self.asked.requests.recv() => self.begin_reload(Wish::of_request(request)),
                outcome = self.reloads.outcome() => if let Some(turn) = self.end_reload(outcome).await {
                    return Ok(turn);
                },
                Ok(()) = elders.changed() => self.facts.set_elders(*elders.borrow_and_update()),
                lost = self.server.lost() => return Err(report_lost(lost)),
            }
        }
    }

    fn begin_reload(&mut self, wish: Wish) {
        if self.reloads.begin(wish, self.gauges.connections()) {
            self.facts.enter(State::Reloading);
            self.notifier.send(Notification::Reloading);
        }
    }

    async fn end_reload(&mut self, outcome: Outcome) -> Option<Turn> {
        let Outcome { wish, result } = outcome;
        let status = self.stage.borrow().describe(&self.gauges);
        let given = match result {
            Ok(successor) => {
                let pid = successor.pid().as_raw_nonzero().get().unsigned_abs();
                let adopts = successor.adopts();
                let given = succession::give_way(successor, &self.elders, self.notifier, status).await;
                given.map(|link| (link, pid, adopts))
            }
            Err(error) => Err(error.to_string()),
        };
        match given {
            Ok((link, pid, adopts)) => Some(Turn::Succeeded(Succeeded { link, wish, pid, adopts })),
            Err(reason) => {
                self.facts.enter(State::Serving);
                self.facts.reload_failed(reason.clone());
                let first_line = reason.lines().next().unwrap_or_default().to_owned();
                self.stage.send_modify(|stage| {
                    if let Stage::Serving(serving) = stage {
                        serving.notes = notes(&self.facts.configuration);
                        serving.notes.push(format!("reload failed: {first_line}"));
                    }
                });
                self.notifier.send(Notification::Ready(self.stage.borrow().describe(&self.gauges)));
                wish.refuse(&reason);
                None
            }
        }
    }

    /// Ends the service.
    async fn drain(mut self, told: Told, settle: Option<Duration>) -> Ended {
        // Before systemd is told: whoever hears of the end from it may ask for the service's health.
        self.gauges.set_draining();
        self.facts.enter(State::Draining);
        self.reloads.give_up("the service ends");
        let _ = self.stage.send(Stage::Draining { began: Instant::now(), window: self.window.watch() });
        self.notifier.send(Notification::Stopping(self.stage.borrow().describe(&self.gauges)));
        self.window.refresh();
        succession::stop_elders(&self.elders, self.window.watch());
        let window = *self.window.watch().borrow();
        let (way, way_out) = WayOut::open(self.notifier, self.gauges.generation(), window);
        // Held until the process ends: the last words are bounded as well.
        let last_exit = LastExit::start();
        let (hammer, fallen) = mpsc::unbounded_channel();
        if told.at_once {
            let _ = hammer.send(told.cause);
            self.elders.hammer();
        }
        let plan = Plan {
            cause: told.cause,
            window: self.window.watch(),
            settle,
            hammer: fallen,
            succeeded: false,
            closed: None,
            way,
            pending: self.elders.left(),
            last_exit: Some(last_exit.clone()),
        };
        let last_answers = self.asked.refuse("the service ends");
        let elders = self.elders.clone();
        spawn_local(hear_while_draining(
            self.signals,
            hammer,
            elders,
            Arc::clone(&self.gauges),
            self.stage.subscribe(),
        ));
        let drain = drain::drain(&mut self.server, plan).await;
        way_out.close();
        journal::log(Event::DrainEnded(drain.clone()));
        status::note_drain(&drain, self.gauges.generation());
        last_answers.await;
        self.notifier.send(Notification::Status(line::ended(&drain)));
        self.window.answered(LAST_WORDS).await;
        self.notifier.flush(LAST_WORDS);
        journal::flush(LAST_WORDS);
        Ended { drain }
    }

    /// Finishes the last requests of a process that was succeeded.
    async fn linger(self, by: Succeeded, linger: Duration) -> Ended {
        let Succeeded { link, wish, pid, adopts } = by;
        let Self { mut server, signals, gauges, facts, stage, window, asked, reloads, .. } = self;
        let began = Instant::now();
        let generation = gauges.generation();
        // Listeners are the successor's alone now.
        drop(reloads);
        facts.enter(State::Succeeded);
        let last_answers = asked.refuse("another process has just become the service: ask again");
        let last_exit = LastExit::start();
        let (hammer, fallen) = mpsc::unbounded_channel();
        let (limit, limited) = watch::channel(Some(linger));
        let (closing, closed) = oneshot::channel();
        let announced = spawn_local(succession::announce(wish, pid, generation + 1, closed));
        let (stop_window, stage) = (window.watch(), stage.subscribe());
        let (way, crossing) = handover::to_successor(&server, &link, adopts);
        let linger = Linger { signals, link, hammer, window: limit, began, stop_window, gauges, stage };
        spawn_local(linger.watch());
        let plan = Plan {
            cause: "reload",
            window: limited,
            settle: Some(Duration::ZERO),
            hammer: fallen,
            succeeded: true,
            closed: Some(closing),
            way,
            pending: crossing.waiting(),
            last_exit: Some(last_exit.clone()),
        };
        let drain = drain::drain(&mut server, plan).await;
        crossing.end().await;
        journal::log(Event::DrainEnded(drain.clone()));
        status::note_drain(&drain, generation);
        journal::log(Event::OldEnded { generation, after: began.elapsed() });
        let _ = tokio::time::timeout(succession::ANSWERED, announced).await;
        last_answers.await;
        journal::flush(LAST_WORDS);
        Ended { drain }
    }
}

/// Who asks over the control socket.
struct Asked {
    requests: mpsc::UnboundedReceiver<ReloadRequest>,
    answering: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Asked {
    /// Refuses all reloads from now on. What is returned is to be awaited at the end: it gives everyone an answer who has
    /// asked by then.
    fn refuse(self, why: &'static str) -> impl Future<Output = ()> {
        let Self { mut requests, answering } = self;
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                let _ = request.answer.send(Err(why.to_owned()));
            }
        });
        async move {
            if let Some((end, answering)) = answering {
                drop(end);
                let _ = tokio::time::timeout(succession::ANSWERED, answering).await;
            }
        }
    }
}

/// Answers `outlive status` and `outlive reload` from now on. Without it the service is only less comfortable.
fn serve_control(path: Option<PathBuf>, succeeding: bool, facts: &Arc<Facts>) -> Asked {
    let (requests, asked) = mpsc::unbounded_channel();
    let Some(path) = path.or_else(socket::path) else { return Asked { requests: asked, answering: None } };
    let mut answering = None;
    match ControlSocket::open(&path, succeeding) {
        Ok(control) => {
            let (end, ended) = oneshot::channel();
            answering = Some((end, tokio::spawn(control.serve(Arc::clone(facts), requests, ended))));
        }
        Err(error) => {
            let why = match error.kind() {
                std::io::ErrorKind::AddrInUse => "another service answers there".to_owned(),
                _ => error.to_string(),
            };
            journal::log(Event::Inconvenience {
                text: format!(
                    "Nobody answers `outlive status` and `outlive reload` for this process, because {} can't be opened \
                     ({why}): choose another place with --control",
                    path.display(),
                ),
            });
        }
    }
    Asked { requests: asked, answering }
}

/// Keeps the configuration that is served now, unless it was kept before; off the path of everything else.
fn keep_last_good(config: &Config, in_use: &InUse) {
    let Some(last_good) = LastGood::from_env().filter(|_| in_use.broken.is_none()) else { return };
    let texts = config.texts.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = last_good.keep(&texts) {
            journal::log(Event::Inconvenience {
                text: format!(
                    "The configuration can't be kept in StateDirectory= for a start with a broken one: {error}"
                ),
            });
        }
    });
}

/// What the status line says beside what is served.
fn notes(in_use: &InUse) -> Vec<String> {
    in_use.broken.iter().map(|problem| format!("last good configuration, because {problem}")).collect()
}

/// What the server listens on.
struct Listening {
    /// For people.
    addresses: String,
    /// By name, for a successor.
    descriptors: Vec<(String, OwnedFd)>,
    /// The names of those that systemd hasn't passed.
    bound: Vec<String>,
}

async fn start(
    config: &Config,
    workers: NonZeroUsize,
    gauges: &Arc<Gauges>,
    passed: Vec<Passed>,
    inherited: &[String],
) -> Result<(Server, Listening), ControlError> {
    let router = Router::new(&config.routes, gauges)?;
    let Listeners { all, bound } = listen::listen(config, passed, inherited)?;
    let addresses: Vec<_> = all.iter().map(|listener| format!("{} ({})", listener.address, listener.name)).collect();
    let descriptors: std::io::Result<_> =
        all.iter().map(|listener| Ok((listener.name.to_string(), listener.descriptor()?))).collect();
    let listening = Listening { addresses: addresses.join(", "), descriptors: descriptors?, bound };
    let limit = descriptor_limit();
    let options = Options {
        workers,
        max_connections: config.max_connections.map_or_else(|| connections_within(limit), NonZeroUsize::get),
        limits: config.limits.clone(),
        gauges: Arc::clone(gauges),
        observer: Some(AccessLog::new(config.log.clone())),
        handlers: Handlers::default(), // no route upgrades connections
    };
    Ok((Server::start(router, all, options).await?, listening))
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
    elders: Elders,
    gauges: Arc<Gauges>,
    stage: watch::Receiver<Stage>,
) {
    loop {
        match signals.next().await {
            Heard::End(cause) | Heard::Hammer(cause) => {
                let _ = hammer.send(cause);
                elders.hammer();
            }
            Heard::Snapshot => snapshot(&gauges, &stage.borrow()),
            Heard::Reload => Wish::of_signal().refuse("the service ends"),
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
pub fn connections_at_most() -> usize {
    descriptor_limit().saturating_sub(DESCRIPTORS_RESERVED)
}

/// How many connections fit, when one in eight of them has a file open at the same moment.
fn connections_within(descriptors: usize) -> usize {
    let usable = descriptors.saturating_sub(DESCRIPTORS_RESERVED);
    (usable - usable / 8).max(1)
}

/// The number of the last process that was the service, in RuntimeDirectory=, which outlives a restart.
fn last_generation() -> Option<u64> {
    let text = runtime_directory().and_then(|folder| std::fs::read_to_string(folder.join(GENERATION)).ok());
    text.and_then(|text| text.trim().parse().ok())
}

fn note_generation(generation: u64) {
    if let Some(folder) = runtime_directory() {
        // A number for people: not worth failing for.
        let _ = std::fs::write(folder.join(GENERATION), format!("{generation}\n"));
    }
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
