//! Serving: listeners in, answers out, and an end that loses nothing.
//!
//! A [`Server`] starts workers (`worker`), each of which accepts connections (`connection`) and drives hyper (`http1`,
//! `http2`); around every request stands a service (`service`) that calls the [application](app) and keeps the books in
//! the registry (`registry`). [`drain`] leads it all to its end.

pub mod app;
pub mod body;
pub mod census;
mod connection;
mod departure;
pub mod drain;
mod entrusted;
pub mod exchange;
pub mod gauges;
mod http1;
mod http2;
mod io;
pub mod last_exit;
pub mod limits;
pub mod listener;
pub(crate) mod panics;
mod registry;
mod service;
mod traffic;
pub mod upgrade;
mod worker;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use app::{App, Observer};
use census::CensusTaker;
use departure::Arrival;
use gauges::Gauges;
use limits::Limits;
use listener::Listener;
use registry::{Local, Phase, Route};
use upgrade::Handlers;
use worker::{Command, Crew, Lost};

use crate::handover::{Carried, Carrier, Custodian};

/// How long a worker may go without depositing the copy of a connection, before it counts as stuck if it hasn't said that
/// it is done.
const ENTRUSTS_WITHIN: Duration = Duration::from_millis(50);

/// How a server is set up.
pub struct Options {
    /// Worker threads.
    pub workers: NonZeroUsize,
    /// Most connections at a time; further ones wait in the backlog.
    pub max_connections: usize,
    /// What clients may ask for.
    pub limits: Limits,
    /// The numbers to keep, made for as many workers.
    pub gauges: Arc<Gauges>,
    /// Who is told of every request, if anyone.
    pub observer: Option<Arc<dyn Observer>>,
    /// Who goes on with upgraded connections of the process before.
    pub handlers: Handlers,
}

/// The server couldn't be started, or has lost one of its workers.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A thread couldn't be started.
    #[error("cannot start worker {worker}: {error}; look at the unit's TasksMax= and the host's limits")]
    Thread {
        /// Which.
        worker: usize,
        /// The system's words.
        error: std::io::Error,
    },
    /// A worker has ended by itself.
    #[error("worker {worker} has ended by itself: {reason}")]
    Lost {
        /// Which.
        worker: usize,
        /// Its last words.
        reason: String,
    },
}

impl From<Lost> for ServerError {
    fn from(lost: Lost) -> Self {
        Self::Lost { worker: lost.worker, reason: lost.reason }
    }
}

/// A server that runs.
pub struct Server {
    gauges: Arc<Gauges>,
    workers: Vec<mpsc::UnboundedSender<Command>>,
    events: mpsc::UnboundedReceiver<Result<usize, Lost>>,
    progress: Arc<Notify>,
    permits: Arc<Semaphore>,
    listeners: Vec<Arc<str>>,
    handlers: Handlers,
}

/// What became of connections that have come from another process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// They go on as if nothing had been.
    pub whole: usize,
    /// Of no listener that there is: they are told `Connection: close` with their next answer.
    pub strangers: usize,
    /// More than `max_connections` allows: likewise.
    pub beyond_limit: usize,
    /// They were upgraded, and no handler here goes on with them: closed.
    pub unhandled: usize,
    /// Their sockets are none, or could not be used: closed.
    pub unusable: usize,
}

impl Adopted {
    /// All that have come.
    #[must_use]
    pub fn total(&self) -> usize {
        self.whole + self.strangers + self.beyond_limit + self.unhandled + self.unusable
    }
}

impl Server {
    /// Starts the workers, and waits until each of them accepts on every listener.
    ///
    /// # Errors
    ///
    /// When a thread or its runtime can't be started.
    pub async fn start<A: App + Send>(app: A, listeners: Vec<Listener>, options: Options) -> Result<Self, ServerError> {
        panics::install_hook();
        let Options { workers, max_connections, limits, gauges, observer, handlers } = options;
        let progress = Arc::new(Notify::new());
        let (ready, mut events) = mpsc::unbounded_channel();
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers.get()).map(|_| mpsc::unbounded_channel()).unzip();
        let crew = Crew {
            listeners: listeners.into_iter().map(Arc::new).collect(),
            permits: Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS))),
            max_connections,
            workers: senders.clone(),
        };
        let listeners = crew.listeners.iter().map(|listener| Arc::clone(&listener.name)).collect();
        let permits = Arc::clone(&crew.permits);
        for (index, commands) in receivers.into_iter().enumerate() {
            let (limits, gauges) = (limits.clone(), Arc::clone(&gauges));
            let (observer, progress) = (observer.clone(), Arc::clone(&progress));
            let local = move || Local::new(index, limits, gauges, observer, progress);
            worker::start(app.clone(), local, crew.clone(), commands, index, ready.clone())
                .map_err(|error| ServerError::Thread { worker: index, error })?;
        }
        for _ in 0..workers.get() {
            match events.recv().await {
                Some(Ok(_)) => {}
                Some(Err(lost)) => return Err(lost.into()),
                None => unreachable!("this function holds a sender"),
            }
        }
        Ok(Self { gauges, workers: senders, events, progress, permits, listeners, handlers })
    }

    /// The server's numbers.
    #[must_use]
    pub fn gauges(&self) -> &Arc<Gauges> {
        &self.gauges
    }

    /// Waits until a worker ends by itself; that should never happen.
    pub async fn lost(&mut self) -> ServerError {
        loop {
            match self.events.recv().await {
                Some(Err(lost)) => return lost.into(),
                Some(Ok(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Takes in connections from another process, and spreads them over the workers. Each goes on where it stood.
    pub async fn adopt(&self, connections: Vec<Carried>) -> Adopted {
        self.adopter().adopt(connections).await
    }

    /// What takes in connections from another process, whatever this server does meanwhile.
    #[must_use]
    pub fn adopter(&self) -> Adopter {
        Adopter {
            gauges: Arc::clone(&self.gauges),
            workers: self.workers.clone(),
            permits: Arc::clone(&self.permits),
            listeners: self.listeners.clone(),
            handlers: self.handlers.clone(),
        }
    }

    /// Lets every connection leave with `carrier` as soon as it is free, from the moment that the server closes.
    pub fn carry_with(&self, carrier: &Arc<dyn Carrier>) {
        self.tell(|| Command::Carry(Arc::clone(carrier)));
    }

    /// Has copies kept of all connections that wait, from now until they leave. Returns once those are safe that were
    /// accepted before, but waits for no worker that is stuck.
    pub async fn entrust_all(&self, custodian: &Arc<dyn Custodian>) {
        // Again for those that one worker had accepted for another, which got them later than its order.
        let _ = self.entrusted(custodian).await && self.entrusted(custodian).await;
    }

    /// Gives one such order; says whether it was carried out.
    async fn entrusted(&self, custodian: &Arc<dyn Custodian>) -> bool {
        let mut pending = Vec::with_capacity(self.workers.len());
        for (worker, gauges) in self.workers.iter().zip(self.gauges.workers()) {
            let (done, is_done) = oneshot::channel();
            let _ = worker.send(Command::Entrust(Arc::clone(custodian), done)); // a worker that is gone is done
            pending.push((is_done, gauges, gauges.entrusted.load(Ordering::Relaxed)));
        }
        let mut all_done = true;
        while !pending.is_empty() {
            let done = async {
                for (is_done, ..) in &mut pending {
                    let _ = is_done.await;
                }
            };
            let _ = timeout(ENTRUSTS_WITHIN, done).await;
            // By its own copies: those of who comes to the others meanwhile are no sign that it gets on.
            pending.retain_mut(|(is_done, gauges, before)| {
                let entrusted = gauges.entrusted.load(Ordering::Relaxed);
                let waits = is_done.try_recv() == Err(TryRecvError::Empty);
                let stuck = waits && *before == entrusted;
                *before = entrusted;
                all_done &= !stuck;
                waits && !stuck
            });
        }
        all_done
    }

    /// What tells whether the workers are alive.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        Pulse { gauges: Arc::clone(&self.gauges), workers: self.workers.clone() }
    }

    /// What counts the connections by what they are doing.
    #[must_use]
    pub fn census(&self) -> CensusTaker {
        CensusTaker { workers: self.workers.clone() }
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for worker in &self.workers {
            let _ = worker.send(command()); // a worker that is gone is reported by `lost`
        }
    }

    fn close_listeners(&self) {
        self.tell(|| Command::CloseListeners);
    }

    fn enter(&self, phase: Phase) {
        self.tell(|| Command::Phase(phase));
    }

    /// The routes of the requests that would be lost if the process ended now; a worker that doesn't answer in time is left out.
    async fn at_stake(&self, patience: Duration) -> Vec<Route> {
        let deadline = tokio::time::Instant::now() + patience;
        let mut all = Vec::new();
        let answers: Vec<_> = self
            .workers
            .iter()
            .map(|worker| {
                let (answer, asked) = oneshot::channel();
                let _ = worker.send(Command::AtStake(answer));
                asked
            })
            .collect();
        for answer in answers {
            if let Ok(Ok(mut routes)) = tokio::time::timeout_at(deadline, answer).await {
                all.append(&mut routes);
            }
        }
        all
    }
}

/// Takes in connections from another process.
#[derive(Clone)]
pub struct Adopter {
    gauges: Arc<Gauges>,
    workers: Vec<mpsc::UnboundedSender<Command>>,
    permits: Arc<Semaphore>,
    listeners: Vec<Arc<str>>,
    handlers: Handlers,
}

impl Adopter {
    /// Takes in connections that had left and were not taken.
    pub async fn take_back(&self, connections: Vec<Carried>) {
        self.gauges.take_back(connections.len());
        self.adopt(connections).await;
    }

    /// Takes in connections from another process, and spreads them over the workers. Each goes on where it stood.
    pub async fn adopt(&self, connections: Vec<Carried>) -> Adopted {
        let mut adopted = Adopted::default();
        let mut shares: Vec<Vec<_>> = self.workers.iter().map(|_| Vec::new()).collect();
        for (index, mut connection) in connections.into_iter().enumerate() {
            let resume = match self.handlers.resume(&mut connection) {
                Ok(resume) => resume,
                Err(unhandled) => {
                    unhandled.report();
                    adopted.unhandled += 1;
                    close(&connection);
                    continue;
                }
            };
            let stranger = !self.listeners.contains(&connection.listener);
            let permit = Arc::clone(&self.permits).try_acquire_owned().ok();
            match (stranger, &permit) {
                (true, _) => adopted.strangers += 1,
                (false, None) => adopted.beyond_limit += 1,
                (false, Some(_)) => adopted.whole += 1,
            }
            let last = stranger || permit.is_none();
            shares[index % self.workers.len()].push(Arrival { connection, last, permit, resume });
        }
        let mut lost = 0;
        let mut answers = Vec::new();
        for (index, share) in shares.into_iter().enumerate() {
            let number = share.len();
            self.gauges.worker(index).connections.fetch_add(number, Ordering::Release);
            let (answer, asked) = oneshot::channel();
            let _ = self.workers[index].send(Command::Adopt(share, answer)); // a worker that is gone gives no answer
            answers.push((number, asked));
        }
        for (number, asked) in answers {
            lost += number - asked.await.unwrap_or(0);
        }
        adopted.unusable += lost;
        adopted.whole = adopted.whole.saturating_sub(lost);
        adopted
    }
}

/// Closes a connection that nobody goes on with. Others may hold copies of it, so that dropping it would not end it.
fn close(connection: &Carried) {
    let _ = rustix::net::shutdown(&connection.socket, rustix::net::Shutdown::Both); // it may be no socket at all
}

/// Tells whether the workers are alive.
#[derive(Clone)]
pub struct Pulse {
    gauges: Arc<Gauges>,
    workers: Vec<mpsc::UnboundedSender<Command>>,
}

impl Pulse {
    /// Asks every worker to answer heartbeat `number`.
    pub fn beat(&self, number: u64) {
        for worker in &self.workers {
            let _ = worker.send(Command::Beat(number));
        }
    }

    /// The first worker that hasn't answered heartbeat `number`.
    #[must_use]
    pub fn silent(&self, number: u64) -> Option<usize> {
        self.gauges.workers().iter().position(|worker| worker.heartbeat.load(Ordering::Acquire) < number)
    }
}
