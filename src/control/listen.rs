//! The listeners: those that systemd has passed, and those that are bound because it has not.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::address::Address;
use super::error::Error as StartError;
use crate::server::listener::Listener;
use crate::systemd::activation::{Passed, Socket};

/// Opens all listeners.
///
/// A passed socket stands for a configured one by its name, or else by its address: whoever passes a socket without a
/// `FileDescriptorName=` doesn't want its address to be bound once more, which would fail.
///
/// `inherited` are the names of those among them that the process before has bound itself: they are kept only where the
/// configuration still wants them.
pub(super) fn listen(
    wanted: &BTreeMap<String, Address>,
    passed: Vec<Passed>,
    inherited: &[String],
) -> Result<Listeners, StartError> {
    let mut listeners = Vec::new();
    let mut bound = Vec::new();
    for mut passed in passed {
        if inherited.contains(&passed.name) {
            let Some(name) = still_wanted(wanted, &passed) else { continue };
            passed.name.clone_from(&name);
            bound.push(name);
        }
        let name = passed.name.clone();
        listeners.push(Listener::passed(passed).map_err(|error| {
            StartError::Passed(format!("cannot use the socket named {name:?} that systemd has passed: {error}"))
        })?);
    }
    for (name, address) in wanted {
        let text = address.to_string();
        if listeners.iter().any(|one| *one.name == **name || one.address == text) {
            continue;
        }
        let opened = match address {
            Address::Tcp(address) => Listener::tcp(name, *address),
            Address::Unix(path) => Listener::unix(name, path),
        };
        bound.push(name.clone());
        listeners.push(opened.and_then(Listener::with_full_backlog).map_err(|error| {
            let cure = cure(name, address, &error, &listeners);
            StartError::Bind { name: name.clone(), address: address.clone(), error, cure }
        })?);
    }
    if listeners.is_empty() { Err(StartError::NothingToListenOn) } else { Ok(Listeners { all: listeners, bound }) }
}

/// What a listener that the process before has bound is called now; `None` if it isn't wanted any more.
fn still_wanted(wanted: &BTreeMap<String, Address>, passed: &Passed) -> Option<String> {
    let wants = |address: &Address| match (address, &passed.socket) {
        (Address::Tcp(wanted), Socket::Tcp(socket)) => socket.local_addr().is_ok_and(|open| {
            // Port 0: the kernel chose one for the process before, and that is as good as another.
            wanted.ip() == open.ip() && (wanted.port() == open.port() || wanted.port() == 0)
        }),
        (Address::Unix(wanted), Socket::Unix(socket)) => {
            socket.local_addr().is_ok_and(|open| open.as_pathname() == Some(wanted))
        }
        _ => false,
    };
    let under = |name: &str| wanted.get(name).filter(|address| wants(address));
    if under(&passed.name).is_some() {
        return Some(passed.name.clone());
    }
    // The section may have another name now; the address can't be bound a second time.
    let port_zero = |name: &str| matches!(under(name), Some(Address::Tcp(address)) if address.port() == 0);
    wanted.keys().find(|name| under(name).is_some() && !port_zero(name)).cloned()
}

/// All listeners.
pub(super) struct Listeners {
    pub(super) all: Vec<Listener>,
    /// The names of those that are bound because systemd has passed none.
    pub(super) bound: Vec<String>,
}

fn cure(name: &str, address: &Address, error: &Error, open: &[Listener]) -> String {
    let words = match (error.kind(), address) {
        (ErrorKind::AddrInUse, address) => return cure_of_taken(name, address, open),
        (ErrorKind::PermissionDenied, Address::Tcp(_)) => {
            "let systemd open the port: ListenStream= in a socket unit needs no privilege here"
        }
        (ErrorKind::PermissionDenied | ErrorKind::NotFound | ErrorKind::ReadOnlyFilesystem, Address::Unix(_)) => {
            "choose a path in a folder that this process may write to (RuntimeDirectory= of the unit makes one), or let \
             systemd open the socket with ListenStream= in a socket unit"
        }
        (ErrorKind::AddrNotAvailable, _) => "this host doesn't have that address: ip address shows those that it has",
        _ => "choose another address, or let systemd open it with ListenStream= in a socket unit",
    };
    words.to_owned()
}

fn cure_of_taken(name: &str, address: &Address, open: &[Listener]) -> String {
    if let Some(listener) = open.iter().find(|listener| overlaps(&listener.address, address)) {
        // FileDescriptorName= was forgotten: its default is the name of the socket unit.
        let (theirs, its_name) = (&listener.address, &listener.name);
        return format!(
            "systemd has passed a socket on {theirs}, but its name is {its_name:?}: set FileDescriptorName={name} in \
             its .socket unit"
        );
    }
    let words = match address {
        Address::Tcp(_) => "another process listens there (ss -ltnp shows which): stop it, or choose another port",
        Address::Unix(path) if is_socket(path) => {
            "another process listens there (ss -lxp shows which): stop it, or choose another path"
        }
        Address::Unix(_) => "a file that is no socket is there: remove it, or choose another path",
    };
    words.to_owned()
}

/// Whether a listener at `theirs` keeps another one from `ours`.
fn overlaps(theirs: &str, ours: &Address) -> bool {
    match (theirs.parse::<std::net::SocketAddr>(), ours) {
        (Ok(theirs), Address::Tcp(ours)) => {
            let anywhere = theirs.ip().is_unspecified() || ours.ip().is_unspecified();
            theirs.port() == ours.port() && (anywhere || theirs.ip() == ours.ip())
        }
        _ => theirs == ours.to_string(),
    }
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}
