//! More connections than it can or may have.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::CONFIG;
use crate::support::client::{Connection, PATIENCE};
use crate::support::fake_systemd::FakeSystemd;
use crate::support::service::Service;

/// Asks over a connection, ends it, and returns the whole answer.
async fn ask_and_close(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    timeout(PATIENCE, async {
        stream.write_all(b"GET /hello HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").await.unwrap();
        stream.read_to_string(&mut answer).await.unwrap();
    })
    .await
    .expect("an answer in time");
    answer
}

async fn connect(address: SocketAddr, number: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..number {
        streams.push(TcpStream::connect(address).await.unwrap());
    }
    streams
}

/// How much a process has computed so far: proc_pid_stat(5).
fn computed(service: &Service) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", service.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<u64>().unwrap();
    // utime and stime, in hundredths of a second on Linux.
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

#[tokio::test]
async fn without_descriptors_it_neither_spins_nor_ends_nor_forgets_who_waits() {
    let systemd = FakeSystemd::with_http();
    let config = format!("workers = 2\nmax_connections = 100000\n{CONFIG}");
    let mut service = systemd.service(&config).limit_descriptors(64).start();
    let streams = connect(systemd.http(), 200).await;
    let line = service.wait_for_line(" Cannot accept ");
    assert!(
        line.ends_with(
            " WARN Cannot accept on listener http for now: Too many open files (os error 24); connections wait in the \
             backlog"
        ),
        "{line}"
    );

    let (began, before) = (Instant::now(), computed(&service));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let (took, spent) = (began.elapsed(), computed(&service) - before);
    assert!(spent < took / 25, "{spent:?} of {took:?}");
    let reports = service.said().lines().filter(|line| line.contains(" Cannot accept ")).count();
    assert!(reports as u64 <= took.as_secs() + 2, "{reports} reports in {took:?}");
    assert!(reports >= 2, "it goes on saying so");

    // Those that were accepted go, and so the others come in.
    let mut clients = JoinSet::new();
    for stream in streams {
        clients.spawn(ask_and_close(stream));
    }
    for answer in clients.join_all().await {
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    service.signal(Signal::TERM);
    assert_eq!(service.wait_for_exit().code(), Some(0));
}

#[tokio::test]
async fn max_connections_is_exact_however_many_workers_there_are() {
    const ALLOWED: usize = 7;
    let systemd = FakeSystemd::with_http().unix("local");
    let service = systemd.start(&format!("workers = 4\nmax_connections = {ALLOWED}\n{CONFIG}"));
    let mut waiting = JoinSet::new();
    for mut stream in connect(systemd.http(), 40).await {
        waiting.spawn(async move {
            stream.write_all(b"GET /hello HTTP/1.1\r\nHost: t\r\n\r\n").await.unwrap();
            stream.read_u8().await.unwrap();
            stream
        });
    }
    let mut served = Vec::new();
    for round in 0..20 {
        while served.len() < ALLOWED {
            served.push(timeout(PATIENCE, waiting.join_next()).await.expect("one more in time").unwrap().unwrap());
        }
        if round == 0 {
            let line = service.wait_for_line(" All 7 ");
            let words =
                " WARN All 7 connections that max_connections allows are open; further ones wait in the backlog";
            assert!(line.ends_with(words), "{line}");
        }
        assert_eq!(connections(&service, round), ALLOWED);
        assert!(waiting.try_join_next().is_none(), "one more than allowed was served");
        served.remove(round % ALLOWED);
    }
}

/// Out of 200 descriptors, 64 are not for connections, and of the rest one in eight.
#[tokio::test]
async fn by_default_connections_leave_descriptors_for_everything_else() {
    let systemd = FakeSystemd::with_http();
    fs::write(systemd.path("page"), "a page\n").unwrap();
    let files = format!("[[route]]\npath = \"/files/{{*file}}\"\nfiles = \"{}\"\n", systemd.path("").display());
    // The soft limit is for programs that use select(2), and may be raised.
    let launch = systemd.service(&format!("workers = 2\n{files}")).limit_descriptors(200).prepare("ulimit -S -n 100");
    let service = launch.start();
    let mut streams = connect(systemd.http(), 150).await;
    service.wait_for_line(" All 119 connections that max_connections allows are open; ");
    let mut client = Connection::over(streams.remove(0)).await.unwrap();
    assert_eq!(client.get("/files/page").await.unwrap().text(), "a page\n");
    assert!(!service.said().contains("Cannot accept"), "{}", service.said());
}

/// As it counts them itself.
fn connections(service: &Service, asked_before: usize) -> usize {
    service.signal(Signal::USR1);
    let lines = service.wait_for_lines(" Serving 2 routes: ", asked_before + 1);
    let (_, counts) = lines[asked_before].split_once(" Serving 2 routes: ").unwrap();
    counts.split(' ').next().unwrap().parse().unwrap()
}
