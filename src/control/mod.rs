//! The main thread: starts the service, tells systemd how it is, hears signals, and leads the drain.

mod address;
mod asked;
mod descriptors;
mod draining;
mod ended;
mod error;
mod generation;
mod handover;
mod heartbeat;
mod hooks;
mod line;
mod listen;
mod origin;
mod reload;
mod setup;
mod signals;
mod succession;
mod tasks;
mod window;

use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_local;

use asked::Asked;
use heartbeat::feed_watchdog;
use line::{Serving, Stage, StatusLine};
use listen::Listeners;
use reload::{Outcome, Reloads, Wish};
use signals::{Heard, Signals};
use succession::Linger;
use window::WindowKeeper;

use crate::handover::elders::Elders;
use crate::handover::link::Link;
use crate::handover::successor::Unreadable;
use crate::journal::{self, Event, count};
use crate::server::app::App;
use crate::server::drain::{self, Plan, Way};
use crate::server::gauges::Gauges;
use crate::server::last_exit::LastExit;
use crate::server::{Options, Server, ServerError};
use crate::status::{self, Facts, Handover, State};
use crate::systemd::activation::{Inherited, Passed};
use crate::systemd::notify::{Notification, Notifier};
use crate::systemd::unit;
use crate::systemd::watchdog;

pub use address::{Address, AddressError};
pub(crate) use draining::DrainTeller;
pub use draining::Draining;
pub use ended::Ended;
pub use error::Error;
pub use hooks::Signal;
pub(crate) use hooks::{Hooks, When};
pub(crate) use origin::{Origin, Reporter};
pub(crate) use setup::{ControlSocketAt, ReloadSetup, Setup};
pub use tasks::{Task, Tasks};

/// How long to wait at the end for journald and systemd to take what is queued.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Runs a server from its beginning to its end. To be called within a local runtime.
///
/// # Errors
///
/// When it can't start, or has lost a worker.
pub(crate) async fn run<A: App + Send>(app: A, mut setup: Setup, origin: Origin) -> Result<Ended, Error> {
    // First of all: from here on a signal is heard, not obeyed blindly.
    let mut signals = Signals::new(std::mem::take(&mut setup.hooks), setup.draining.wishes())?;
    let Origin { inherited, predecessor, notifier, began, .. } = origin;
    let gauges = Arc::clone(&setup.gauges);
    let generation = gauges.generation();
    let hello = predecessor.as_ref().map(|predecessor| predecessor.hello().clone());
    if hello.is_none() {
        generation::note(generation); // before anyone is served, since the process may be killed at any moment
    }
    let bound = hello.map(|hello| hello.bound).unwrap_or_default();
    let Inherited { listeners: passed, stored, .. } = inherited?;
    let (mut server, listening) = start(app, &setup, passed, &bound).await?;
    let most = if setup.handover { descriptors::connections_at_most() } else { 0 };
    let restarted = handover::take_in(&server, stored, most, &notifier, began).await;

    let mut takeover = None;
    if let Some(predecessor) = predecessor {
        takeover = succession::wait_for_it(predecessor, &mut signals, &mut server).await?;
        if takeover.is_none() {
            succession::step_back(&mut server).await;
            return Ok(Ended::default());
        }
    }
    let addresses = listening.addresses.clone();
    let facts = Arc::new(Facts::new(Arc::clone(&gauges), server.census(), addresses, setup.configuration.clone()));
    let succeeding = takeover.is_some();
    let asked = Asked::answer(setup.control.clone(), succeeding, &facts);
    if let Some(restarted) = restarted {
        facts.handed_over(restarted);
    }
    let elders = Elders::new(handover::receive(server.adopter(), &facts));
    if let Some(takeover) = takeover {
        generation::note(generation);
        facts.handed_over(Handover::now("reload", generation - 1, began.elapsed()));
        elders.adopt(takeover.taken().await);
        notifier.speak();
    }

    let serving = Serving { what: setup.serves.clone(), notes: setup.notes.clone() };
    let (stage, watched) = watch::channel(Stage::Serving(serving));
    let sent = watched.borrow().describe(&gauges);
    journal::log(Event::Ready {
        generation,
        listeners: listening.addresses,
        serving: setup.serves.clone(),
        workers: gauges.connections_by_worker().len(),
        configuration: setup.configuration.describe(),
        took: began.elapsed(),
    });
    notifier.send(if succeeding { Notification::Status(sent.clone()) } else { Notification::Ready(sent.clone()) });
    call_when_ready(std::mem::take(&mut setup.when_ready));
    let status_line = StatusLine { notifier: notifier.clone(), gauges: Arc::clone(&gauges), stage: watched, sent };
    tokio::spawn(status_line.keep());
    if let Some(every) = watchdog::interval().filter(|_| setup.watchdog) {
        tokio::spawn(feed_watchdog(server.pulse(), notifier.clone(), every));
    }
    let window = WindowKeeper::new(setup.window, notifier.enabled() && unit::runs_this_process(succeeding));
    window.refresh();

    let reloads = setup.reload.clone().map(|reload| {
        Reloads::new(reload.program, listening.descriptors, listening.bound, generation, reload.ready_timeout)
    });
    let mut service =
        Service { server, setup, signals, notifier, gauges, facts, elders, stage, window, asked, reloads };
    match service.until_told().await? {
        Turn::End(told) => Ok(service.drain(told).await),
        Turn::Succeeded(by) => Ok(service.linger(by).await),
    }
}

/// Calls what wants to know that the server serves; off the path of everything else.
fn call_when_ready(all: Vec<Box<dyn FnOnce() + Send>>) {
    if !all.is_empty() {
        tokio::task::spawn_blocking(|| all.into_iter().for_each(|call| call()));
    }
}

/// A service that serves.
struct Service {
    server: Server,
    setup: Setup,
    signals: Signals,
    notifier: Notifier,
    gauges: Arc<Gauges>,
    facts: Arc<Facts>,
    elders: Elders,
    stage: watch::Sender<Stage>,
    window: WindowKeeper,
    asked: Asked,
    /// `None`: SIGHUP starts no successor.
    reloads: Option<Reloads>,
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

/// The wish to end.
struct Told {
    cause: &'static str,
    /// Whether the drain is to be cut short from the beginning.
    at_once: bool,
}

impl Service {
    /// Serves until a signal asks for the end, or another process is the service.
    async fn until_told(&mut self) -> Result<Turn, Error> {
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
                outcome = reload_outcome(&mut self.reloads) => if let Some(turn) = self.end_reload(outcome).await {
                    return Ok(turn);
                },
                Ok(()) = elders.changed() => self.facts.set_elders(*elders.borrow_and_update()),
                lost = self.server.lost() => return Err(report_lost(lost)),
            }
        }
    }

    fn begin_reload(&mut self, wish: Wish) {
        let Some(reloads) = &mut self.reloads else {
            return wish.refuse("this program doesn't start successors: restart it instead");
        };
        if reloads.begin(wish, self.gauges.connections()) {
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
                let given = succession::give_way(successor, &self.elders, &self.notifier, status).await;
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
                        serving.notes.clone_from(&self.setup.notes);
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
    async fn drain(mut self, told: Told) -> Ended {
        let began = Instant::now();
        // Before systemd is told: whoever hears of the end from it may ask for the service's health.
        self.gauges.set_draining();
        self.facts.enter(State::Draining);
        self.setup.draining.begin(self.window.watch());
        if let Some(reloads) = &mut self.reloads {
            reloads.give_up("the service ends");
        }
        // Held until the process ends: the last words are bounded as well.
        let last_exit = LastExit::start();
        let deposit = self.setup.handover.then(|| handover::begin_deposit(&self.notifier, &self.gauges)).flatten();
        // Before anyone hears of the drain: from then on only what is busy would be lost if the process were killed.
        if let Some(deposit) = &deposit {
            handover::entrust_all(&self.server, deposit, &self.notifier).await;
        }
        let _ = self.stage.send(Stage::Draining { began, window: self.window.watch() });
        self.notifier.send(Notification::Stopping(self.stage.borrow().describe(&self.gauges)));
        self.window.refresh();
        succession::stop_elders(&self.elders, self.window.watch());
        let window = *self.window.watch().borrow();
        let way = deposit.as_ref().map_or(Way::Closed, |deposit| handover::open_way(deposit, window));
        let (hammer, fallen) = mpsc::unbounded_channel();
        if told.at_once {
            let _ = hammer.send(told.cause);
            self.elders.hammer();
        }
        let plan = Plan {
            cause: told.cause,
            began,
            window: self.window.watch(),
            settle: self.setup.settle,
            hammer: fallen,
            succeeded: false,
            closed: None,
            way,
            pending: vec![self.elders.left(), self.setup.tasks.watch()],
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
        if let Some(deposit) = deposit {
            deposit.complete();
        }
        let tasks_cut = report_tasks(&self.setup.tasks);
        journal::log(Event::DrainEnded(drain.clone()));
        status::note_drain(&drain, self.gauges.generation());
        last_answers.await;
        self.notifier.send(Notification::Status(line::ended(&drain)));
        self.window.answered(LAST_WORDS).await;
        self.notifier.flush(LAST_WORDS);
        journal::flush(LAST_WORDS);
        Ended::new(&drain, tasks_cut)
    }

    /// Finishes the last requests of a process that was succeeded.
    async fn linger(self, by: Succeeded) -> Ended {
        let Succeeded { link, wish, pid, adopts } = by;
        let Self { mut server, setup, signals, gauges, facts, stage, window, asked, reloads, .. } = self;
        let began = Instant::now();
        let generation = gauges.generation();
        // Listeners are the successor's alone now.
        drop(reloads);
        facts.enter(State::Succeeded);
        let last_answers = asked.refuse("another process has just become the service: ask again");
        let last_exit = LastExit::start();
        let (hammer, fallen) = mpsc::unbounded_channel();
        let (limit, limited) = watch::channel(setup.reload.as_ref().map(|reload| reload.linger));
        setup.draining.begin(limited.clone());
        let (closing, closed) = oneshot::channel();
        let announced = spawn_local(succession::announce(wish, pid, generation + 1, closed));
        let (stop_window, stage) = (window.watch(), stage.subscribe());
        let (way, crossing) = if setup.handover {
            let (way, crossing) = handover::to_successor(&server, &link, adopts);
            (way, Some(crossing))
        } else {
            (Way::Closed, None)
        };
        let linger = Linger { signals, link, hammer, window: limit, began, stop_window, gauges, stage };
        spawn_local(linger.watch());
        let plan = Plan {
            cause: "reload",
            began,
            window: limited,
            settle: Some(Duration::ZERO),
            hammer: fallen,
            succeeded: true,
            closed: Some(closing),
            way,
            pending: crossing.iter().map(handover::Crossing::waiting).chain([setup.tasks.watch()]).collect(),
            last_exit: Some(last_exit.clone()),
        };
        let drain = drain::drain(&mut server, plan).await;
        if let Some(crossing) = crossing {
            crossing.end().await;
        }
        let tasks_cut = report_tasks(&setup.tasks);
        journal::log(Event::DrainEnded(drain.clone()));
        status::note_drain(&drain, generation);
        journal::log(Event::OldEnded { generation, after: began.elapsed() });
        let _ = tokio::time::timeout(succession::ANSWERED, announced).await;
        last_answers.await;
        journal::flush(LAST_WORDS);
        Ended::new(&drain, tasks_cut)
    }
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

async fn start<A: App + Send>(
    app: A,
    setup: &Setup,
    passed: Vec<Passed>,
    inherited: &[String],
) -> Result<(Server, Listening), Error> {
    let Listeners { all, bound } = listen::listen(&setup.listeners, passed, inherited)?;
    let names: Vec<_> = all.iter().map(|listener| &*listener.name).collect();
    if let Some(name) = setup.served.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(Error::NoSuchListener { name: name.clone(), there: names.join(", ") });
    }
    let addresses: Vec<_> = all.iter().map(|listener| format!("{} ({})", listener.address, listener.name)).collect();
    let descriptors: std::io::Result<_> =
        all.iter().map(|listener| Ok((listener.name.to_string(), listener.descriptor()?))).collect();
    let listening = Listening { addresses: addresses.join(", "), descriptors: descriptors?, bound };
    let workers = setup.workers.unwrap_or_else(cores);
    setup.gauges.set_workers(workers.get());
    let options = Options {
        workers,
        max_connections: setup.max_connections.map_or_else(descriptors::connections, NonZeroUsize::get),
        limits: setup.limits.clone(),
        gauges: Arc::clone(&setup.gauges),
        observer: setup.observer.clone(),
        handlers: setup.handlers.clone(),
    };
    Ok((Server::start(app, all, options).await.map_err(Error::server)?, listening))
}

/// Counts the background tasks that end with the process.
fn report_tasks(tasks: &Tasks) -> usize {
    let running = tasks.running();
    if running > 0 {
        let text = format!("{} still ran at the end, and was cut", count(running, "background task"));
        journal::log(Event::Inconvenience { text });
    }
    running
}

async fn reload_outcome(reloads: &mut Option<Reloads>) -> Outcome {
    match reloads {
        Some(reloads) => reloads.outcome().await,
        None => std::future::pending().await,
    }
}

fn report_lost(lost: ServerError) -> Error {
    if let ServerError::Lost { worker, reason } = &lost {
        journal::log_returned(Event::WorkerLost { worker: *worker, reason: reason.clone() });
    }
    Error::server(lost)
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
