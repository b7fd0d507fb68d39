//! A worker: one thread with its own runtime, which accepts on every listener and serves what it accepts.

use std::future::poll_fn;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::ready;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::{http1, http2};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::app::App;
use super::census::Census;
use super::departure::Arrival;
use super::exchange::{ConnectionInfo, Peer};
use super::http2::LocalExecutor;
use super::io::{Detached, Io, Stream};
use super::listener::{AcceptError, Listener, Listening};
use super::registry::{Entry, Local, Phase, Registered, Route, SWEEP, SWEEP_CLOSING};
use super::upgrade::watch;
use super::{connection, http1 as h1, http2 as h2};
use crate::handover::{Carried, Carrier, Custodian};
use crate::journal::{self, Event, Pace};

/// How long to leave the backlog alone when the system lacks descriptors or memory.
const BREATHER: Duration = Duration::from_millis(100);

/// Most threads at a time that read files for one worker; tokio's default, 512, is a machine full of them.
const FILE_THREADS: usize = 32;

/// How long at most, while a drain settles, a connection that has just been accepted waits for its copy to be deposited.
const NEWCOMERS_EVERY: Duration = Duration::from_millis(20);

/// How often the same trouble is journaled.
const TROUBLE_REPORTED_EVERY: Duration = Duration::from_secs(1);

/// How often it is journaled that there are as many connections as allowed.
const FULL_REPORTED_EVERY: Duration = Duration::from_secs(10);

/// What the control thread and other workers ask of a worker.
#[derive(Debug)]
pub(crate) enum Command {
    /// Serve a connection that another worker has accepted.
    Serve(Detached, ConnectionInfo, OwnedSemaphorePermit),
    /// Take in connections from another process, and say how many could be.
    Adopt(Vec<Arrival>, oneshot::Sender<usize>),
    /// Have copies of all connections deposited that wait, now and until they leave, and say when they are.
    Entrust(Arc<dyn Custodian>, oneshot::Sender<()>),
    /// Let connections leave, from `Closing` on.
    Carry(Arc<dyn Carrier>),
    /// Enter a phase.
    Phase(Phase),
    /// Answer a heartbeat.
    Beat(u64),
    /// Name the routes of the requests that would be lost if the process ended now.
    AtStake(oneshot::Sender<Vec<Route>>),
    /// Hold the listeners open no longer: they are another process's, if anyone's.
    CloseListeners,
    /// Count the connections.
    Census(oneshot::Sender<Census>),
}

/// What one worker needs to know of all.
#[derive(Clone)]
pub(crate) struct Crew {
    pub(crate) listeners: Vec<Arc<Listener>>,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) max_connections: usize,
    pub(crate) workers: Vec<mpsc::UnboundedSender<Command>>,
}

/// A worker, as its connections see it.
pub(crate) struct Worker<A> {
    pub(crate) app: A,
    pub(crate) local: Rc<Local>,
    pub(crate) http1: http1::Builder,
    pub(crate) http2: http2::Builder<LocalExecutor>,
}

/// Why a worker has ended though nobody asked it to.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) worker: usize,
    pub(crate) reason: String,
}

/// Starts a worker's thread. `ready` is told once it accepts.
pub(crate) fn start<A: App + Send>(
    app: A,
    local: impl FnOnce() -> Local + Send + 'static,
    crew: Crew,
    commands: mpsc::UnboundedReceiver<Command>,
    index: usize,
    ready: mpsc::UnboundedSender<Result<usize, Lost>>,
) -> std::io::Result<()> {
    let run = move || {
        let ended = panic::catch_unwind(AssertUnwindSafe(|| run(app, local(), crew, commands, &ready)));
        let reason = match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it panicked".to_owned(),
        };
        let _ = ready.send(Err(Lost { worker: index, reason }));
    };
    thread::Builder::new().name(format!("worker-{index}")).spawn(run).map(drop)
}

fn run<A: App>(
    app: A,
    local: Local,
    mut crew: Crew,
    mut commands: mpsc::UnboundedReceiver<Command>,
    ready: &mpsc::UnboundedSender<Result<usize, Lost>>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(FILE_THREADS)
        .build_local(Default::default())?;
    runtime.block_on(async move {
        let (http1, http2) = (h1::builder(&local.limits), h2::builder(&local.limits));
        let worker = Rc::new(Worker { app, local: Rc::new(local), http1, http2 });
        let mut listeners = std::mem::take(&mut crew.listeners);
        let crew = Rc::new(crew);
        let mut accepting = Vec::new();
        for listener in &listeners {
            accepting.push(spawn_local(accept_all(listener.register()?, Rc::clone(&worker), Rc::clone(&crew))));
        }
        let local = Rc::clone(&worker.local);
        spawn_local(async move { local.departures.see_off(&local).await });
        let _ = ready.send(Ok(worker.local.index));
        let mut sweep = sweeping(SWEEP);
        let mut newcomers = sweeping(NEWCOMERS_EVERY);
        loop {
            let command = tokio::select! {
                command = commands.recv() => command,
                // A worker without connections sleeps.
                _ = sweep.tick(), if worker.local.is_occupied() => {
                    worker.local.sweep();
                    continue;
                }
                _ = newcomers.tick(), if worker.local.departures.copies.have_newcomers() => {
                    worker.local.entrust_newcomers();
                    continue;
                }
                () = worker.local.occupied.notified() => continue,
                () = worker.local.departures.copies.came() => continue,
            };
            match command {
                Some(Command::Serve(stream, info, permit)) => {
                    let registered = worker.local.register(Entry::new(info));
                    if let Ok(stream) = stream.attach() {
                        let io = Io::new(stream, Bytes::new(), Arc::clone(&registered.entry.traffic));
                        serve(&worker, io, registered, Some(permit));
                    }
                }
                Some(Command::Adopt(arrivals, answer)) => {
                    let number = arrivals.into_iter().filter_map(|arrival| adopt(&worker, arrival)).count();
                    let _ = answer.send(number);
                }
                Some(Command::Entrust(custodian, done)) => worker.local.entrust_all(custodian, done),
                Some(Command::Carry(carrier)) => worker.local.departures.open(carrier),
                Some(Command::Phase(Phase::Cut)) => {
                    worker.local.enter(Phase::Cut);
                    return Ok(()); // and with the runtime all connections go
                }
                Some(Command::Phase(phase)) => {
                    enter(&worker.local, &mut accepting, phase).await;
                    sweep = sweeping(if phase == Phase::Closing { SWEEP_CLOSING } else { SWEEP });
                }
                Some(Command::Beat(number)) => worker.local.gauges().heartbeat.store(number, Ordering::Release),
                Some(Command::CloseListeners) => listeners.clear(),
                Some(Command::Census(answer)) => drop(answer.send(worker.local.census())),
                Some(Command::AtStake(answer)) => drop(answer.send(worker.local.at_stake())),
                None => return Ok(()),
            }
        }
    })
}

fn sweeping(every: Duration) -> Interval {
    let mut sweep = interval(every);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    sweep
}

/// Enters a phase; from `Closing` on, nothing is accepted any more: what waits in the backlog is the next process's.
async fn enter(local: &Local, accepting: &mut Vec<JoinHandle<()>>, phase: Phase) {
    if phase >= Phase::Closing {
        for task in accepting.drain(..) {
            task.abort();
            let _ = task.await; // now the listener is no longer registered with this runtime
        }
    }
    local.enter(phase);
}

/// Accepts on one listener for as long as the task lives.
async fn accept_all<A: App>(listening: Listening, worker: Rc<Worker<A>>, crew: Rc<Crew>) {
    loop {
        match accept(&listening, &crew).await {
            Ok((stream, peer, permit)) => {
                let info = ConnectionInfo { peer, listener: Arc::clone(&listening.name) };
                place(&worker, &crew, stream, info, permit);
            }
            Err(AcceptError::Gone) => {}
            Err(AcceptError::Exhausted(error)) => {
                static PACE: Pace = Pace::new(TROUBLE_REPORTED_EVERY);
                if PACE.permits() {
                    let listener = listening.name.to_string();
                    journal::log(Event::AcceptFailed { listener, error: error.to_string() });
                }
                sleep(BREATHER).await;
            }
        }
    }
}

/// Accepts one connection, if one more is allowed; else it stays in the backlog.
///
/// A permit is only held while a connection is taken, not while one is awaited: the limit is exact whatever the number
/// of workers and listeners.
async fn accept(listening: &Listening, crew: &Crew) -> Result<(Stream, Peer, OwnedSemaphorePermit), AcceptError> {
    let mut waiting = None;
    poll_fn(|cx| {
        let permit = match Arc::clone(&crew.permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let permit = waiting.get_or_insert_with(|| {
                    report_full(crew);
                    Box::pin(Arc::clone(&crew.permits).acquire_owned())
                });
                let permit = ready!(permit.as_mut().poll(cx));
                waiting = None;
                permit.map_err(|_| AcceptError::Gone)?
            }
        };
        listening.poll_accept(cx).map_ok(|(stream, peer)| (stream, peer, permit))
    })
    .await
}

fn report_full(crew: &Crew) {
    static PACE: Pace = Pace::new(FULL_REPORTED_EVERY);
    if PACE.permits() {
        journal::log(Event::ConnectionsFull { limit: crew.max_connections });
    }
}

/// Serves an accepted connection here, or gives it to the worker that has the fewest.
///
/// Whoever wakes first accepts, and one worker may win every race: without this, a few long-lived connections could
/// all end up on one core.
fn place<A: App>(
    worker: &Rc<Worker<A>>,
    crew: &Crew,
    stream: Stream,
    info: ConnectionInfo,
    permit: OwnedSemaphorePermit,
) {
    let gauges = &worker.local.gauges;
    let here = worker.local.index;
    gauges.worker(here).accepted.fetch_add(1, Ordering::Relaxed);
    let count = |index: usize| gauges.worker(index).connections.load(Ordering::Relaxed);
    let least = (0..gauges.workers().len()).min_by_key(|index| count(*index)).unwrap_or(here);
    let crowded = count(here) > count(least) + count(here) / 8;
    // Counted at once, not when the other thread gets to it, so that a burst is spread as well.
    gauges.worker(if crowded { least } else { here }).connections.fetch_add(1, Ordering::Release);
    if !crowded {
        let registered = worker.local.register(Entry::new(info));
        let io = Io::new(stream, Bytes::new(), Arc::clone(&registered.entry.traffic));
        return serve(worker, io, registered, Some(permit));
    }
    let sent = match stream.detach() {
        Ok(stream) => crew.workers[least].send(Command::Serve(stream, info, permit)).is_ok(),
        Err(_) => false,
    };
    if !sent {
        gauges.worker(least).connections.fetch_sub(1, Ordering::Release); // its thread is gone, and so is the service
    }
}

/// Takes in a connection from another process, which goes on as it stood there; `None` if its socket can't be used.
fn adopt<A: App>(worker: &Rc<Worker<A>>, arrival: Arrival) -> Option<()> {
    let Arrival { connection, last, permit, resume } = arrival;
    let Carried { socket, standing: _, listener, peer, since, requests, ahead } = connection;
    let entry = Entry::new(ConnectionInfo { peer: peer.map_or(Peer::Unix, Peer::Tcp), listener });
    entry.since.set(since);
    entry.requests.set(requests);
    entry.last.set(last);
    let registered = worker.local.register(entry);
    let stream = Detached::new(socket, peer.is_some()).and_then(Detached::attach).ok()?;
    let io = Io::new(stream, ahead, Arc::clone(&registered.entry.traffic));
    match resume {
        None => serve(worker, io, registered, permit),
        Some(resume) => {
            let local = Rc::clone(&worker.local);
            spawn_local(async move {
                watch::resume(resume, io, &local, &registered.entry).await;
                drop((registered, permit));
            });
        }
    }
    Some(())
}

fn serve<A: App>(worker: &Rc<Worker<A>>, io: Io, registered: Registered, permit: Option<OwnedSemaphorePermit>) {
    let worker = Rc::clone(worker);
    spawn_local(async move {
        connection::run(worker, io, registered).await;
        drop(permit);
    });
}
