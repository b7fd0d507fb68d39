//! Out: connections leave by way of systemd's descriptor store, for the process that a restart starts.
//!
//! systemd keeps the ledger and the receiving end of the vault. It acknowledges nothing, and it keeps nothing where the
//! unit's `FileDescriptorStoreMax=` doesn't let it. So a barrier is awaited, this process's own copy is closed, and a
//! look at the sending end then tells whether anyone holds the other one: only then is anything entrusted to it.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::ledger::{Ledger, Size};
use super::vault::{BATCH, Refused, Vault};
use super::{Carried, Carrier, ledger_name, vault_name};
use crate::journal::{self, Event};
use crate::systemd::notify::Notifier;

/// What one ledger has room for: as much as one vault, and read-ahead bytes for heads by the ten thousand.
const SIZE: Size = Size { slots: 65_536, spill: 32 << 20 };

/// How long systemd may take to keep one more vault while connections wait for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why connections can't leave by way of the store.
#[derive(Debug, thiserror::Error)]
pub enum DepositError {
    /// There is no systemd.
    #[error("no service manager listens (NOTIFY_SOCKET)")]
    NoManager,
    /// It has kept nothing.
    #[error("systemd has not kept the vault: raise FileDescriptorStoreMax= of the unit")]
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

/// Connections on their way through systemd's store.
#[derive(Debug)]
pub struct Deposit {
    notifier: Notifier,
    generation: u64,
    size: Size,
    pairs: Mutex<Pairs>,
}

#[derive(Debug, Default)]
struct Pairs {
    /// The last one is being filled.
    pairs: Vec<(Vault, Ledger)>,
}

impl Deposit {
    /// Has systemd keep a vault and its ledger. Blocks until it is known to have done so, or `limit` is over.
    ///
    /// # Errors
    ///
    /// When there is no systemd that keeps anything.
    pub fn open(notifier: &Notifier, generation: u64, limit: Duration) -> Result<Self, DepositError> {
        Self::with_size(notifier, generation, limit, SIZE)
    }

    fn with_size(notifier: &Notifier, generation: u64, limit: Duration, size: Size) -> Result<Self, DepositError> {
        if !notifier.enabled() {
            return Err(DepositError::NoManager);
        }
        let deposit = Self { notifier: notifier.clone(), generation, size, pairs: Mutex::default() };
        deposit.open_next(&mut deposit.lock(), limit)?;
        Ok(deposit)
    }

    fn lock(&self) -> MutexGuard<'_, Pairs> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_next(&self, pairs: &mut Pairs, limit: Duration) -> Result<(), DepositError> {
        let number = pairs.pairs.len();
        let ledger = Ledger::create(self.generation, self.size)?;
        let (vault, kept) = Vault::new()?;
        // In this order: where a vault is, there is its ledger.
        self.notifier.store(&ledger_name(self.generation, number), ledger.duplicate()?);
        self.notifier.store(&vault_name(self.generation, number), kept);
        let began = Instant::now();
        if !self.notifier.barrier()?.wait(limit) {
            return Err(DepositError::Silent { waited: began.elapsed() });
        }
        if !vault.is_kept() {
            return Err(DepositError::NotKept);
        }
        pairs.pairs.push((vault, ledger));
        Ok(())
    }

    /// Deposits one batch, or the beginning of it; returns how many.
    fn deposit(&self, pairs: &mut Pairs, batch: &[Carried]) -> Result<usize, DepositError> {
        loop {
            let Some((vault, ledger)) = pairs.pairs.last_mut() else { return Err(DepositError::NotKept) };
            let entered = ledger.enter(batch)?;
            if entered.number > 0 {
                let sockets: Vec<_> = batch[..entered.number].iter().map(|one| one.socket.as_fd()).collect();
                match vault.send(entered.first, &sockets) {
                    Ok(()) => {
                        ledger.deposited(entered)?;
                        return Ok(entered.number);
                    }
                    Err(Refused::Full) => {}
                    Err(Refused::InFlight) => return Err(DepositError::InFlight),
                    Err(Refused::Other(error)) => return Err(io::Error::from(error).into()),
                }
            } else if ledger.is_empty() {
                return Err(DepositError::TooLong { bytes: batch.first().map_or(0, |one| one.ahead.len()) });
            }
            ledger.complete()?;
            self.open_next(pairs, PATIENCE)?;
        }
    }

    /// Marks what was deposited as complete: nothing will be added.
    pub fn complete(&self) {
        if let Some((_, ledger)) = self.lock().pairs.last() {
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
