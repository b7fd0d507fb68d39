//! Without systemd: listeners that the configuration binds.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use crate::CONFIG;
use crate::support::client::{self, Connection};
use crate::support::fake_systemd::{FakeSystemd, Launch};

#[tokio::test]
async fn it_binds_what_was_not_passed() {
    let systemd = FakeSystemd::with_http();
    let path = systemd.path("admin");
    let config = format!(
        "[listen.four]\nbind = \"127.0.0.1:0\"\n[listen.six]\nbind = \"[::1]:0\"\n[listen.admin]\nbind = \
         \"unix:{}\"\n{CONFIG}",
        path.display()
    );
    let service = systemd.start(&config);
    for address in [systemd.http(), service.address("four"), service.address("six")] {
        assert_eq!(client::get(address, "/hello").await.unwrap().text(), "hello\n", "{address}");
    }
    let admin = tokio::net::UnixStream::connect(path).await.unwrap();
    assert_eq!(Connection::over(admin).await.unwrap().get("/hello").await.unwrap().text(), "hello\n");
}

fn at_unix(systemd: &FakeSystemd) -> Launch<'_> {
    systemd.service(&format!("[listen.local]\nbind = \"unix:{}\"\n{CONFIG}", systemd.path("local").display()))
}

#[tokio::test]
async fn a_socket_file_that_nobody_listens_on_is_replaced() {
    let systemd = FakeSystemd::new();
    drop(UnixListener::bind(systemd.path("local")).unwrap());
    let _service = at_unix(&systemd).start();
    let local = tokio::net::UnixStream::connect(systemd.path("local")).await.unwrap();
    assert_eq!(Connection::over(local).await.unwrap().get("/hello").await.unwrap().text(), "hello\n");
}

/// Starts it, and compares why it can't listen.
#[track_caller]
fn fails(launch: Launch<'_>, reason: &str, errno: Errno) {
    let mut service = launch.spawn();
    assert_eq!(service.wait_for_exit().code(), Some(1), "{}", service.story());
    let lines = service.notifications(|sent| sent.iter().map(|message| message.lines.clone()).collect::<Vec<_>>());
    let errno = format!("ERRNO={}", errno.raw_os_error());
    assert_eq!(lines, [[format!("STATUS=Cannot start: cannot listen on {reason}"), errno]]);
}

#[test]
fn a_socket_file_that_somebody_listens_on_is_left_alone() {
    let systemd = FakeSystemd::new();
    let path = systemd.path("local");
    let theirs = UnixListener::bind(&path).unwrap();
    let reason = format!(
        "unix:{} (listener \"local\"): Address already in use (os error 98); another process listens there (ss -lxp \
         shows which): stop it, or choose another path",
        path.display()
    );
    fails(at_unix(&systemd), &reason, Errno::ADDRINUSE);

    // Nor does one whose backlog is full keep it waiting.
    rustix::net::listen(&theirs, 0).unwrap();
    let _waiting = fill_backlog(&path);
    fails(at_unix(&systemd), &reason, Errno::ADDRINUSE);
    assert!(path.exists());
}

/// Connects until nobody else can.
fn fill_backlog(path: &Path) -> Vec<OwnedFd> {
    let address = SocketAddrUnix::new(path).unwrap();
    let mut waiting = Vec::new();
    loop {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
        match rustix::net::connect(&socket, &address) {
            Ok(()) => waiting.push(socket),
            Err(Errno::AGAIN) => return waiting,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let systemd = FakeSystemd::new();
    let path = systemd.path("local");
    fs::write(&path, "precious").unwrap();
    let reason = format!(
        "unix:{} (listener \"local\"): Address already in use (os error 98); a file that is no socket is there: \
         remove it, or choose another path",
        path.display()
    );
    fails(at_unix(&systemd), &reason, Errno::ADDRINUSE);
    assert_eq!(fs::read_to_string(path).unwrap(), "precious");
}

#[test]
fn an_address_that_is_taken() {
    let theirs = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = theirs.local_addr().unwrap();
    let systemd = FakeSystemd::new();
    fails(
        systemd.service(&format!("[listen.http]\nbind = \"{address}\"\n{CONFIG}")),
        &format!(
            "{address} (listener \"http\"): Address already in use (os error 98); another process listens there (ss \
             -ltnp shows which): stop it, or choose another port"
        ),
        Errno::ADDRINUSE,
    );
}

/// What happens when FileDescriptorName= is forgotten: systemd's default is the socket unit's own name.
#[test]
fn an_address_that_systemd_has_passed_under_another_name_is_not_bound_again() {
    let systemd = FakeSystemd::new().tcp("outlive.socket", "127.0.0.1:0");
    let address = systemd.http();
    let service = systemd.start(&format!("[listen.http]\nbind = \"{address}\"\n{CONFIG}"));
    service.wait_for_line(&format!("on {address} (outlive.socket) with"));
}

#[test]
fn an_address_that_overlaps_with_one_that_systemd_has_passed() {
    let systemd = FakeSystemd::new().tcp("outlive.socket", "127.0.0.1:0");
    let address = systemd.http();
    let port = address.port();
    fails(
        systemd.service(&format!("[listen.http]\nbind = \"0.0.0.0:{port}\"\n{CONFIG}")),
        &format!(
            "0.0.0.0:{port} (listener \"http\"): Address already in use (os error 98); systemd has passed a socket on \
             {address}, but its name is \"outlive.socket\": set FileDescriptorName=http in its .socket unit"
        ),
        Errno::ADDRINUSE,
    );
}

#[test]
fn a_port_that_needs_a_privilege() {
    let systemd = FakeSystemd::new();
    fails(
        systemd
            .service(&format!("[listen.http]\nbind = \"127.0.0.1:80\"\n{CONFIG}"))
            .own_network()
            .without_capabilities(),
        "127.0.0.1:80 (listener \"http\"): Permission denied (os error 13); let systemd open the port: ListenStream= \
         in a socket unit needs no privilege here",
        Errno::ACCESS,
    );
}

#[test]
fn an_address_that_is_not_this_hosts() {
    let systemd = FakeSystemd::new();
    fails(
        systemd.service(&format!("[listen.http]\nbind = \"192.0.2.1:8080\"\n{CONFIG}")),
        "192.0.2.1:8080 (listener \"http\"): Cannot assign requested address (os error 99); this host doesn't have \
         that address: ip address shows those that it has",
        Errno::ADDRNOTAVAIL,
    );
}
