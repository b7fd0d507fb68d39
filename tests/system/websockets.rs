//! WebSockets that an application handles, the chat among the examples, over `systemctl restart` and `systemctl
//! reload`, under the eyes of `outlive rehearse`.

use std::fs;

use outlive::journal::message_id;

use crate::on_every_systemd;
use crate::support::container::{Container, Suite};
use crate::support::example::example;
use crate::support::rehearsal::Rehearsal;

on_every_systemd!(sockets_survive);

const SOCKET: &str = "
[Socket]
ListenStream=127.0.0.1:8090
FileDescriptorName=http
";

const SERVICE: &str = "
[Unit]
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart=/usr/bin/websocket_chat
ExecReload=/usr/bin/outlive reload --control /run/chat/control
FileDescriptorStoreMax=64
RuntimeDirectory=chat
RuntimeDirectoryPreserve=restart
";

const LOAD: &str = "--url http://127.0.0.1:8090/ --websocket-url ws://127.0.0.1:8090/echo --websocket 50 \
                    --connections 8 --fresh 2 --idle 50 --half 5 --every 500ms";

/// How often each of them is done. `OUTLIVE_TEST_RESTARTS=100` for the full length.
fn rounds() -> u64 {
    std::env::var("OUTLIVE_TEST_RESTARTS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(5)
}

fn sockets_survive(suite: Suite) {
    let host = Container::boot(suite);
    host.install_outlive();
    fs::copy(example("websocket_chat"), host.path("/usr/bin/websocket_chat")).unwrap();
    host.write("/etc/systemd/system/chat.socket", SOCKET);
    host.write("/etc/systemd/system/chat.service", SERVICE);
    host.run("systemctl daemon-reload && systemctl start chat.socket chat.service");
    for change in ["restart", "reload"] {
        let load = format!("{LOAD} --rounds {}", rounds());
        let results = Rehearsal::start(&host, &load, &format!("systemctl {change} chat.service")).finish();
        results.assert_all_well();
        assert_eq!(results.number("/closed_in_order") as u64, 0, "no socket was told to close: {:#}", results.0);
        assert_eq!(results.number("/survived") as u64, results.number("/kept") as u64, "{:#}", results.0);
        let answers = results.number("/clients/websocket/answers");
        println!("{} x {change}: {answers} echoes", rounds());
        assert!(answers >= 50.0 * rounds() as f64, "{:#}", results.0);
    }
    assert_eq!(host.property("chat.service", "NRestarts"), "0");
    for id in [message_id::RELOAD_FAILED, message_id::HANDOVER_REFUSED, message_id::HANDOVER_IMPOSSIBLE] {
        let entries = host.journal(&format!("MESSAGE_ID={id}"));
        assert!(entries.is_empty(), "{entries:?}");
    }
}
