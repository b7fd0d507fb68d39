//! What crosses a restart, from every state that a connection can be in.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::client::Client;
use crate::support::wait::{SOON, until};
use crate::{CONFIG, adopted, end, systemd, waiting};

#[test]
fn idle_connections() {
    let systemd = systemd();
    let mut first = systemd.start(CONFIG);
    let mut clients: Vec<_> = (0..600).map(|_| Client::tcp(systemd.http())).collect();
    for client in &mut clients {
        assert_eq!(client.get("/live?live").generation(), 1);
    }
    end(&mut first);
    first.wait_for_line("600 connections handed over");

    let mut second = systemd.start(CONFIG);
    assert!(adopted(&second).starts_with("Adopted 600 of 600 connections from generation 1 in"), "{}", second.said());
    for client in &mut clients {
        let answer = client.get("/live?live");
        assert_eq!(answer.generation(), 2);
        assert!(!answer.is_last(), "{answer:?}");
    }
    // And on to the third, by the way that they came.
    end(&mut second);
    let _third = systemd.start(CONFIG);
    for client in &mut clients {
        assert_eq!(client.get("/live?live").generation(), 3);
    }
}

#[test]
fn requests_that_arrive_while_no_process_runs() {
    let systemd = systemd();
    let mut first = systemd.start(CONFIG);
    let mut clients: Vec<_> = (0..20).map(|_| Client::tcp(systemd.http())).collect();
    for client in &mut clients {
        client.get("/live?live");
    }
    end(&mut first);
    for client in &mut clients {
        client.ask("/live?live");
    }
    let _second = systemd.start(CONFIG);
    for client in &mut clients {
        assert_eq!(client.answer().generation(), 2);
    }
}

#[test]
fn connections_that_have_sent_nothing_yet() {
    let systemd = systemd();
    let mut first = systemd.start(CONFIG);
    let mut fresh = Client::tcp(systemd.http());
    // The one before has been accepted then.
    Client::tcp(systemd.http()).get("/live?live");
    end(&mut first);
    let _second = systemd.start(CONFIG);
    assert_eq!(fresh.get("/live?live").generation(), 2);
}

#[test]
fn half_a_head() {
    let systemd = systemd();
    let mut first = systemd.start(CONFIG);
    let mut first_head = Client::tcp(systemd.http());
    first_head.send("GET /live?live HTTP/1.1\r\nHo");
    let mut second_head = Client::idle(systemd.http());
    second_head.send("GET /li");
    // Together with the request before it, so that it is read ahead of need.
    let mut with_the_first = Client::tcp(systemd.http());
    with_the_first.send("GET /hello HTTP/1.1\r\nHost: test\r\n\r\nGET /live?live HT");
    with_the_first.answer();
    let mut preface = Client::tcp(systemd.http());
    preface.send("P");
    Client::tcp(systemd.http()).get("/live?live");
    end(&mut first);

    let _second = systemd.start(CONFIG);
    first_head.send("st: test\r\n\r\n");
    second_head.send("ve?live HTTP/1.1\r\nHost: test\r\n\r\n");
    with_the_first.send("TP/1.1\r\nHost: test\r\n\r\n");
    preface.send("OST /hello HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(first_head.answer().generation(), 2);
    assert_eq!(second_head.answer().generation(), 2);
    assert_eq!(with_the_first.answer().generation(), 2);
    assert_eq!(preface.answer().body, "hello\n");
    assert_eq!(with_the_first.get("/live?live").generation(), 2);
}

#[test]
fn requests_that_run_finish_first_and_are_not_told_to_close() {
    let systemd = systemd();
    let mut first = systemd.start(CONFIG);
    let mut running: Vec<_> = (0..20).map(|_| Client::tcp(systemd.http())).collect();
    for client in &mut running {
        client.ask("/slow");
    }
    let mut uploading = Client::tcp(systemd.http());
    uploading.send("POST /hello HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhello");
    let mut pipelining = Client::tcp(systemd.http());
    pipelining.send(&"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n".repeat(2));
    pipelining.send("GET /live?live HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut idle = Client::idle(systemd.http());

    first.signal(Signal::TERM);
    first.wait_for("STOPPING=1");
    assert_eq!(idle.get("/live?live").generation(), 1, "while it settles, it serves");
    uploading.send("hello");
    let answer = uploading.answer();
    assert!(!answer.is_last(), "{answer:?}");
    for client in &mut running {
        let answer = client.answer();
        assert_eq!(answer.body, "slow\n");
        assert!(!answer.is_last(), "{answer:?}");
    }
    assert_eq!(first.wait_for_exit().code(), Some(0));

    let _second = systemd.start(CONFIG);
    for client in running.iter_mut().chain([&mut uploading, &mut idle]) {
        assert_eq!(client.get("/live?live").generation(), 2);
    }
    assert_eq!([pipelining.answer().body, pipelining.answer().body], ["slow\n", "slow\n"]);
    pipelining.answer().generation();
    assert_eq!(pipelining.get("/live?live").generation(), 2);
}

#[test]
fn unix_sockets_and_every_listener() {
    let config = format!("{CONFIG}\n[log]\naccess = \"all\"\n");
    let systemd = systemd().unix("local").tcp("six", "[::1]:0");
    let mut first = systemd.start(&config);
    let six = systemd.addresses().nth(1).unwrap();
    let mut clients = [Client::tcp(systemd.http()), Client::unix(&systemd.path("local")), Client::tcp(six)];
    clients[1].get("/live?live");
    clients[2].get("/live?live");
    end(&mut first);
    let second = systemd.start(&config);
    for client in &mut clients {
        assert_eq!(client.get("/live?live").generation(), 2);
    }
    // The access log names the peers that they had.
    second.wait_for_line("unix GET /live: 200");
    second.wait_for_line("[::1]:");
}

/// A client's time to finish a head, or to send the next request, isn't given to it anew by each restart.
#[test]
fn timeouts_go_on_where_they_were() {
    let systemd = systemd();
    let config = CONFIG.replace("[limits]", "[limits]\nhead_timeout = \"3s\"\nidle_timeout = \"4s\"");
    let mut first = systemd.start(&config);
    let began = Instant::now();
    let mut half = Client::tcp(systemd.http());
    half.send("GET /live?live HTTP/1.1\r\n");
    let mut idle = Client::idle(systemd.http());
    std::thread::sleep(Duration::from_secs(2)); // the time that must count
    end(&mut first);
    let _second = systemd.start(&config);
    let answer = half.answer();
    assert!(answer.head.starts_with("HTTP/1.1 408 "), "{answer:?}");
    let waited = began.elapsed();
    assert!((2_500..4_500).contains(&waited.as_millis()), "{waited:?}");
    idle.assert_closed();
    let waited = began.elapsed();
    assert!((3_500..5_500).contains(&waited.as_millis()), "{waited:?}");
}

#[test]
fn the_store_is_left_empty() {
    let systemd = systemd();
    let mut first = systemd.start(CONFIG);
    let mut client = Client::idle(systemd.http());
    end(&mut first);
    assert_eq!(systemd.store.names(), ["outlive-ledger-1-0", "outlive-vault-1-0"]);
    let second = systemd.start(CONFIG);
    second.wait_until("the store to be empty", |_| systemd.store.names().is_empty().then_some(()));
    // No copy anywhere keeps it open.
    client.send("GET /live?live HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert_eq!(client.answer().generation(), 2);
    client.assert_closed();
}

/// A copy of it lies in the vault by then, which must not keep it open for its client.
#[test]
fn a_connection_that_ends_while_the_drain_settles_has_ended() {
    let systemd = systemd();
    let mut first = systemd.start(CONFIG);
    let mut ending = Client::idle(systemd.http());
    let mut idle = Client::idle(systemd.http());
    let mut running = Client::asking(systemd.http(), "/slower");
    Client::tcp(systemd.http()).get("/live?live");
    first.signal(Signal::TERM);
    until(SOON, "copies of both", || match waiting(&systemd) {
        2.. => Ok(()),
        fewer => Err(format!("{fewer}")),
    });

    ending.send("GET /hello HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert_eq!(ending.answer().body, "hello\n");
    ending.assert_closed();

    assert!(!first.said().contains("Drained"), "it still settled");
    assert_eq!(running.answer().body, "slower\n");
    assert_eq!(first.wait_for_exit().code(), Some(0));
    let second = systemd.start(CONFIG);
    let said = adopted(&second);
    assert!(said.contains("Adopted 2 of 2"), "{said}");
    assert_eq!(idle.get("/live?live").generation(), 2);
}
