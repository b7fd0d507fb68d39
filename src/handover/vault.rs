//! A vault: a Unix socketpair whose queue holds descriptors.
//!
//! A message is one batch: 8 bytes that say in which slots of the ledger the records are, and up to 253 descriptors. As
//! long as anyone holds the receiving end, the queue and all in it live on, whatever becomes of the process that sent
//! them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::sockopt::{set_socket_send_buffer_size, set_socket_send_buffer_size_force, socket_type};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Most descriptors that the kernel takes in one message: SCM_MAX_FD of unix(7).
pub(super) const BATCH: usize = 253;

/// Bytes of queue to ask for. The kernel grants no more than `net.core.wmem_max`, which by default is enough for some
/// hundreds of messages, or fifty thousand connections and more in full batches.
pub(super) const QUEUE: usize = 8 << 20;

const HEADER: usize = 8;

/// The sending end.
#[derive(Debug)]
pub(super) struct Vault(OwnedFd);

/// Why a batch could not be deposited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The queue is full: the next vault has room.
    Full,
    /// More descriptors are on their way between processes than the limit of open ones allows (ETOOMANYREFS).
    InFlight,
    /// Something else.
    Other(Errno),
}

impl Vault {
    /// A vault, and the end that is to be kept.
    pub(super) fn new(queue: usize) -> io::Result<(Self, OwnedFd)> {
        let (out, kept) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
        if set_socket_send_buffer_size_force(&out, queue).is_err() {
            let _ = set_socket_send_buffer_size(&out, queue); // smaller is no harm
        }
        Ok((Self(out), kept))
    }

    /// Whether anyone holds the other end.
    pub(super) fn is_kept(&self) -> bool {
        let mut out = [PollFd::new(&self.0, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        retry_on_intr(|| poll(&mut out, Some(&now))).is_ok() && !out[0].revents().contains(PollFlags::HUP)
    }

    /// Deposits descriptors whose records are in the slots from `first` on.
    pub(super) fn send(&self, first: u32, descriptors: &[BorrowedFd<'_>]) -> Result<(), Refused> {
        let number = u32::try_from(descriptors.len()).unwrap_or(u32::MAX);
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&first.to_le_bytes());
        header[4..].copy_from_slice(&number.to_le_bytes());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(Refused::Other(Errno::INVAL));
        }
        let data = [IoSlice::new(&header)];
        match retry_on_intr(|| sendmsg(&self.0, &data, &mut ancillary, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)) {
            Ok(_) => Ok(()),
            Err(Errno::AGAIN | Errno::NOBUFS) => Err(Refused::Full),
            Err(Errno::TOOMANYREFS) => Err(Refused::InFlight),
            Err(other) => Err(Refused::Other(other)),
        }
    }
}

/// The receiving end, from a process of which nothing is believed.
#[derive(Debug)]
pub(super) struct Opened(OwnedFd);

/// A batch.
#[derive(Debug)]
pub(super) struct Batch {
    /// The first slot; `None` if the message isn't a vault's.
    pub(super) first: Option<u32>,
    pub(super) descriptors: Vec<OwnedFd>,
}

impl Opened {
    /// `None` if it is anything but a vault's end.
    pub(super) fn new(kept: OwnedFd) -> Option<Self> {
        (socket_type(&kept).ok()? == SocketType::SEQPACKET).then_some(Self(kept))
    }

    /// The next batch; `None` at the end. When this process may not have as many descriptors as there are in the batch,
    /// the kernel closes those that are too many.
    pub(super) fn receive(&self) -> Option<Batch> {
        let mut header = [0; HEADER + 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = {
            let mut data = [IoSliceMut::new(&mut header)];
            retry_on_intr(|| recvmsg(self.0.as_fd(), &mut data, &mut ancillary, flags)).ok()?
        };
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received.bytes == 0 && descriptors.is_empty() {
            return None;
        }
        let [a, b, c, d, ..] = header;
        let whole = received.bytes == HEADER && !received.flags.contains(ReturnFlags::TRUNC);
        Some(Batch { first: whole.then(|| u32::from_le_bytes([a, b, c, d])), descriptors })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn null() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn batches_outlive_the_sender() {
        let (vault, kept) = Vault::new(QUEUE).unwrap();
        let null = null();
        vault.send(5, &vec![null.as_fd(); BATCH]).unwrap();
        vault.send(300, &[null.as_fd()]).unwrap();
        drop(vault);
        let opened = Opened::new(kept).unwrap();
        let first = opened.receive().unwrap();
        assert_eq!((first.first, first.descriptors.len()), (Some(5), BATCH));
        assert_eq!(opened.receive().unwrap().first, Some(300));
        assert!(opened.receive().is_none());
    }

    #[test]
    fn it_is_known_whether_the_other_end_is_kept() {
        let (vault, kept) = Vault::new(QUEUE).unwrap();
        assert!(vault.is_kept());
        drop(kept);
        assert!(!vault.is_kept());
        assert_eq!(vault.send(0, &[null().as_fd()]), Err(Refused::Other(Errno::PIPE)));
    }

    #[test]
    fn a_full_queue_is_told() {
        let (vault, kept) = Vault::new(1).unwrap();
        let null = null();
        let mut sent = 0;
        while vault.send(sent, &[null.as_fd()]).is_ok() {
            sent += 1;
        }
        assert_eq!(vault.send(sent, &[null.as_fd()]), Err(Refused::Full));
        let opened = Opened::new(kept).unwrap();
        assert_eq!(std::iter::from_fn(|| opened.receive()).count(), sent as usize);
    }

    /// What `net.core.wmem_max` is unless an administrator has raised it.
    #[test]
    fn fifty_thousand_connections_fit_into_one_by_default() {
        let (vault, _kept) = Vault::new(212_992).unwrap();
        let null = null();
        let batch = vec![null.as_fd(); BATCH];
        let mut sent = 0;
        let refused = loop {
            match vault.send(sent, &batch) {
                Ok(()) => sent += BATCH as u32,
                Err(refused) => break refused,
            }
        };
        println!("{sent}");
        // Without privileges the limit of open files comes first.
        assert!(sent >= 50_000 || refused == Refused::InFlight, "{sent}: {refused:?}");
    }

    #[test]
    fn what_is_no_vault_is_told_apart() {
        assert!(Opened::new(null()).is_none());
        let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(Opened::new(stream.into()).is_none());
    }

    #[test]
    fn messages_of_others_are_seen_for_what_they_are() {
        let (vault, kept) = Vault::new(QUEUE).unwrap();
        for message in [&b"x"[..], &[0; 9], &[0; 5000]] {
            rustix::net::send(&vault.0, message, SendFlags::empty()).unwrap();
        }
        let opened = Opened::new(kept).unwrap();
        for _ in 0..3 {
            let batch = opened.receive().unwrap();
            assert!(batch.first.is_none() && batch.descriptors.is_empty());
        }
        assert!(opened.receive().is_none());
    }
}
