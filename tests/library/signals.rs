//! Hooks, before and after what a signal does by itself.

use outlive::{Server, Signal};
use rustix::process::Signal as Number;

use crate::support::fake_systemd::{FakeSystemd, is_service};
use crate::{exit, get, hello, program};

#[tokio::test]
async fn hooks_are_called_before_and_after() {
    if is_service() {
        let server = Server::new()
            .on(Signal::Usr1, || eprintln!("hook: before"))
            .on(Signal::Usr1, || panic!("the hook's own fault"))
            .on(Signal::Usr1, || eprintln!("hook: still before"))
            .after(Signal::Usr1, || eprintln!("hook: after"))
            .on(Signal::Tstp, || eprintln!("not suspended"))
            .on(Signal::Hup, || eprintln!("just called"))
            .on(Signal::Term, || eprintln!("the end"))
            .without_reload();
        exit(server.journal().serve(hello).await);
    }
    let systemd = FakeSystemd::with_http();
    let mut service = program(&systemd, "signals::hooks_are_called_before_and_after");
    service.signal(Number::USR1);
    service.wait_for_line("hook: after");
    service.wait_for_line("A hook for SIGUSR1 has panicked");
    let said = service.said();
    let at = |text: &str| said.find(text).unwrap_or_else(|| panic!("no {text} in {said}"));
    assert!(at("hook: before") < at("hook: still before") && at("hook: still before") < at("hook: after"), "{said}");
    service.wait_for_line("Since the start");

    service.signal(Number::TSTP);
    service.wait_for_line("not suspended");
    service.signal(Number::HUP);
    service.wait_for_line("just called");
    service.wait_for_line("this program doesn't start successors");
    assert_eq!(get(systemd.http(), "/").await, "hello\n");
    service.signal(Number::TERM);
    assert_eq!(service.wait_for_exit().code(), Some(0), "{}", service.story());
    assert!(service.said().contains("the end"), "{}", service.said());
}

async fn never(_: http::Request<outlive::Body>) -> &'static str {
    std::future::pending().await
}

/// As in the demonstrations: ctrl-C, and again.
#[tokio::test(flavor = "multi_thread")]
async fn the_second_signal_cuts_the_drain_short() {
    if is_service() {
        exit(Server::new().journal().serve(never).await);
    }
    let systemd = FakeSystemd::with_http();
    let mut service = program(&systemd, "signals::the_second_signal_cuts_the_drain_short");
    let asking = tokio::spawn(async_get(systemd.http()));
    service.wait_until("a request", |sent| {
        sent.iter().any(|n| n.get("STATUS").is_some_and(|status| status.contains("1 request"))).then_some(())
    });
    service.signal(Number::INT);
    service.wait_for("STOPPING=1");
    service.signal(Number::INT);
    assert_eq!(service.wait_for_exit().code(), Some(1), "{}", service.story());
    assert!(asking.await.unwrap().is_err());
    service.wait_for_line("1 request was cut on GET /");
}

async fn async_get(address: std::net::SocketAddr) -> Result<(), String> {
    let mut client = crate::Connection::open(address).await.map_err(|error| error.to_string())?;
    client.get("/").await.map(drop).map_err(|error| error.to_string())
}

/// Its own end, where nobody gave it a signal.
#[tokio::test]
async fn a_program_can_begin_a_drain() {
    if is_service() {
        let server = Server::new();
        let draining = server.draining();
        let end = move |_: http::Request<outlive::Body>| {
            draining.begin();
            async { "as you like" }
        };
        exit(server.serve(end).await);
    }
    let systemd = FakeSystemd::with_http();
    let mut service = program(&systemd, "signals::a_program_can_begin_a_drain");
    assert_eq!(get(systemd.http(), "/").await, "as you like");
    assert_eq!(service.wait_for_exit().code(), Some(0), "{}", service.story());
}
