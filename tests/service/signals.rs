//! Signals that don't end it.

use rustix::process::Signal;

use crate::CONFIG;
use crate::support::client::Connection;
use crate::support::fake_systemd::FakeSystemd;
use crate::support::hostile::Hostiles;

#[tokio::test]
async fn usr1_writes_the_counters_to_the_journal() {
    let systemd = FakeSystemd::with_http();
    let mut service = systemd.start(CONFIG);
    let mut client = Connection::open(systemd.http()).await.unwrap();
    client.get("/hello").await.unwrap();
    client.get("/hello").await.unwrap();
    service.signal(Signal::USR1);
    let line = service.wait_for_line(" Serving 2 routes: ");
    assert!(line.contains(" INFO Serving 2 routes: 1 connection, 0 requests. Since the start "), "{line}");
    assert!(line.ends_with(" ago: 1 connection accepted, 2 requests answered"), "{line}");

    let mut clients = Hostiles::of(systemd.http());
    clients.waits("/never").await.unwrap();
    service.signal(Signal::TERM);
    service.wait_for("STOPPING=1");
    service.signal(Signal::USR1);
    let line = service.wait_for_line(" INFO Draining: ");
    assert!(line.contains(" 0 s of 1 s. Since the start "), "{line}");
    assert_eq!(service.wait_for_exit().code(), Some(1));
}
