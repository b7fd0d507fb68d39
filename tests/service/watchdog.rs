//! WATCHDOG=1: as often as systemd wants, and only while every worker is alive.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::CONFIG;
use crate::support::client;
use crate::support::fake_systemd::FakeSystemd;
use crate::support::held::Held;
use crate::support::service::Service;

/// When each sign of life was read.
fn signs(service: &Service) -> Vec<Instant> {
    service.notifications(|sent| sent.iter().filter(|m| m.get("WATCHDOG") == Some("1")).map(|m| m.at).collect())
}

fn wait_for_signs(service: &Service, number: usize) -> Vec<Instant> {
    service.wait_until(&format!("{number} signs of life"), |sent| {
        (sent.iter().filter(|m| m.get("WATCHDOG").is_some()).count() >= number).then_some(())
    });
    signs(service)
}

#[test]
fn it_is_fed_at_half_its_time() {
    let systemd = FakeSystemd::with_http();
    let patience = Duration::from_secs(2);
    let service = systemd.service(CONFIG).watchdog(patience).start();
    let fed = wait_for_signs(&service, 5);
    assert!(fed.windows(2).all(|pair| pair[1] - pair[0] < patience), "{fed:?}");
    let whole = fed[4] - fed[0];
    assert!(whole > 3 * patience / 2, "no more often than it has to be: {whole:?}");
}

#[test]
fn one_worker_that_is_stuck_stops_it_until_it_goes_on() {
    let systemd = FakeSystemd::with_http();
    let service = systemd.service(&format!("workers = 3\n{CONFIG}")).watchdog(Duration::from_millis(400)).start();
    wait_for_signs(&service, 2);
    let held = Held::thread(service.pid(), "worker-1");
    let line = service.wait_for_line(" Worker 1 has not answered for ");
    assert!(line.contains(" ERROR "), "{line}");
    let before = signs(&service).len();
    // Longer than systemd would wait.
    std::thread::sleep(Duration::from_millis(1000));
    assert_eq!(signs(&service).len(), before);

    drop(held);

    wait_for_signs(&service, before + 3);
}

/// It was silent when it was looked at, after half the time. That must not cost the other half.
#[test]
fn one_worker_that_was_late_costs_nothing() {
    let patience = Duration::from_secs(4);
    let systemd = FakeSystemd::with_http();
    let service = systemd.service(CONFIG).watchdog(patience).start();
    wait_for_signs(&service, 1);
    // The worker's answer to the first has no outward sign, but it takes no second.
    std::thread::sleep(patience / 4);
    let held = Held::thread(service.pid(), "worker-0");
    // The next sign of life asks, and nobody answers. (Or nobody has answered the first.)
    service.wait_for_line(" Worker 0 has not answered for ");
    let before = signs(&service);
    drop(held);
    let after = wait_for_signs(&service, before.len() + 1);
    let gap = after[before.len()] - before[before.len() - 1];
    assert!(gap < patience, "systemd's patience was over: {gap:?}");
}

#[tokio::test]
async fn what_is_meant_for_somebody_else_or_is_no_time_is_ignored() {
    let systemd = FakeSystemd::with_http();
    let theirs = systemd.service(CONFIG).through(&["env", "WATCHDOG_PID=1", "WATCHDOG_USEC=10000"]).start();
    let nothing = systemd.service(CONFIG).env("WATCHDOG_USEC", "0").start();
    let senseless = systemd.service(CONFIG).env("WATCHDOG_USEC", "often").start();
    tokio::time::sleep(Duration::from_millis(200)).await;
    for mut service in [theirs, nothing, senseless] {
        assert_eq!(client::get(systemd.http(), "/hello").await.unwrap().text(), "hello\n");
        service.signal(Signal::TERM);
        assert_eq!(service.wait_for_exit().code(), Some(0));
        assert_eq!(signs(&service).len(), 0);
        assert!(!service.said().contains("panic"), "{}", service.said());
    }
}
