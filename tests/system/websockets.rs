//! WebSockets that an application handles, the chat among the examples, over `systemctl restart` and `systemctl
//! reload`, under the eyes of `outlive rehearse`.

use outlive::journal::message_id;

use crate::on_every_systemd;
use crate::support::container::{Container, Suite};
use crate::support::example::example;
use crate::support::rehearsal::{nothing_is_lost, rounds};

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

fn sockets_survive(suite: Suite) {
    let host = Container::boot(suite);
    host.install_outlive();
    host.install(&example("websocket_chat"), "/usr/bin/websocket_chat");
    host.write("/etc/systemd/system/chat.socket", SOCKET);
    host.write("/etc/systemd/system/chat.service", SERVICE);
    host.run("systemctl daemon-reload && systemctl start chat.socket chat.service");
    let rounds = rounds(5);
    for change in ["restart", "reload"] {
        let load = format!("{LOAD} --rounds {rounds}");
        let results = nothing_is_lost(&host, &load, &format!("systemctl {change} chat.service"));
        assert!(results.number("/clients/websocket/answers") >= 50.0 * rounds as f64, "{:#}", results.0);
    }
    assert_eq!(host.property("chat.service", "NRestarts"), "0");
    for id in [message_id::RELOAD_FAILED, message_id::HANDOVER_REFUSED, message_id::HANDOVER_IMPOSSIBLE] {
        let entries = host.journal(&format!("MESSAGE_ID={id}"));
        assert!(entries.is_empty(), "{entries:?}");
    }
}
