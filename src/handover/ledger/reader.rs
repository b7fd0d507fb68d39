//! Reading a ledger that another process has written, and of which nothing is believed.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::FileType;
use rustix::io::{pread, retry_on_intr};

use super::{MAGIC, NAMES_AT, NAMES_AT_MOST, SLOT, SLOTS_AT, VERSION};
use crate::handover::record::{self, Ahead};

/// Slots that any ledger may have, whoever wrote it.
const SLOTS_AT_MOST: u32 = 1 << 20;

/// Bytes read ahead that are read from any ledger, whoever wrote it.
const SPILL_AT_MOST: u64 = 64 << 20;

/// A file that can't be read as a ledger.
#[derive(Debug, thiserror::Error)]
pub(in crate::handover) enum LedgerError {
    /// It can't be read at all.
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It is something else.
    #[error("it is no ledger")]
    Strange,
    /// Another version has written it.
    #[error("its format is version {0}, and this process knows version {VERSION} only")]
    Version(u16),
}

/// A ledger that another process has written.
#[derive(Debug)]
pub(in crate::handover) struct Reader {
    file: OwnedFd,
    pub(in crate::handover) generation: u64,
    /// How many connections its writer says that it has deposited.
    pub(in crate::handover) deposited: u32,
    pub(in crate::handover) complete: bool,
    slots: u32,
    names: Vec<Arc<str>>,
    /// Bytes read ahead that may yet be read: records that share them would take up any amount of memory.
    spill_left: u64,
}

impl Reader {
    pub(in crate::handover) fn open(file: OwnedFd) -> Result<Self, LedgerError> {
        let status = rustix::fs::fstat(&file).map_err(io::Error::from)?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Err(LedgerError::Strange);
        }
        let mut header = [0; NAMES_AT as usize];
        read(&file, &mut header, 0)?;
        let field = |at: usize| u32::from_le_bytes(std::array::from_fn(|index| header[at + index]));
        let version = u16::from_le_bytes([header[8], header[9]]);
        if &header[..8] != MAGIC {
            return Err(LedgerError::Strange);
        }
        if version != VERSION {
            return Err(LedgerError::Version(version));
        }
        let generation = u64::from_le_bytes(std::array::from_fn(|index| header[16 + index]));
        let mut names = vec![0; (field(28) as usize).min(NAMES_AT_MOST)];
        read(&file, &mut names, NAMES_AT)?;
        Ok(Self {
            file,
            generation,
            deposited: field(12),
            complete: header[10] == 1,
            slots: field(24).min(SLOTS_AT_MOST),
            names: parse_names(&names),
            spill_left: SPILL_AT_MOST,
        })
    }

    /// The bytes of a slot's record; `None` if there is no such slot.
    pub(in crate::handover) fn slots(&self, first: u32, number: usize) -> Vec<[u8; record::SIZE]> {
        let number = number.min(self.slots.saturating_sub(first) as usize);
        let mut bytes = vec![0; number * record::SIZE];
        if read(&self.file, &mut bytes, SLOTS_AT + u64::from(first) * SLOT).is_err() {
            return Vec::new();
        }
        bytes.chunks_exact(record::SIZE).filter_map(|slot| slot.try_into().ok()).collect()
    }

    /// The name of a listener.
    pub(in crate::handover) fn listener(&self, index: u16) -> Option<&Arc<str>> {
        self.names.get(usize::from(index))
    }

    /// Bytes that were read ahead.
    pub(in crate::handover) fn ahead(&mut self, ahead: Ahead) -> Option<Bytes> {
        self.spill_left = self.spill_left.checked_sub(u64::from(ahead.length))?;
        let mut bytes = vec![0; ahead.length as usize];
        read(&self.file, &mut bytes, ahead.at).ok()?;
        Some(bytes.into())
    }
}

/// Reads names until there are no more, or one is broken: those before it are good.
fn parse_names(mut table: &[u8]) -> Vec<Arc<str>> {
    let mut names = Vec::new();
    while let Some((length, rest)) = table.split_first_chunk()
        && let Some((name, rest)) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))
        && let Ok(name) = std::str::from_utf8(name)
    {
        names.push(name.into());
        table = rest;
    }
    names
}

fn read(file: &OwnedFd, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let read = retry_on_intr(|| pread(file, &mut *bytes, at))?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes = &mut bytes[read..];
        at = at.checked_add(read as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
    }
    Ok(())
}
