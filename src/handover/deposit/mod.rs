//! Out: connections leave by way of systemd's descriptor store, for the process that a restart starts.
//!
//! systemd keeps the ledger and the receiving end of the vault. It acknowledges nothing, and it keeps nothing where the
//! unit's `FileDescriptorStoreMax=` doesn't let it. So a barrier is awaited, this process's own copy is closed, and a
//! look at the sending end then tells whether anyone holds the other one: only then does any connection leave.
//!
//! Copies are entrusted at once, since they cost nothing if nobody keeps them. What was sent lies in the queue of
//! systemd's socket, descriptors included, and systemd reads that before it takes notice of a child's end, so
//! that it knows whose the message was (`manager_setup_notify` in its src/core/manager.c). So copies are safe from SIGKILL
//! as soon as the notifications have left this process; tests/system/killed.rs stops PID 1 meanwhile.

mod pair;

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

use pair::{Added, Pair};

use super::ledger::Size;
use super::place::Place;
use super::vault::{BATCH, QUEUE};
use super::{Carried, Carrier, Custodian, ledger_name, vault_name};
use crate::journal::{self, Event};
use crate::systemd::notify::Notifier;
use crate::systemd::unit;

/// What one ledger has room for: as much as one vault, and read-ahead bytes for heads by the ten thousand.
const SIZE: Size = Size { slots: 65_536, spill: 32 << 20 };

/// Which share of all descriptors those may be whose connections have ended since they were deposited: they count among
/// the descriptors on their way, of which the kernel allows as many as may be open.
const VACATED_SHARE: usize = 16;

/// How many messages with copies a vault takes: connections that come one by one would fill its queue, and those that
/// leave later need room in it.
const MESSAGES_OF_COPIES: usize = 200;

/// How many vaults copies may fill, of the half of `FileDescriptorStoreMax=` that there can be.
const PAIRS_OF_COPIES: usize = 8;

/// How long systemd may take to keep one more vault while connections wait for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why connections can't leave by way of the store.
#[derive(Debug, thiserror::Error)]
pub enum DepositError {
    /// There is no systemd.
    #[error("no service manager listens (NOTIFY_SOCKET)")]
    NoManager,
    /// It has kept nothing.
    #[error("{}", not_kept())]
    NotKept,
    /// It hasn't answered.
    #[error("systemd has not read its notifications for {} s", .waited.as_secs_f32())]
    Silent {
        /// For so long.
        waited: Duration,
    },
    /// The kernel lets no more descriptors be on their way.
    #[error("too many descriptors are on their way between processes: raise LimitNOFILE= of the unit")]
    InFlight,
    /// There is no room for so long a head.
    #[error("a head of {bytes} bytes has no room in a ledger")]
    TooLong {
        /// Its length so far.
        bytes: usize,
    },
    /// Anything else.
    #[error("the system refuses: {0}")]
    System(#[from] io::Error),
}

/// Whose fault it is: outside a unit, in a container say, there is no `FileDescriptorStoreMax=` to raise.
fn not_kept() -> &'static str {
    if unit::runs_this_process(true) {
        "systemd has not kept the vault: raise FileDescriptorStoreMax= of the unit"
    } else {
        "what listens at NOTIFY_SOCKET keeps no descriptors, as systemd would for a unit"
    }
}

/// Connections on their way through systemd's store.
#[derive(Debug)]
pub struct Deposit {
    notifier: Notifier,
    generation: u64,
    size: Size,
    queue: usize,
    vacated_at_most: usize,
    pairs: Mutex<Pairs>,
}

#[derive(Debug, Default)]
struct Pairs {
    /// The last one is being filled.
    all: Vec<Pair>,
    /// How many there have been.
    opened: usize,
    /// systemd hasn't kept one of them: there will be no more.
    exhausted: bool,
    /// Why, until that was said.
    refused: Option<DepositError>,
}

impl Pairs {
    fn vacated(&self) -> usize {
        self.all.iter().map(|pair| pair.ledger.vacated()).sum()
    }

    /// Why there is no room.
    fn no_more(&mut self) -> DepositError {
        self.refused.take().unwrap_or(DepositError::NotKept)
    }
}

impl Deposit {
    /// Sends systemd a vault and its ledger to keep, and waits for nothing: copies can be entrusted to it at once.
    ///
    /// # Errors
    ///
    /// When there is no systemd, or no descriptor left.
    pub fn begin(notifier: &Notifier, generation: u64) -> Result<Self, DepositError> {
        let descriptors = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
        Self {
            notifier: notifier.clone(),
            generation,
            size: SIZE,
            queue: QUEUE,
            vacated_at_most: descriptors.unwrap_or(usize::MAX) / VACATED_SHARE,
            pairs: Mutex::default(),
        }
        .begun()
    }

    fn begun(self) -> Result<Self, DepositError> {
        if !self.notifier.enabled() {
            return Err(DepositError::NoManager);
        }
        self.open_next(&mut self.lock())?;
        Ok(self)
    }

    fn lock(&self) -> MutexGuard<'_, Pairs> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends systemd one more pair. Waits for nothing.
    fn open_next(&self, pairs: &mut Pairs) -> Result<(), DepositError> {
        // In this order: where a vault is, there is its ledger.
        let names = [ledger_name(self.generation, pairs.opened), vault_name(self.generation, pairs.opened)];
        let (pair, ends) = Pair::new(names, self.generation, self.size, self.queue)?;
        for (name, end) in pair.names.iter().zip(ends) {
            self.notifier.store(name, end);
        }
        if let Some(Pair { ledger, .. }) = pairs.all.last() {
            ledger.complete()?;
        }
        pairs.all.push(pair);
        pairs.opened += 1;
        Ok(())
    }

    fn forget(&self, pair: &Pair) {
        pair.names.iter().for_each(|name| self.notifier.remove(name));
    }

    fn pass_barrier(&self, limit: Duration) -> Result<(), DepositError> {
        let began = Instant::now();
        match self.notifier.barrier()?.wait(limit) {
            true => Ok(()),
            false => Err(DepositError::Silent { waited: began.elapsed() }),
        }
    }

    /// Waits until systemd is known to keep what it was sent first: from then on connections can leave. Blocks, no longer
    /// than `limit`.
    ///
    /// # Errors
    ///
    /// When it doesn't keep it.
    pub fn confirm(&self, limit: Duration) -> Result<(), DepositError> {
        self.pass_barrier(limit)?; // without the lock: workers entrust copies meanwhile
        self.lock().all.first().map_or(Err(DepositError::NotKept), Pair::look_whether_kept)
    }

    /// Finds out which of the later pairs systemd keeps, and gives up the others.
    fn confirm_all(&self, pairs: &mut Pairs) {
        if pairs.all.iter().all(|pair| pair.ledger.is_kept()) {
            return;
        }
        let passed = self.pass_barrier(PATIENCE);
        let silent = passed.is_err();
        let mut refused = passed.err();
        pairs.all.retain(|pair| {
            let kept = pair.ledger.is_kept()
                || (!silent && pair.look_whether_kept().map_err(|why| refused = Some(why)).is_ok());
            if !kept {
                self.forget(pair);
            }
            kept
        });
        pairs.exhausted |= refused.is_some();
        pairs.refused = refused;
    }

    /// Has systemd forget everything: it would only keep copies of connections that end here.
    pub fn withdraw(&self) {
        self.lock().all.drain(..).for_each(|pair| self.forget(&pair));
    }

    /// Deposits one batch, or the beginning of it; returns how many.
    fn deposit(&self, pairs: &mut Pairs, batch: &[Carried]) -> Result<usize, DepositError> {
        loop {
            self.confirm_all(pairs);
            let Some(pair) = pairs.all.last_mut() else { return Err(pairs.no_more()) };
            match pair.add(batch)? {
                Added::All(entered) => return Ok(entered.number),
                Added::TooLong => {
                    return Err(DepositError::TooLong { bytes: batch.first().map_or(0, |one| one.ahead.len()) });
                }
                Added::NoRoom if pairs.exhausted => return Err(pairs.no_more()),
                Added::NoRoom => self.open_next(pairs)?,
            }
        }
    }

    /// Deposits one batch of copies, or the beginning of it, in a pair of which systemd need not be known to keep it: if
    /// it doesn't, nothing is lost by that.
    fn try_entrust(&self, copies: &[Carried]) -> Result<Vec<Place>, DepositError> {
        let pairs = &mut *self.lock();
        if pairs.vacated() > self.vacated_at_most {
            return Ok(Vec::new());
        }
        loop {
            let Some(pair) = pairs.all.last_mut() else { return Err(DepositError::NotKept) };
            if pair.copies < MESSAGES_OF_COPIES {
                match pair.add(copies)? {
                    Added::All(entered) => {
                        pair.copies += 1;
                        return Ok(pair.ledger.places(entered));
                    }
                    Added::TooLong => return Ok(Vec::new()),
                    Added::NoRoom => {}
                }
            }
            if pairs.exhausted || pairs.all.len() >= PAIRS_OF_COPIES {
                return Ok(Vec::new());
            }
            self.open_next(pairs)?;
        }
    }

    /// Marks what was deposited as complete: nothing will be added.
    pub fn complete(&self) {
        if let Some(Pair { ledger, .. }) = self.lock().all.last() {
            let _ = ledger.complete(); // the next process only says so
        }
    }
}

impl Carrier for Deposit {
    fn carry(&self, mut connections: Vec<Carried>) -> Vec<Carried> {
        let mut stay = Vec::new();
        let pairs = &mut *self.lock();
        while !connections.is_empty() {
            let batch = connections.len().min(BATCH);
            match self.deposit(pairs, &connections[..batch]) {
                Ok(number) => drop(connections.drain(..number)),
                Err(DepositError::TooLong { .. }) => stay.push(connections.remove(0)),
                Err(error) => {
                    stay.append(&mut connections);
                    journal::log(Event::HandoverRefused { connections: stay.len(), reason: error.to_string() });
                }
            }
        }
        stay
    }
}

impl Custodian for Deposit {
    fn entrust(&self, copies: &[Carried]) -> Vec<Place> {
        let mut places = Vec::with_capacity(copies.len());
        // What isn't taken now will be asked to leave as the drain closes; what is the matter is said then.
        while let Some(rest) = copies.get(places.len()..).filter(|rest| !rest.is_empty())
            && let Ok(more) = self.try_entrust(&rest[..rest.len().min(BATCH)])
            && !more.is_empty()
        {
            places.extend(more);
        }
        places
    }

    fn renew(&self, place: &mut Place, connection: &Carried) -> bool {
        let pairs = &mut *self.lock();
        let mut ledgers = pairs.all.iter_mut().map(|pair| &mut pair.ledger);
        ledgers.find(|ledger| ledger.has(place)).is_some_and(|ledger| ledger.renew(place, connection).unwrap_or(false))
    }

    fn keeps(&self, place: &Place) -> bool {
        if !place.is_kept() {
            self.confirm_all(&mut self.lock());
        }
        place.is_kept()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixStream};
    use std::sync::Arc;
    use std::thread;

    use bytes::Bytes;
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    use super::*;
    use crate::handover::adopt;
    use crate::handover::record::Standing;
    use crate::systemd::activation::Stored;

    /// Keeps what it is sent, so many descriptors at most, until the notifier is done.
    fn systemd(most: usize) -> (Notifier, Arc<Mutex<Vec<Stored>>>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let store = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&store);
        thread::spawn(move || {
            loop {
                let mut text = [0; 200];
                let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut ancillary = RecvAncillaryBuffer::new(&mut space);
                let mut data = [io::IoSliceMut::new(&mut text)];
                let length = recvmsg(&socket, &mut data, &mut ancillary, RecvFlags::empty()).unwrap().bytes;
                let text = String::from_utf8_lossy(&text[..length]).into_owned();
                let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).map(str::to_owned);
                for message in ancillary.drain() {
                    let RecvAncillaryMessage::ScmRights(descriptors) = message else { continue };
                    let mut kept = kept.lock().unwrap();
                    for (descriptor, name) in descriptors.zip(name.clone()) {
                        if kept.len() < most {
                            kept.push(Stored { name, descriptor });
                        }
                    }
                }
            }
        });
        (Notifier::to(path.into_os_string()), store, folder)
    }

    /// A connection whose other end can be told from all others.
    fn connection(index: usize, ahead: usize) -> (Carried, UnixStream) {
        let (socket, client) = UnixStream::pair().unwrap();
        let standing = if ahead > 0 { Standing::Head } else { Standing::Idle };
        let ahead = Bytes::from(vec![b'x'; ahead]);
        let (listener, requests) = (format!("listener-{}", index % 3).into(), index as u64);
        let since = Instant::now();
        (Carried { socket: socket.into(), standing, listener, peer: None, since, requests, ahead }, client)
    }

    fn open(notifier: &Notifier, size: Size, queue: usize) -> Deposit {
        let deposit = Deposit {
            notifier: notifier.clone(),
            generation: 5,
            size,
            queue,
            vacated_at_most: 100,
            pairs: Mutex::default(),
        };
        let deposit = deposit.begun().unwrap();
        deposit.confirm(Duration::from_secs(10)).unwrap();
        deposit
    }

    /// Carries connections across, and returns those that have come and those that have stayed.
    fn across(most: usize, size: Size, queue: usize, connections: Vec<Carried>) -> (Vec<Carried>, Vec<Carried>) {
        let (notifier, store, _folder) = systemd(most);
        let deposit = open(&notifier, size, queue);
        let stay = deposit.carry(connections);
        deposit.complete();
        drop(deposit);
        let stored: Vec<_> = store.lock().unwrap().drain(..).collect();
        let found = adopt::read(stored, usize::MAX);
        assert!(found.report.complete);
        assert_eq!((found.report.expected, found.report.generation), (found.connections.len(), Some(5)));
        (found.connections, stay)
    }

    fn some(number: usize, ahead: impl Fn(usize) -> usize) -> Vec<Carried> {
        (0..number).map(|index| connection(index, ahead(index)).0).collect()
    }

    #[test]
    fn what_does_not_fit_goes_into_the_next_pair() {
        let roomy = Size { slots: 10_000, spill: 1 << 20 };
        for (size, queue, ahead) in [
            (Size { slots: 300, ..roomy }, QUEUE, 0),    // slots end first
            (Size { spill: 5_000, ..roomy }, QUEUE, 50), // bytes read ahead do
            (roomy, 1, 0),                               // the queue does
        ] {
            let (mut came, stay) = across(64, size, queue, some(1000, |_| ahead));
            assert!(stay.is_empty());
            came.sort_by_key(|one| one.requests);
            for (index, one) in came.iter().enumerate() {
                assert_eq!((one.requests, one.ahead.len()), (index as u64, ahead));
                assert_eq!(*one.listener, *format!("listener-{}", index % 3));
            }
            assert_eq!(came.len(), 1000);
        }
    }

    #[test]
    fn what_systemd_does_not_keep_stays() {
        let (came, stay) = across(4, Size { slots: 100, spill: 100 }, QUEUE, some(250, |_| 0));
        assert_eq!((came.len(), stay.len()), (200, 50));
        let (notifier, _store, _folder) = systemd(1);
        let none = Deposit::begin(&notifier, 1).unwrap().confirm(Duration::from_secs(10));
        assert!(matches!(none, Err(DepositError::NotKept)), "{none:?}");
    }

    #[test]
    fn copies_that_do_not_fit_go_into_the_next_pair() {
        let roomy = Size { slots: 10_000, spill: 1 << 20 };
        let small = Size { slots: 100, ..roomy };
        // One by one, or many at a time; and how many of the pairs are kept.
        for (size, at_a_time, number, kept) in [(small, 64, 500, 8), (roomy, 1, 500, 8), (small, 64, 500, 2)] {
            let (notifier, store, _folder) = systemd(2 * kept);
            let deposit = open(&notifier, size, QUEUE);
            let copies = some(number, |_| 0);
            let places: Vec<_> = copies.chunks(at_a_time).flat_map(|copies| deposit.entrust(copies)).collect();
            let expected = number.min(kept * size.slots.min(200) as usize);
            // One that isn't kept takes copies until that is noticed.
            assert!((expected..=number).contains(&places.len()), "{}", places.len());
            let leave = places.iter().filter(|place| deposit.keeps(place)).count();
            drop(deposit);
            let found = adopt::read(store.lock().unwrap().drain(..).collect(), usize::MAX);
            assert_eq!((leave, found.connections.len()), (expected, expected));
        }
    }

    #[test]
    fn no_more_vaults_are_filled_with_copies_than_leave_room_for_others() {
        let (notifier, _store, _folder) = systemd(64);
        let deposit = open(&notifier, Size { slots: 10, spill: 1 << 20 }, QUEUE);
        assert_eq!(deposit.entrust(&some(100, |_| 0)).len(), 10 * PAIRS_OF_COPIES);
        assert!(deposit.carry(some(100, |_| 0)).is_empty());
    }

    #[test]
    fn what_is_withdrawn_is_forgotten() {
        let (notifier, _store, _folder) = systemd(64);
        let deposit = open(&notifier, SIZE, QUEUE);
        let mut places = deposit.entrust(&some(3, |_| 0));
        deposit.withdraw();
        assert!(deposit.entrust(&some(3, |_| 0)).is_empty());
        assert!(!deposit.renew(&mut places[0], &connection(0, 10).0));
        assert_eq!(deposit.carry(some(3, |_| 0)).len(), 3);
    }

    #[test]
    fn a_head_that_is_too_long_stays_alone() {
        let size = Size { slots: 100, spill: 1000 };
        let (came, stay) = across(64, size, QUEUE, some(40, |index| if index == 7 { 2000 } else { 100 }));
        assert_eq!((came.len(), stay.len()), (39, 1));
        assert_eq!(stay[0].requests, 7);
    }

    #[test]
    fn a_systemd_that_does_not_read_is_waited_for_no_longer_than_that() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _socket = UnixDatagram::bind(&path).unwrap();
        let began = Instant::now();
        let deposit = Deposit::begin(&Notifier::to(path.into_os_string()), 1).unwrap();
        let none = deposit.confirm(Duration::from_millis(200));
        assert!(matches!(none, Err(DepositError::Silent { .. })), "{none:?}");
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}
