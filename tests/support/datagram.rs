//! Datagrams of a Unix socket, with the descriptors that come with them.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::process::Pid;

/// Longer than any datagram that the default size of a socket's buffer lets through.
const LONGEST: usize = 256 * 1024;

/// One datagram.
pub struct Datagram {
    /// What it says.
    pub bytes: Vec<u8>,
    /// The process that sent it, if the socket was told to ask for that.
    pub sender: Option<Pid>,
    /// The descriptors that came with it.
    pub descriptors: Vec<OwnedFd>,
}

/// Receives one datagram. A socket that was shut down gives an empty one once all others have been read.
///
/// # Errors
///
/// Those of recvmsg(2).
pub fn receive(socket: &UnixDatagram) -> io::Result<Datagram> {
    let mut bytes = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253), ScmCredentials(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [io::IoSliceMut::new(&mut bytes)];
    let message = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(socket.as_fd(), &mut buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    let (mut sender, mut descriptors) = (None, Vec::new());
    for item in ancillary.drain() {
        match item {
            RecvAncillaryMessage::ScmRights(rights) => descriptors.extend(rights),
            RecvAncillaryMessage::ScmCredentials(credentials) => sender = Some(credentials.pid),
            _ => {}
        }
    }
    bytes.truncate(message.bytes);
    Ok(Datagram { bytes, sender, descriptors })
}
