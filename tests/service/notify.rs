//! What systemd is told, and when.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::CONFIG;
use crate::support::client::{self, Connection};
use crate::support::fake_systemd::FakeSystemd;
use crate::support::service::Service;

#[tokio::test]
async fn it_is_ready_when_it_serves_and_says_so_when_it_stops() {
    let systemd = FakeSystemd::with_http();
    let mut service = systemd.start(CONFIG);
    assert_eq!(client::get(systemd.http(), "/hello").await.unwrap().text(), "hello\n");

    service.signal(Signal::TERM);

    assert_eq!(service.wait_for_exit().code(), Some(0));
    service.notifications(|sent| {
        assert!(sent.iter().all(|message| message.sender == Some(service.pid())), "{sent:?}");
        let turns: Vec<_> = sent.iter().map(|message| message.lines[0].as_str()).collect();
        // What is to be kept comes first: whoever hears of the end may count on it.
        assert!(turns.starts_with(&["READY=1", "FDSTORE=1", "FDSTORE=1", "STOPPING=1"]), "{turns:?}");
    });
}

/// With so many workers, a READY=1 that doesn't wait for them comes long before the last.
#[test]
fn it_is_not_ready_before_every_worker_accepts() {
    const WORKERS: usize = 128;
    let systemd = FakeSystemd::new().unix("local");
    let service = systemd.start(&format!("workers = {WORKERS}\n{CONFIG}"));
    let listening = fs::read_to_string("/proc/net/unix").unwrap();
    let path = systemd.path("local");
    let line = listening.lines().find(|line| line.ends_with(path.to_str().unwrap())).unwrap();
    let inode: u64 = line.split_whitespace().nth(6).unwrap().parse().unwrap();
    assert_eq!(waiting_for(&service, inode), WORKERS);
}

/// How many descriptors for a socket, one a worker, the service's epolls wait for: see proc_pid_fdinfo(5).
fn waiting_for(service: &Service, inode: u64) -> usize {
    let socket = format!(" ino:{inode:x} ");
    let mut waiting = BTreeSet::new();
    for info in fs::read_dir(format!("/proc/{}/fdinfo", service.pid())).unwrap() {
        let info = fs::read_to_string(info.unwrap().path()).unwrap_or_default();
        let lines = info.lines().filter(|line| line.contains(&socket));
        waiting
            .extend(lines.filter_map(|line| line.strip_prefix("tfd:")?.split_whitespace().next().map(str::to_owned)));
    }
    waiting.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_at_once_that_it_stops() {
    let systemd = FakeSystemd::with_http();
    // Longer than a status may be late, and within a window that is longer still.
    let slow = "[[route]]\npath = \"/slow\"\nrespond = { body = \"slow\\n\", delay = \"3s\" }";
    let config = format!("{}\n{slow}", CONFIG.replace("window = \"1s\"", "window = \"20s\""));
    let service = systemd.start(&config);
    let mut slow = JoinSet::new();
    let address = systemd.http();
    slow.spawn(async move { client::get(address, "/slow").await.map(|answer| (answer, Instant::now())) });
    service.wait_for("STATUS=Serving 3 routes: 1 connection, 1 request");
    service.signal(Signal::TERM);
    let said = service.wait_until("STOPPING=1", |sent| sent.iter().find(|m| m.get("STOPPING").is_some()).map(|m| m.at));
    let (answer, answered) = slow.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(answer.text(), "slow\n");
    assert!(said < answered);
}

#[tokio::test]
async fn notifications_reach_an_abstract_socket() {
    let systemd = FakeSystemd::with_http();
    let mut service = systemd.service(CONFIG).abstract_notify_socket().start();
    service.signal(Signal::TERM);
    service.wait_for("STOPPING=1");
    assert_eq!(service.wait_for_exit().code(), Some(0));
}

#[tokio::test]
async fn without_a_socket_it_serves_all_the_same() {
    let systemd = FakeSystemd::with_http();
    let mut service = systemd.service(CONFIG).through(&["env", "--unset=NOTIFY_SOCKET"]).spawn();
    assert_eq!(client::get(systemd.http(), "/hello").await.unwrap().text(), "hello\n");
    service.signal(Signal::TERM);
    assert_eq!(service.wait_for_exit().code(), Some(0));
    assert!(service.notifications(<[_]>::is_empty));
}

/// More notifications than fit into the socket's queue, while requests are answered.
#[tokio::test]
async fn a_systemd_that_does_not_read_holds_nobody_up() {
    let systemd = FakeSystemd::with_http();
    let mut service = systemd.service(CONFIG).watchdog(Duration::from_millis(4)).slow_to_read().spawn();
    serve_for(Duration::from_secs(2), &systemd).await;
    service.signal(Signal::TERM);
    assert_eq!(service.wait_for_exit_within(Duration::from_secs(8)).code(), Some(0));
}

/// The kernel's queue is what it was; what comes after it is news.
#[tokio::test]
async fn a_systemd_that_reads_late_gets_no_old_news() {
    let systemd = FakeSystemd::with_http();
    let mut service = systemd.service(CONFIG).watchdog(Duration::from_millis(4)).slow_to_read().spawn();
    serve_for(Duration::from_secs(2), &systemd).await;
    let _client = Connection::open(systemd.http()).await.unwrap();
    serve_for(Duration::from_millis(1200), &systemd).await;
    service.signal(Signal::USR1);
    service.wait_for_line("Serving 2 routes: ");

    service.read_notifications();

    let queue: usize = fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap().trim().parse().unwrap();
    let late = service.wait_until("the status of now", |sent| {
        sent.iter().position(|message| {
            message.get("STATUS").is_some_and(|status| status.contains("connection") && message.lines.len() == 1)
        })
    });
    // The one that was being sent, and a sign of life.
    assert!(late <= queue + 3, "{late} messages before it\n{}", service.story());
}

async fn serve_for(time: Duration, systemd: &FakeSystemd) {
    let mut client = Connection::open(systemd.http()).await.unwrap();
    let began = Instant::now();
    while began.elapsed() < time {
        let asked = Instant::now();
        client.get("/hello").await.unwrap();
        assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    }
}

#[test]
fn a_bad_configuration_ends_it_with_78_and_says_where() {
    let systemd = FakeSystemd::with_http();
    let mut service = systemd.service("[drain]\nwindwo = \"1s\"\n").spawn();
    assert_eq!(service.wait_for_exit().code(), Some(78));
    let path = systemd.path("outlive.toml");
    let reason = format!("Cannot start: {}:2:1: unknown key `windwo` in [drain]", path.display());
    let lines = service.notifications(|sent| sent.iter().map(|message| message.lines.clone()).collect::<Vec<_>>());
    assert_eq!(lines, [[format!("STATUS={reason}"), "ERRNO=22".to_owned()]]);
    assert!(service.said().contains("help: did you mean `window`?"), "{}", service.said());
}
