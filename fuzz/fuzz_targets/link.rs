//! What comes over the link between a process and its successor: the input is one message, after a byte that says how
//! many descriptors come with it. Nothing may panic, and no descriptor may be left behind.

#![no_main]

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _};

use libfuzzer_sys::fuzz_target;
use outlive::handover::link::{self, Message};
use outlive::handover::passage;
use rustix::fs::MemfdFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

fuzz_target!(|input: &[u8]| {
    let [number, bytes @ ..] = input else { return };
    let lowest_free = || link::pair().unwrap().0.as_raw_fd();
    let before = lowest_free();
    {
        let (here, there) = link::pair().unwrap();
        let file = rustix::fs::memfd_create("ahead", MemfdFlags::CLOEXEC).unwrap();
        rustix::io::pwrite(&file, &[b'x'; 10_000], 0).unwrap();
        let descriptors = [here.as_fd(), file.as_fd(), there.as_fd()];
        let descriptors = &descriptors[..usize::from(number % 4)];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(descriptors.is_empty() || ancillary.push(SendAncillaryMessage::ScmRights(descriptors)));
        if rustix::net::sendmsg(&here, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::DONTWAIT).is_ok()
            && let Ok(Some((message, descriptors))) = link::receive(there.as_fd())
        {
            match message {
                Message::Connection(bytes) => drop(passage::arrive(&bytes, descriptors)),
                // What is understood means the same once it is said again.
                message => {
                    link::send(here.as_fd(), &message, &[]).unwrap();
                    let (again, _) = link::receive(there.as_fd()).unwrap().unwrap();
                    if !matches!(message, Message::Unknown(_) | Message::Failed(_)) {
                        assert_eq!(again, message);
                    }
                }
            }
        }
    }
    assert_eq!(lowest_free(), before);
});
