//! A vault and its ledger, as they are being filled.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::DepositError;
use crate::handover::Carried;
use crate::handover::ledger::{Entered, Ledger, Size};
use crate::handover::vault::{QUEUE, Refused, Vault};

#[derive(Debug)]
pub(super) struct Pair {
    pub(super) names: [String; 2],
    vault: Vault,
    pub(super) ledger: Ledger,
    /// Messages with copies in its queue.
    pub(super) copies: usize,
}

/// What became of a batch.
pub(super) enum Added {
    /// It, or its beginning, is in the vault.
    All(Entered),
    /// Its first connection has no room in any pair.
    TooLong,
    /// It has none in this pair.
    NoRoom,
}

impl Pair {
    /// A pair, and the two ends that are to be kept under its names.
    pub(super) fn new(
        names: [String; 2],
        generation: u64,
        size: Size,
        queue: usize,
    ) -> io::Result<(Self, [OwnedFd; 2])> {
        let ledger = Ledger::create(generation, size)?;
        let (vault, kept) = Vault::new(queue)?;
        let ends = [ledger.duplicate()?, kept];
        Ok((Self { names, vault, ledger, copies: 0 }, ends))
    }

    pub(super) fn add(&mut self, batch: &[Carried]) -> Result<Added, DepositError> {
        let entered = self.ledger.enter(batch)?;
        if entered.number == 0 {
            return Ok(if self.ledger.is_empty() { Added::TooLong } else { Added::NoRoom });
        }
        let sockets: Vec<_> = batch[..entered.number].iter().map(|one| one.socket.as_fd()).collect();
        match self.vault.send(entered.first, &sockets) {
            Ok(()) => {
                self.ledger.deposited(entered)?;
                Ok(Added::All(entered))
            }
            Err(Refused::Full) => Ok(Added::NoRoom),
            Err(Refused::InFlight) => Err(DepositError::InFlight),
            Err(Refused::Other(error)) => Err(io::Error::from(error).into()),
        }
    }

    /// To be called once systemd has read that it is to keep the pair.
    pub(super) fn look_whether_kept(&self) -> Result<(), DepositError> {
        if self.vault.is_kept() {
            self.ledger.set_kept();
            return Ok(());
        }
        // systemd may never have got it.
        Err(if may_send()? { DepositError::NotKept } else { DepositError::InFlight })
    }
}

/// Whether the kernel lets this process send any descriptor at all.
fn may_send() -> io::Result<bool> {
    let (probe, other) = Vault::new(QUEUE)?;
    Ok(!matches!(probe.send(0, &[other.as_fd()]), Err(Refused::InFlight)))
}
