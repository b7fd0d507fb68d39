//! What a start finds in the descriptor store: names, a ledger, and a vault full of messages.
//!
//! The ledger begins as a good one with four records. The input is a list of changes, each with its kind, its length and
//! its bytes: to the ledger's header or names, to its slots, a message in the vault, or other names for both. However it
//! comes out, nothing may panic, no descriptor may be left behind, and no more may be adopted than was sent.

#![no_main]

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use outlive::handover::adopt;
use outlive::handover::record::{Ahead, Moment, Protocol, Record, Standing};
use outlive::systemd::activation::Stored;
use rustix::fs::MemfdFlags;
use rustix::io::pwrite;
use rustix::net::{AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType};

const NAMES: u64 = 64;
const SLOTS: u64 = 65_536;
const SLOT: u64 = 64;
const RECORDS: u32 = 4;

fn ledger() -> OwnedFd {
    let file = rustix::fs::memfd_create("ledger", MemfdFlags::CLOEXEC).unwrap();
    let spill = SLOTS + u64::from(RECORDS) * SLOT;
    pwrite(&file, b"GET / HTTP/1.1\r\n", spill).unwrap();
    pwrite(
        &file,
        b"OUTLIVE\n\x01\x00\x01\x00\x04\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x06\x00\x00\x00",
        0,
    )
    .unwrap();
    pwrite(&file, b"\x04\x00http", NAMES).unwrap();
    for index in 0..RECORDS {
        let (standing, length) = match index {
            0 => (Standing::Fresh, 0),
            1 => (Standing::Head, 16),
            _ => (Standing::Idle, 0),
        };
        let record = Record {
            standing,
            protocol: Protocol::Http1,
            listener: 0,
            peer: Some("127.0.0.1:80".parse().unwrap()),
            since: Moment::from(Instant::now()),
            requests: index.into(),
            ahead: Ahead { at: spill, length },
        };
        pwrite(&file, &record.encode(), SLOTS + u64::from(index) * SLOT).unwrap();
    }
    file
}

fn send(vault: &OwnedFd, bytes: &[u8], number: usize) {
    let (socket, _) = pair(SocketType::STREAM);
    let sockets = vec![socket.as_fd(); number];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if number > 0 {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&sockets)));
    }
    let _ = rustix::net::sendmsg(vault, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::DONTWAIT);
}

fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
    rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
}

/// The lowest number that is free: the same before and after if nothing was left behind.
fn lowest_free() -> i32 {
    use std::os::fd::AsRawFd as _;
    pair(SocketType::STREAM).0.as_raw_fd()
}

fuzz_target!(|input: &[u8]| {
    let before = lowest_free();
    {
        let ledger = ledger();
        let (vault, kept) = pair(SocketType::SEQPACKET);
        let mut names = ["outlive-ledger-7-0".to_owned(), "outlive-vault-7-0".to_owned()];
        let mut sent = 4;
        send(&vault, &[0, 0, 0, 0, 4, 0, 0, 0], sent);
        let mut rest = input;
        while let [kind, length, more @ ..] = rest {
            let (change, after) = more.split_at(usize::from(*length).min(more.len()));
            rest = after;
            match (kind % 5, change) {
                (0, [at, bytes @ ..]) => drop(pwrite(&ledger, bytes, u64::from(*at))),
                (1, [at, bytes @ ..]) => drop(pwrite(&ledger, bytes, SLOTS + u64::from(*at))),
                (2, [number, bytes @ ..]) => {
                    let number = usize::from(number % 9);
                    sent += number;
                    send(&vault, bytes, number);
                }
                (3, name) => names[0] = String::from_utf8_lossy(name).into_owned(),
                (4, name) => names[1] = String::from_utf8_lossy(name).into_owned(),
                _ => {}
            }
        }
        let [ledger_name, vault_name] = names;
        let stored =
            vec![Stored { name: ledger_name, descriptor: ledger }, Stored { name: vault_name, descriptor: kept }];
        let _ = adopt::former_generation(&stored);
        adopt::make_room(&stored, 64);
        let found = adopt::read(stored, 100);
        assert!(found.connections.len() <= sent);
        assert!(found.report.unreadable + found.report.busy + found.connections.len() <= sent);
    }
    assert_eq!(lowest_free(), before);
});
