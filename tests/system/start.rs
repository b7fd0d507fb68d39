//! From nothing to serving.

use crate::on_every_systemd;
use crate::support::container::{Container, Suite};

on_every_systemd!(boots);

fn boots(suite: Suite) {
    let container = Container::boot(suite);
    println!("{}", container.run("systemctl is-system-running; systemctl --version | head -1"));
    let n = container
        .in_network(async || tokio::net::TcpListener::bind("127.0.0.1:8080").await.unwrap().local_addr().unwrap());
    println!("{n} {}", container.host_pid(1));
}
