//! What is passed and cannot be served on: the whole message, and that systemd gets to know it.

use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use crate::CONFIG;
use crate::support::fake_systemd::{FakeSystemd, Launch};

const STREAM_NOT_DATAGRAM: &str = "use ListenStream= in the .socket unit, not ListenDatagram=";

/// Starts it, and compares why it doesn't start.
#[track_caller]
fn refuses(launch: Launch<'_>, reason: &str) {
    let mut service = launch.spawn();
    assert_eq!(service.wait_for_exit().code(), Some(1), "{}", service.story());
    let lines = service.notifications(|sent| sent.iter().map(|message| message.lines.clone()).collect::<Vec<_>>());
    assert_eq!(lines, [[format!("STATUS=Cannot start: {reason}"), "ERRNO=22".to_owned()]]);
    assert_eq!(service.said(), format!("error: {reason}"), "it is said once");
}

fn refuses_descriptor(descriptor: OwnedFd, reason: &str) {
    let systemd = FakeSystemd::with_http().descriptor("web", descriptor);
    refuses(systemd.service(CONFIG), &format!("descriptor 4 (\"web\") is {reason}"));
}

#[test]
fn a_udp_socket() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    refuses_descriptor(socket.into(), &format!("a UDP socket: {STREAM_NOT_DATAGRAM}"));
}

#[test]
fn a_unix_datagram_socket() {
    let socket = UnixDatagram::unbound().unwrap();
    refuses_descriptor(socket.into(), &format!("a Unix datagram socket: {STREAM_NOT_DATAGRAM}"));
}

#[test]
fn a_socket_of_sequential_packets() {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrUnix::new_unnamed()).unwrap();
    rustix::net::listen(&socket, 1).unwrap();
    refuses_descriptor(
        socket,
        "a socket that is neither TCP nor a Unix stream: use ListenStream= in the .socket unit, not \
         ListenSequentialPacket= or ListenNetlink=",
    );
}

const CONNECTED: &str =
    "a connected socket: the .socket unit must say Accept=no, so that the service accepts by itself";

#[test]
fn a_tcp_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    refuses_descriptor(connection.into(), CONNECTED);
}

#[test]
fn a_unix_connection() {
    let (connection, _peer) = UnixStream::pair().unwrap();
    refuses_descriptor(connection.into(), CONNECTED);
}

#[test]
fn a_stream_socket_that_does_not_listen() {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    refuses_descriptor(socket, "a stream socket that does not listen: let the .socket unit open it with ListenStream=");
}

#[test]
fn a_pipe() {
    let (reader, _writer) = std::io::pipe().unwrap();
    refuses_descriptor(reader.into(), "a pipe: use ListenStream= in the .socket unit, not ListenFIFO=");
}

#[test]
fn a_file() {
    let reason = "a file (/etc/passwd): remove OpenFile= or ListenSpecial= from the units, and use ListenStream=";
    refuses_descriptor(File::open("/etc/passwd").unwrap().into(), reason);
}

#[test]
fn a_number_that_is_not_open() {
    let systemd = FakeSystemd::with_http();
    refuses(
        systemd.service(CONFIG).env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", "http:web").prepare("exec 4>&-"),
        "descriptor 4 (\"web\") is not open: LISTEN_FDS is higher than the number of descriptors that were really \
         passed",
    );
}

#[test]
fn a_count_that_is_none() {
    let systemd = FakeSystemd::with_http();
    for count in ["many", "-1", "65536", "4000000000", "99999999999999999999", "1 "] {
        refuses(
            systemd.service(CONFIG).env("LISTEN_FDS", count),
            &format!(
                "LISTEN_FDS is {count:?}, not a number of descriptors: whatever started outlive should not set it"
            ),
        );
    }
}

#[test]
fn names_that_do_not_fit() {
    let systemd = FakeSystemd::with_http();
    for (names, number) in [("http:web", 2), ("a:b:c", 3)] {
        refuses(
            systemd.service(CONFIG).env("LISTEN_FDNAMES", names),
            &format!(
                "1 descriptors were passed (LISTEN_FDS) with {number} names (LISTEN_FDNAMES={names:?}): check \
                 FileDescriptorName= in the .socket units"
            ),
        );
    }
}

#[test]
fn nothing_at_all() {
    refuses(
        FakeSystemd::new().service(CONFIG),
        "there is nothing to listen on: systemd has passed no socket, and nothing says where to listen instead \
         ([listen.NAME] bind in outlive's configuration, Server::bind in a program)",
    );
}
