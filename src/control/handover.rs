//! What leaves for the next process, and what has come from the one before.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::handover::adopt::{self, Report};
use crate::handover::deposit::{Deposit, DepositError};
use crate::handover::elders::Arrival;
use crate::handover::link::Link;
use crate::handover::passage::{self, Passage};
use crate::handover::successor::Unreadable;
use crate::handover::{Carried, Carrier, Custodian};
use crate::journal::{self, Event};
use crate::server::drain::{Way, Window};
use crate::server::gauges::Gauges;
use crate::server::{Adopted, Adopter, Server};
use crate::status::{Facts, Handover};
use crate::systemd::activation::Stored;
use crate::systemd::notify::Notifier;
use crate::systemd::unit;

/// How long systemd may take to keep the vault before connections are closed instead: longer than it reloads its units.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long systemd's socket may take to have room for what it is to keep, before the drain begins without.
const SENT: Duration = Duration::from_millis(50);

/// Connections that are taken in at a time.
const BATCH: usize = 256;

/// How long the last connections may take to cross to a successor.
const CROSSING: Duration = Duration::from_secs(15);

/// How long systemd may take to say whether the service is to start again, before that is assumed.
const ANSWER: Duration = Duration::from_secs(1);

/// Takes in the connections that the process before has left with systemd.
pub(super) async fn take_in(
    server: &Server,
    stored: Vec<Stored>,
    most: usize,
    notifier: &Notifier,
    process_began: Instant,
) -> Option<Handover> {
    let began = Instant::now();
    let mut found = adopt::read(stored, most);
    if found.is_empty() {
        return None;
    }
    let adopted = server.adopt(std::mem::take(&mut found.connections)).await;
    found.forget(notifier);
    let Report { generation, expected, busy, unreadable, complete } = found.report;
    let lost = expected.saturating_sub(adopted.total() + busy + unreadable);
    journal::log(Event::HandoverAdopted {
        former: generation,
        expected,
        adopted: adopted.whole,
        rejected: expected.saturating_sub(adopted.whole),
        reasons: reasons(&adopted, busy, unreadable, lost),
        complete,
        took: began.elapsed(),
    });
    let (whole, rejected) = (adopted.whole, expected.saturating_sub(adopted.whole));
    Some(Handover {
        adopted: whole as u64,
        rejected: rejected as u64,
        ..Handover::now("restart", generation.unwrap_or(0), process_began.elapsed())
    })
}

/// Takes in what older processes hand over, for as long as there are any.
pub(super) fn receive(adopter: Adopter, facts: &Arc<Facts>) -> mpsc::UnboundedSender<Arrival> {
    let (sender, mut arrivals) = mpsc::unbounded_channel::<Arrival>();
    let facts = Arc::clone(facts);
    spawn_local(async move {
        let mut batch = Vec::new();
        while arrivals.recv_many(&mut batch, BATCH).await > 0 {
            let expected = batch.len();
            let mut whole = Vec::with_capacity(expected);
            let mut reason = None;
            for arrival in batch.drain(..) {
                match arrival {
                    Ok(connection) => whole.push(connection),
                    Err(error) => reason = Some(error),
                }
            }
            if let Some(reason) = reason {
                let connections = expected - whole.len();
                journal::log(Event::HandoverRefused { connections, reason: reason.to_string() });
            }
            let adopted = adopter.adopt(whole).await;
            facts.adopted(adopted.whole, expected - adopted.whole);
        }
    });
    sender
}

/// The crossing of connections to the successor.
pub(super) struct Crossing(Option<(Arc<Passage>, oneshot::Receiver<()>)>);

impl Crossing {
    /// Waits until all have crossed.
    pub(super) async fn end(self) {
        let Some((passage, all_crossed)) = self.0 else { return };
        passage.close();
        let _ = timeout(CROSSING, all_crossed).await;
        let connections = *passage.waiting().borrow();
        if connections > 0 {
            let reason = "there was no time left to wait for the successor".to_owned();
            journal::log(Event::HandoverRefused { connections, reason });
        }
    }

    /// How many are on their way, and may yet come back.
    pub(super) fn waiting(&self) -> watch::Receiver<usize> {
        self.0.as_ref().map_or_else(|| watch::channel(0).1, |(passage, _)| passage.waiting())
    }
}

/// Opens the way to the successor. Without one, connections end here.
pub(super) fn to_successor(server: &Server, link: &Link, adopts: Result<(), Unreadable>) -> (Way, Crossing) {
    let opened = adopts.map_err(io::Error::other).and_then(|()| link.socket()).and_then(Passage::open);
    match opened {
        Ok((passage, passage::Crossing { all_crossed, back })) => {
            let (found, carrier) = oneshot::channel::<Arc<dyn Carrier>>();
            let _ = found.send(Arc::<Passage>::clone(&passage));
            spawn_local(take_back(server.adopter(), Arc::clone(&passage), back));
            (Way::Awaited(carrier), Crossing(Some((passage, all_crossed))))
        }
        Err(error) => {
            journal::log(Event::HandoverImpossible { reason: error.to_string() });
            (Way::Closed, Crossing(None))
        }
    }
}

/// Sees to connections that the successor hasn't taken: they end here, like all others that can't leave.
async fn take_back(
    adopter: Adopter,
    passage: Arc<Passage>,
    mut back: mpsc::UnboundedReceiver<(Vec<Carried>, io::Error)>,
) {
    while let Some((connections, error)) = back.recv().await {
        let number = connections.len();
        let reason = match error.kind() {
            io::ErrorKind::WouldBlock => "the successor takes none".to_owned(),
            _ => error.to_string(),
        };
        journal::log(Event::HandoverRefused { connections: number, reason });
        adopter.take_back(connections).await;
        passage.settle(number);
    }
}

fn reasons(adopted: &Adopted, busy: usize, unreadable: usize, lost: usize) -> String {
    let all = [
        (adopted.strangers, "of no listener that there is"),
        (adopted.beyond_limit, "beyond max_connections"),
        (adopted.unhandled, "upgraded, with no handler here that goes on with them"),
        (adopted.unusable, "with a socket that can't be used"),
        (busy, "in the middle of a request"),
        (unreadable, "in a format that this version can't read"),
        (lost, "beyond LimitNOFILE="),
    ];
    let there = all.iter().filter(|(number, _)| *number > 0).map(|(number, reason)| format!("{number} {reason}"));
    there.collect::<Vec<_>>().join(", ")
}

/// Begins to deposit the connections of a drain that begins, if there is anyone to keep them.
pub(super) fn begin_deposit(notifier: &Notifier, gauges: &Gauges) -> Option<Arc<Deposit>> {
    match Deposit::begin(notifier, gauges.generation()) {
        Ok(deposit) => Some(Arc::new(deposit)),
        Err(DepositError::NoManager) => None,
        Err(error) => {
            journal::log(Event::HandoverImpossible { reason: error.to_string() });
            None
        }
    }
}

/// Has copies deposited of all connections that wait. Once this returns they are safe, even if the process is killed;
/// unless a worker is stuck, or systemd hasn't read what it was sent before.
pub(super) async fn entrust_all(server: &Server, deposit: &Arc<Deposit>, notifier: &Notifier) {
    let custodian: Arc<dyn Custodian> = Arc::<Deposit>::clone(deposit);
    let notifier = notifier.clone();
    let sent = tokio::task::spawn_blocking(move || notifier.flush(SENT));
    let _ = tokio::join!(sent, server.entrust_all(&custodian));
}

/// Finds out, off the path of everything else, whether connections can leave by way of a deposit: systemd may be slow to
/// answer. It is asked no longer than for a quarter of the drain's window.
pub(super) fn open_way(deposit: &Arc<Deposit>, window: Window) -> Way {
    let limit = window.map_or(PATIENCE, |window| PATIENCE.min(window / 4));
    let (found, carrier) = oneshot::channel::<Arc<dyn Carrier>>();
    let (opened, is_open) = oneshot::channel();
    let asking = Arc::clone(deposit);
    let confirm = move || drop(opened.send(asking.confirm(limit)));
    // Not a thread of the runtime's, whose end would wait for this one's.
    let _ = std::thread::Builder::new().name("handover".to_owned()).spawn(confirm);
    let deposit = Arc::clone(deposit);
    tokio::spawn(async move {
        let stays = tokio::spawn(timeout(ANSWER.min(limit), unit::is_to_stay_stopped()));
        match is_open.await {
            // When the service isn't to start again, nobody would adopt them: its clients should know at once.
            Ok(_) if matches!(stays.await, Ok(Ok(Ok(true)))) => deposit.withdraw(),
            Ok(Ok(())) => drop(found.send(deposit)),
            Ok(Err(error)) => {
                deposit.withdraw();
                journal::log(Event::HandoverImpossible { reason: error.to_string() });
            }
            Err(_) => deposit.withdraw(), // no thread could be started
        }
    });
    Way::Awaited(carrier)
}
