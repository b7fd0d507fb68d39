//! SIGHUP, on a program that knows nothing of it.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Once;

use outlive::Server;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::support::client::Connection;
use crate::support::fake_systemd::{FakeSystemd, is_service};
use crate::support::wait::{SOON, until};
use crate::{exit, get, pid, program};

/// Makes this process the one that adopts orphans, as the service manager is for a service.
pub fn be_service_manager() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap());
}

/// Under systemd, with a connection that goes on.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_process_takes_over() {
    if is_service() {
        exit(Server::new().serve(pid).await);
    }
    be_service_manager();
    let systemd = FakeSystemd::with_http();
    let service = program(&systemd, "reload::the_next_process_takes_over");
    let mut client = Connection::open(systemd.http()).await.unwrap();
    assert_eq!(client.get("/").await.unwrap().text(), service.pid().to_string());
    let old = pidfd_open(service.pid(), PidfdFlags::empty()).unwrap();
    service.signal(Signal::HUP);
    let successor = service.wait_for_successor(1);
    let mut ended = [PollFd::new(&old, PollFlags::IN)];
    assert_eq!(poll(&mut ended, Some(&SOON.try_into().unwrap())).unwrap(), 1, "{}", service.story());
    for _ in 0..2 {
        assert_eq!(client.get("/").await.unwrap().text(), successor.to_string());
    }
    assert_eq!(get(systemd.http(), "/").await, successor.to_string());
}

/// A program that can't start any more leaves everything as it was.
#[tokio::test]
async fn a_program_that_cannot_start_changes_nothing() {
    if is_service() {
        let server = Server::new().journal();
        if server.is_successor() {
            exit(Err(server.fail("the database is gone")));
        }
        exit(server.serve(pid).await);
    }
    be_service_manager();
    let systemd = FakeSystemd::with_http();
    let service = program(&systemd, "reload::a_program_that_cannot_start_changes_nothing");
    service.signal(Signal::HUP);
    service.wait_for_line("the reload has failed, and nothing has changed: the database is gone");
    assert_eq!(get(systemd.http(), "/").await, service.pid().to_string());
    crate::end(service);
}

/// A program that was started by hand, and where it says that it listens.
pub struct ByHand {
    pub child: Child,
    address: SocketAddr,
}

impl ByHand {
    /// A test of this binary, or of a link to it. `place`: XDG_RUNTIME_DIR.
    pub fn start(program: &Path, test: &str, place: &str) -> Self {
        let mut child = Command::new(program)
            .args(["--exact", test, "--nocapture"])
            .env("OUTLIVE_TEST_IS_SERVICE", "1")
            .env("XDG_RUNTIME_DIR", place)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines.by_ref().map_while(Result::ok).find(|line| line.contains(" (http)")).unwrap();
        let (before, _) = line.split_once(" (http)").unwrap();
        let address = before.rsplit(' ').next().unwrap().parse().unwrap();
        // It must not fill up.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `kill -HUP`, without any service manager: the listener goes along.
#[tokio::test]
async fn by_hand() {
    if is_service() {
        exit(Server::new().bind("http", "127.0.0.1:0").without_control_socket().journal().serve(pid).await);
    }
    be_service_manager();
    let mut program = ByHand::start(&std::env::current_exe().unwrap(), "reload::by_hand", "");
    let mut client = Connection::open(program.address).await.unwrap();
    let first = client.get("/").await.unwrap().text().to_owned();
    assert_eq!(first, program.child.id().to_string());
    kill_process(Pid::from_child(&program.child), Signal::HUP).unwrap();
    assert!(program.child.wait().unwrap().success());
    let second = client.get("/").await.unwrap().text().to_owned();
    assert_ne!(second, first);
    assert_eq!(get(program.address, "/").await, second);

    let successor = Pid::from_raw(second.parse().unwrap()).unwrap();
    kill_process(successor, Signal::TERM).unwrap();
    until(SOON, "its end", || match std::net::TcpStream::connect(program.address) {
        Err(_) => Ok(()),
        Ok(_) => Err("it still listens".to_owned()),
    });
}
