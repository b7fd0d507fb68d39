//! Every event of the library that an operator may look for, its id, its priority and its words, in one place. (What the
//! program has to say beyond them is in `entries`.)
//!
//! `journalctl MESSAGE_ID=…` finds them; the message catalog explains them.

use std::time::Duration;

use tracing::{debug, error, info, warn};

/// The ids: random, never reused, never changed. See journald's `MESSAGE_ID=` in systemd.journal-fields(7).
pub mod message_id {
    /// The service accepts on every listener.
    pub const READY: &str = "0b5af197664b4fc3ab30409e9dc53195";
    /// The service couldn't start.
    pub const START_FAILED: &str = "6876df81fe1442b09abe329406be176a";
    /// A drain has begun.
    pub const DRAIN_BEGAN: &str = "8282b833d7114b1c9f79077688c67818";
    /// A drain has ended; nothing was cut.
    pub const DRAIN_ENDED: &str = "7d98d9042dc3490fb61a42585a96afe1";
    /// A drain has ended, and requests were cut.
    pub const REQUESTS_CUT: &str = "57900c80a89e45d3900e66160c1f9533";
    /// A drain was cut short.
    pub const HAMMER: &str = "3121db447af74a2382eeacd9583f97c6";
    /// systemd could not be asked for the time to stop.
    pub const WINDOW_UNKNOWN: &str = "4c56dd23b423459e8dd068edd9c00d2c";
    /// New connections can't be accepted for now.
    pub const ACCEPT_FAILED: &str = "b2ba53fd753940319027390022c26f7e";
    /// There are as many connections as `max_connections` allows.
    pub const CONNECTIONS_FULL: &str = "69f2e552513446d19b83645b966033b9";
    /// A handler panicked.
    pub const HANDLER_PANICKED: &str = "64b0f8f4252946e7bb5645b503a3ad39";
    /// A handler failed.
    pub const HANDLER_FAILED: &str = "3a96a38f5bf946b8b0f043d3dfcb4f5f";
    /// A worker hasn't answered its heartbeat.
    pub const WORKER_STUCK: &str = "a1a3e3d7ca504e9994288caa7ee74d31";
    /// A worker has ended by itself.
    pub const WORKER_LOST: &str = "c7a9cc63358544d0beaa08b120b2b48a";
    /// The counters, asked for by SIGUSR1.
    pub const SNAPSHOT: &str = "331a55a84f89458aa9790f2edc2d4d42";
    /// A reload has begun: a successor is being started.
    pub const RELOAD_BEGAN: &str = "1a034a3dfad94a4d93977e856eebcfce";
    /// A reload has succeeded: another process is the service.
    pub const RELOAD_DONE: &str = "89c1829a41604802b646d51b0c645a2a";
    /// A reload has failed, or was refused; nothing has changed.
    pub const RELOAD_FAILED: &str = "aeb7ed2805f3458cacac86192208cf23";
    /// A process that was succeeded has finished its last requests and ends.
    pub const OLD_ENDED: &str = "2e38067a4b40460c9dcfc28457e5bd0c";
    /// Something that only makes the service less comfortable doesn't work.
    pub const INCONVENIENCE: &str = "5e6f88b235cb428ebde961ee17415539";
    /// Connections were taken over from the process before.
    pub const HANDOVER_ADOPTED: &str = "cc412d1046c644b88f1075428ac13668";
    /// Connections could not be handed over, and end with this process.
    pub const HANDOVER_REFUSED: &str = "aac05783762e4855b7b8a07565f84092";
    /// All connections but busy ones have left for the next process.
    pub const HANDED_OVER: &str = "ee242b83302b47c3a5158cda14e9aba9";
    /// Connections have no way to the next process.
    pub const HANDOVER_IMPOSSIBLE: &str = "0785ae2777f449f697aef4b6f4b5e2b7";
    /// journald was too slow, and entries were dropped.
    pub const ENTRIES_DROPPED: &str = "9dfbde8cac244da7b131c7d009f29379";
}

/// Something that has happened.
#[derive(Debug)]
pub enum Event {
    /// The service accepts on every listener.
    Ready {
        /// Process number since the service was first started.
        generation: u64,
        /// Listeners, `http 127.0.0.1:8080, admin unix:/run/a.sock`.
        listeners: String,
        /// What is served: `12 routes`.
        serving: String,
        /// Worker threads.
        workers: usize,
        /// Where the configuration came from.
        configuration: String,
        /// From the beginning of the process.
        took: Duration,
    },
    /// The service couldn't start.
    StartFailed {
        /// Why, and what to do.
        reason: String,
    },
    /// A drain has begun.
    DrainBegan {
        /// What began it: `SIGTERM`.
        cause: &'static str,
        /// How long it may take, if there is a limit.
        window: Option<Duration>,
        /// Requests that run.
        requests: usize,
        /// Connections that are open.
        connections: usize,
    },
    /// A drain has ended.
    DrainEnded(DrainSummary),
    /// A drain was cut short.
    Hammer {
        /// By what: `SIGUSR2`.
        cause: &'static str,
    },
    /// systemd could not be asked for the time to stop.
    WindowUnknown {
        /// Why not.
        reason: String,
        /// What is assumed instead.
        assumed: Option<Duration>,
    },
    /// New connections can't be accepted for now.
    AcceptFailed {
        /// On which listener.
        listener: String,
        /// The system's words.
        error: String,
    },
    /// There are as many connections as allowed.
    ConnectionsFull {
        /// That many.
        limit: usize,
    },
    /// A handler panicked.
    HandlerPanicked {
        /// Of which route.
        route: String,
        /// The panic's own words.
        message: String,
        /// File and line, where known.
        location: String,
    },
    /// A handler returned an error instead of an answer.
    HandlerFailed {
        /// Of which route.
        route: String,
        /// The error, with what it comes from.
        error: String,
    },
    /// A worker hasn't answered its heartbeat.
    WorkerStuck {
        /// Which.
        worker: usize,
        /// For how long.
        silent: Duration,
    },
    /// A worker has ended by itself.
    WorkerLost {
        /// Which.
        worker: usize,
        /// Its last words.
        reason: String,
    },
    /// The counters.
    Snapshot {
        /// As `STATUS=` says it.
        status: String,
        /// Connections that are open.
        connections: usize,
        /// Requests that run.
        requests: usize,
        /// Requests answered since the process began.
        answered: u64,
        /// Connections accepted since the process began.
        accepted: u64,
        /// Since the process began.
        uptime: Duration,
    },
    /// A reload has begun.
    ReloadBegan {
        /// What asked for it: `SIGHUP`, `outlive reload`.
        cause: &'static str,
        /// The program that is started.
        program: String,
    },
    /// A reload has succeeded.
    ReloadDone {
        /// The process that is the service now.
        pid: u32,
        /// Its number since the service was first started.
        generation: u64,
        /// From the wish to the change.
        took: Duration,
    },
    /// A reload has failed, or was refused.
    ReloadFailed {
        /// What asked for it.
        cause: &'static str,
        /// Why, in the successor's own words where it had any.
        reason: String,
    },
    /// A process that was succeeded ends.
    OldEnded {
        /// Its number since the service was first started.
        generation: u64,
        /// Since it was succeeded.
        after: Duration,
    },
    /// Something that only makes the service less comfortable doesn't work.
    Inconvenience {
        /// What, and what to do.
        text: String,
    },
    /// Connections were taken over from the process before.
    HandoverAdopted {
        /// Which process that was, if it has said so.
        former: Option<u64>,
        /// Connections that it has handed over.
        expected: usize,
        /// Connections that go on as if nothing had been.
        adopted: usize,
        /// Connections that were closed, or will be after their next answer.
        rejected: usize,
        /// Why: `2 of no listener that there is`; empty if none.
        reasons: String,
        /// Whether the process before had come to the end of its drain.
        complete: bool,
        /// From the first look to the last connection.
        took: Duration,
    },
    /// All connections but those with requests that still run have left for the next process.
    HandedOver {
        /// How many have left.
        connections: usize,
        /// How long that took.
        took: Duration,
        /// Requests that still run.
        requests: usize,
    },
    /// Connections have no way to the next process: the drain closes them.
    HandoverImpossible {
        /// Why, and what to do.
        reason: String,
    },
    /// Connections could not be handed over.
    HandoverRefused {
        /// How many.
        connections: usize,
        /// Why, and what to do.
        reason: String,
    },
    /// Entries were dropped.
    Dropped {
        /// How many.
        count: u64,
    },
}

/// How a drain went.
#[derive(Debug, Default, Clone)]
pub struct DrainSummary {
    /// What began it.
    pub cause: &'static str,
    /// How long everything was still served.
    pub settle: Duration,
    /// From then to the end.
    pub close: Duration,
    /// Requests that finished meanwhile.
    pub finished: u64,
    /// Requests that were cut.
    pub cut: usize,
    /// On which routes, `/slow (2), /upload (1)`; empty if none.
    pub cut_routes: String,
    /// Connections that were closed in good order.
    pub closed: usize,
    /// Connections that were handed over to the next process.
    pub handed_over: usize,
    /// How long that took, but for waiting until they were free.
    pub handover: Duration,
}

fn usec(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A duration as people read it: `1.25 s`, `37 ms`.
#[must_use]
pub fn human(duration: Duration) -> String {
    if duration >= Duration::from_secs(10) {
        format!("{:.0} s", duration.as_secs_f64())
    } else if duration >= Duration::from_secs(1) {
        format!("{:.2} s", duration.as_secs_f64())
    } else if duration >= Duration::from_millis(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{} µs", duration.as_micros())
    }
}

/// A number and its noun: `1 request`, `3 requests`.
#[must_use]
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

impl Event {
    /// Writes the event, which may block.
    pub(super) fn emit(self) {
        match self {
            Self::DrainBegan { .. } | Self::DrainEnded(_) | Self::Hammer { .. } | Self::WindowUnknown { .. } => {
                self.emit_drain();
            }
            Self::ReloadBegan { .. } | Self::ReloadDone { .. } | Self::ReloadFailed { .. } | Self::OldEnded { .. } => {
                self.emit_reload();
            }
            Self::HandoverAdopted { .. }
            | Self::HandedOver { .. }
            | Self::HandoverImpossible { .. }
            | Self::HandoverRefused { .. } => {
                self.emit_handover();
            }
            Self::AcceptFailed { .. }
            | Self::ConnectionsFull { .. }
            | Self::HandlerPanicked { .. }
            | Self::HandlerFailed { .. }
            | Self::WorkerStuck { .. }
            | Self::WorkerLost { .. }
            | Self::Dropped { .. } => self.emit_trouble(),
            _ => self.emit_life(),
        }
    }

    fn emit_life(self) {
        match self {
            Self::Ready { generation, listeners, serving, workers, configuration, took } => info!(
                MESSAGE_ID = message_id::READY,
                GENERATION = generation,
                LISTENERS = listeners,
                WORKERS = workers,
                CONFIGURATION = configuration,
                DURATION_USEC = usec(took),
                "Serving {serving} on {listeners} with {} (generation {generation}, configuration: {configuration}, \
                 ready after {})",
                count(workers, "worker"),
                human(took),
            ),
            Self::StartFailed { reason } => error!(MESSAGE_ID = message_id::START_FAILED, "Cannot start: {reason}"),
            Self::Snapshot { status, connections, requests, answered, accepted, uptime } => info!(
                MESSAGE_ID = message_id::SNAPSHOT,
                CONNECTIONS = connections,
                REQUESTS = requests,
                ANSWERED = answered,
                ACCEPTED = accepted,
                UPTIME_USEC = usec(uptime),
                "{status}. Since the start {} ago: {} accepted, {} answered",
                human(uptime),
                count(usize::try_from(accepted).unwrap_or(usize::MAX), "connection"),
                count(usize::try_from(answered).unwrap_or(usize::MAX), "request"),
            ),
            Self::Inconvenience { text } => warn!(MESSAGE_ID = message_id::INCONVENIENCE, "{text}"),
            other => debug!("{other:?}"),
        }
    }

    fn emit_reload(self) {
        match self {
            Self::ReloadBegan { cause, program } => info!(
                MESSAGE_ID = message_id::RELOAD_BEGAN,
                CAUSE = cause,
                PROGRAM = program,
                "{cause}: reloading, {program} is being started"
            ),
            Self::ReloadDone { pid, generation, took } => info!(
                MESSAGE_ID = message_id::RELOAD_DONE,
                SUCCESSOR_PID = pid,
                GENERATION = generation,
                DURATION_USEC = usec(took),
                "Reloaded within {}: process {pid} (generation {generation}) has taken over",
                human(took),
            ),
            Self::ReloadFailed { cause, reason } => error!(
                MESSAGE_ID = message_id::RELOAD_FAILED,
                CAUSE = cause,
                "{cause}: the reload has failed, and nothing has changed: {reason}"
            ),
            Self::OldEnded { generation, after } => info!(
                MESSAGE_ID = message_id::OLD_ENDED,
                GENERATION = generation,
                DURATION_USEC = usec(after),
                "The process of generation {generation} ends, {} after it was succeeded",
                human(after),
            ),
            other => debug!("{other:?}"),
        }
    }

    fn emit_drain(self) {
        match self {
            Self::DrainBegan { cause, window, requests, connections } => info!(
                MESSAGE_ID = message_id::DRAIN_BEGAN,
                CAUSE = cause,
                WINDOW_USEC = window.map(usec),
                REQUESTS = requests,
                CONNECTIONS = connections,
                "{cause}: draining {} and {}, {}",
                count(requests, "request"),
                count(connections, "connection"),
                window.map_or_else(|| "without a limit".to_owned(), |window| format!("within {}", human(window))),
            ),
            Self::DrainEnded(summary) => summary.emit(),
            Self::Hammer { cause } => warn!(
                MESSAGE_ID = message_id::HAMMER,
                CAUSE = cause,
                "{cause}: the drain is cut short, what still runs is cut"
            ),
            Self::WindowUnknown { reason, assumed } => warn!(
                MESSAGE_ID = message_id::WINDOW_UNKNOWN,
                "Cannot find out the unit's TimeoutStopSec, a drain will take {}: {reason}",
                assumed.map_or_else(|| "as long as it needs".to_owned(), |time| format!("{} at most", human(time))),
            ),
            other => debug!("{other:?}"),
        }
    }

    fn emit_handover(self) {
        macro_rules! adopted {
            ($level:ident) => {
                if let Self::HandoverAdopted { former, expected, adopted, rejected, reasons, complete, took } = self {
                    let from = former.map_or_else(String::new, |former| format!(" from generation {former}"));
                    let whole = if complete { "" } else { ", which did not come to the end of its drain" };
                    $level!(
                        MESSAGE_ID = message_id::HANDOVER_ADOPTED,
                        FORMER_GENERATION = former,
                        EXPECTED = expected,
                        ADOPTED = adopted,
                        REJECTED = rejected,
                        REASONS = reasons,
                        COMPLETE = complete,
                        DURATION_USEC = usec(took),
                        "Adopted {adopted} of {}{from}{whole} in {}{}",
                        count(expected, "connection"),
                        human(took),
                        if rejected == 0 { String::new() } else { format!("; {rejected} rejected: {reasons}") },
                    );
                }
            };
        }
        match self {
            Self::HandoverAdopted { rejected: 0, .. } => adopted!(info),
            Self::HandoverAdopted { .. } => adopted!(warn),
            Self::HandedOver { connections, took, requests } => info!(
                MESSAGE_ID = message_id::HANDED_OVER,
                CONNECTIONS = connections,
                DURATION_USEC = usec(took),
                REQUESTS = requests,
                "Handed over {} in {}, {} left to finish",
                count(connections, "connection"),
                human(took),
                count(requests, "request"),
            ),
            Self::HandoverImpossible { reason } => info!(
                MESSAGE_ID = message_id::HANDOVER_IMPOSSIBLE,
                "Connections cannot be handed over to the next process and will be closed: {reason}"
            ),
            Self::HandoverRefused { connections, reason } => warn!(
                MESSAGE_ID = message_id::HANDOVER_REFUSED,
                CONNECTIONS = connections,
                "{} cannot be handed over and will be closed: {reason}",
                count(connections, "connection"),
            ),
            other => debug!("{other:?}"),
        }
    }

    fn emit_trouble(self) {
        match self {
            Self::AcceptFailed { listener, error } => warn!(
                MESSAGE_ID = message_id::ACCEPT_FAILED,
                LISTENER = listener,
                "Cannot accept on listener {listener} for now: {error}; connections wait in the backlog"
            ),
            Self::ConnectionsFull { limit } => warn!(
                MESSAGE_ID = message_id::CONNECTIONS_FULL,
                LIMIT = limit,
                "All {limit} connections that max_connections allows are open; further ones wait in the backlog"
            ),
            Self::HandlerPanicked { route, message, location } => error!(
                MESSAGE_ID = message_id::HANDLER_PANICKED,
                ROUTE = route,
                CODE_LOCATION = location,
                "The handler of route {route} panicked at {location}: {message}; its request got a 500"
            ),
            Self::HandlerFailed { route, error } => error!(
                MESSAGE_ID = message_id::HANDLER_FAILED,
                ROUTE = route,
                ERROR = error,
                "The handler of route {route} failed: {error}; its request got a 500"
            ),
            Self::WorkerStuck { worker, silent } => error!(
                MESSAGE_ID = message_id::WORKER_STUCK,
                WORKER = worker,
                "Worker {worker} has not answered for {}: the watchdog is told nothing more, so that systemd restarts \
                 the service if it lasts",
                human(silent),
            ),
            Self::WorkerLost { worker, reason } => error!(
                MESSAGE_ID = message_id::WORKER_LOST,
                WORKER = worker,
                "Worker {worker} has ended by itself, and so the service ends: {reason}"
            ),
            Self::Dropped { count } => warn!(
                MESSAGE_ID = message_id::ENTRIES_DROPPED,
                COUNT = count,
                "{count} log entries were dropped because journald was too slow"
            ),
            other => debug!("{other:?}"),
        }
    }
}

impl DrainSummary {
    fn emit(&self) {
        let Self { cause, settle, close, finished, cut, cut_routes, closed, handed_over, handover } = self;
        let phases = format!("settled in {}, closed in {}", human(*settle), human(*close));
        let connections = match handed_over {
            0 => format!("{} closed", count(*closed, "connection")),
            _ => format!("{} handed over in {}, {closed} closed", count(*handed_over, "connection"), human(*handover)),
        };
        macro_rules! ended {
            ($level:ident, $id:expr, $($rest:tt)+) => {
                $level!(
                    MESSAGE_ID = $id,
                    CAUSE = cause,
                    SETTLE_USEC = usec(*settle),
                    CLOSE_USEC = usec(*close),
                    FINISHED = finished,
                    CUT = cut,
                    CLOSED = closed,
                    HANDED_OVER = handed_over,
                    HANDOVER_USEC = usec(*handover),
                    $($rest)+
                )
            };
        }
        if *cut == 0 {
            ended!(
                info,
                message_id::DRAIN_ENDED,
                "Drained: {phases}; {} finished, none cut, {connections}",
                count(usize::try_from(*finished).unwrap_or(usize::MAX), "request"),
            );
        } else {
            ended!(
                warn,
                message_id::REQUESTS_CUT,
                CUT_ROUTES = cut_routes,
                "Drained, but {} cut on {cut_routes}: {phases}; {finished} finished, {connections}",
                if *cut == 1 { "1 request was".to_owned() } else { format!("{cut} requests were") },
            );
        }
    }
}
