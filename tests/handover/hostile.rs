//! What a hostile or a broken writer has left in the store.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::pwrite;

use crate::client::Client;
use crate::support::fake_systemd::FakeSystemd;
use crate::support::service::Service;
use crate::support::wait::{SOON, until};
use crate::{CONFIG, adopted, end, systemd};

/// Where a ledger's slots begin, how large they are, and where in one the version, the standing and so on are.
const SLOTS: u64 = 65_536;
const SLOT: u64 = 64;

/// Leaves so many idle connections in the store.
fn leave(systemd: &FakeSystemd, number: usize) -> Vec<Client> {
    let mut service = systemd.start(CONFIG);
    let mut clients: Vec<_> = (0..number).map(|_| Client::tcp(systemd.http())).collect();
    clients.iter_mut().for_each(|client| drop(client.get("/live?live")));
    end(&mut service);
    clients
}

/// Starts the next process, which must serve whatever it has found.
#[track_caller]
fn serves(systemd: &FakeSystemd) -> Service {
    let service = systemd.start(CONFIG);
    assert!(Client::tcp(systemd.http()).get("/live?live").generation() > 1, "{}", service.story());
    service
}

/// How many descriptors a service holds; those of questions to systemd come and go.
fn descriptors(service: &Service) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", service.pid())).unwrap().count()
}

/// Writes into the ledger that is kept.
fn scribble(systemd: &FakeSystemd, at: u64, bytes: &[u8]) {
    let kept = systemd.store.duplicates();
    let (_, ledger) = kept.iter().find(|(name, _)| name.contains("ledger")).unwrap();
    pwrite(ledger, bytes, at).unwrap();
}

#[test]
fn another_version_of_the_records() {
    let systemd = systemd();
    let mut clients = leave(&systemd, 5);
    // As the next version would write two of them, and the one after that another.
    scribble(&systemd, SLOTS, &[2, 0]);
    scribble(&systemd, SLOTS + SLOT, &[2, 0]);
    scribble(&systemd, SLOTS + 2 * SLOT, &[0x2c, 1]);
    let service = serves(&systemd);
    let said = adopted(&service);
    assert!(said.contains("Adopted 2 of 5") && said.contains("3 in a format that this version can't read"), "{said}");
    let whole = clients.iter_mut().filter_map(|client| client.try_get("/live?live").ok());
    assert_eq!(whole.count(), 2);
}

#[test]
fn another_version_of_the_ledger() {
    let systemd = systemd();
    let mut clients = leave(&systemd, 5);
    scribble(&systemd, 8, &[2, 0]);
    let service = serves(&systemd);
    let said = adopted(&service);
    assert!(said.contains("Adopted 0 of 5") && said.contains("5 in a format that this version can't read"), "{said}");
    clients.iter_mut().for_each(Client::assert_closed);
}

#[test]
fn references_that_lead_nowhere() {
    let systemd = systemd();
    drop(leave(&systemd, 5));
    scribble(&systemd, SLOTS + 4, &[9, 9]); // no such listener
    scribble(&systemd, SLOTS + SLOT + 2, &[77]); // no such standing
    scribble(&systemd, SLOTS + 2 * SLOT + 3, &[77]); // no such protocol
    scribble(&systemd, SLOTS + 3 * SLOT + 6, &[77]); // no such kind of address
    let far = [&u64::MAX.to_le_bytes()[..], &1u32.to_le_bytes()].concat();
    scribble(&systemd, SLOTS + 4 * SLOT + 48, &far); // bytes beyond the end
    scribble(&systemd, SLOTS + 4 * SLOT + 2, &[3]);
    let service = serves(&systemd);
    let said = adopted(&service);
    assert!(said.contains("Adopted 0 of 5") && said.contains("5 in a format"), "{said}");
}

#[test]
fn things_that_are_no_vaults_and_no_ledgers() {
    let systemd = systemd();
    // What a start looks like without any.
    drop(leave(&systemd, 0));
    let mut plain = serves(&systemd);
    let baseline = descriptors(&plain);
    end(&mut plain);
    drop(systemd.store.take());

    let (pipe, _writer) = rustix::pipe::pipe().unwrap();
    let (stream, _peer) = UnixStream::pair().unwrap();
    let file = || -> OwnedFd { File::open("/etc/passwd").unwrap().into() };
    systemd.store.put("outlive-vault-1-0", file());
    systemd.store.put("outlive-ledger-1-0", pipe);
    systemd.store.put("outlive-vault-1-1", stream.into());
    systemd.store.put("outlive-ledger-1-1", File::open("/dev/zero").unwrap().into());
    systemd.store.put("outlive-vault-", file());
    systemd.store.put("outlive-ledger-x-y", file());
    systemd.store.put("outlive-vault-99999999999999999999999-1", file());
    systemd.store.put("outlive-vault-7-7", file());
    systemd.store.put("outlive-vault-7-7", file());
    let service = serves(&systemd);
    service.wait_until("the store to be empty", |_| systemd.store.names().is_empty().then_some(()));
    until(SOON, "no more descriptors than without them", || match descriptors(&service) {
        now if now <= baseline => Ok(()),
        more => Err(format!("{more} instead of {baseline}")),
    });
}

/// The other end of the vault is held by somebody who goes on sending.
#[test]
fn a_vault_that_never_ends() {
    use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, socketpair};
    let systemd = systemd();
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    systemd.store.put("outlive-vault-1-0", theirs);
    std::thread::spawn(move || while rustix::net::send(ours.as_fd(), &[0; 8], SendFlags::NOSIGNAL).is_ok() {});
    serves_first(&systemd);
}

#[track_caller]
fn serves_first(systemd: &FakeSystemd) {
    let service = systemd.start(CONFIG);
    assert_eq!(Client::tcp(systemd.http()).get("/live?live").generation(), 1, "{}", service.story());
}

/// Any bytes in the ledger: nothing but wrong numbers, and connections that are closed, may come of it.
#[test]
fn any_bytes() {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};
    let places = prop_oneof![0..64u64, 64..128u64, SLOTS..SLOTS + 10 * SLOT];
    let scribbles = prop::collection::vec((places, prop::collection::vec(any::<u8>(), 1..40)), 1..12);
    let mut runner = TestRunner::new(Config { cases: 8, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&scribbles, |scribbles| {
        let systemd = systemd();
        drop(leave(&systemd, 10));
        for (at, bytes) in &scribbles {
            scribble(&systemd, *at, bytes);
        }
        let mut service = serves(&systemd);
        end(&mut service);
        Ok(())
    });
    ran.unwrap();
}

/// Records like any other, and descriptors that are no clients.
#[test]
fn descriptors_that_are_no_clients() {
    use rustix::net::{
        AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg,
        socketpair,
    };
    let systemd = systemd();
    drop(leave(&systemd, 5));
    let kept = systemd.store.take();
    let (_, ledger) = kept.into_iter().find(|(name, _)| name.contains("ledger")).unwrap();
    let (ours, vault) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let (pipe, _writer) = rustix::pipe::pipe().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let folder = File::open("/").unwrap();
    let all = [folder.as_fd(), pipe.as_fd(), listener.as_fd(), datagrams.as_fd(), vault.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(5))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&all)));
    sendmsg(&ours, &[std::io::IoSlice::new(&[0, 0, 0, 0, 5, 0, 0, 0])], &mut ancillary, SendFlags::empty()).unwrap();
    systemd.store.put("outlive-ledger-1-0", ledger);
    systemd.store.put("outlive-vault-1-0", vault.try_clone().unwrap());
    let service = serves(&systemd);
    let said = adopted(&service);
    assert!(said.contains("of 5 connections"), "{said}");
}
