//! `outlive rehearse` under a real systemd, with the command that operators type.

use std::process::Command;

use crate::on_every_systemd;
use crate::support::OUTLIVE;
use crate::support::container::{Container, Suite};
use crate::support::rehearsal::Rehearsal;

on_every_systemd!(a_restart_of_nginx_refuses_connections);

/// nginx closes its port at once when it is asked to quit, and waits for clients who have sent half a head: as long as its
/// `client_header_timeout`. New connections are refused meanwhile. Without such clients the port would be closed for a few
/// milliseconds, which none of the fresh ones might meet.
const LOAD: &str = "--connections 32 --fresh 16 --idle 200 --half 10 --rounds 3 --every 700ms";

/// How many refusals each restart must show: of sixteen clients that come fifty times a second, for a second or more.
const REFUSED_AT_LEAST: u64 = 100;

/// Where nginx is put, with the loader and the libraries of the system that it comes from.
const NGINX: &str = "/opt/nginx";

/// As in Debian's unit: asked to quit, and killed five seconds later.
const NGINX_UNIT: &str = "\
[Service]
Type=forking
PIDFile=/run/nginx.pid
ExecStart=/opt/nginx/ld.so --library-path /opt/nginx /opt/nginx/nginx -c /opt/nginx/nginx.conf -e /run/nginx.log
KillSignal=SIGQUIT
KillMode=mixed
TimeoutStopSec=5
";

const NGINX_CONFIGURATION: &str = "\
user root;
pid /run/nginx.pid;
worker_processes 2;
events { worker_connections 4096; }
http {
    access_log off; keepalive_requests 1000000; client_header_timeout 1500ms;
    client_body_temp_path /run/nginx-body; proxy_temp_path /run/nginx-proxy; fastcgi_temp_path /run/nginx-fastcgi;
    uwsgi_temp_path /run/nginx-uwsgi; scgi_temp_path /run/nginx-scgi;
    server { listen 127.0.0.1:8081 backlog=4096; location / { return 200 hello; } }
}
";

fn a_restart_of_nginx_refuses_connections(suite: Suite) {
    let container = Container::boot(suite);
    container.install(OUTLIVE.as_ref(), "/usr/bin/outlive");
    install_nginx(&container);
    container.run("systemctl daemon-reload && systemctl start nginx");
    let load = format!("--url http://127.0.0.1:8081/ {LOAD}");
    let results = Rehearsal::start(&container, &load, "systemctl restart nginx").finish();
    assert_eq!(results.number("/commands_failed"), 0.0, "{:#}", results.0);
    for round in results.0["rounds"].as_array().unwrap() {
        assert!(round["failures"]["refused"].as_u64() >= Some(REFUSED_AT_LEAST), "{round:#}");
        assert_eq!(round["survived"], 0, "{round:#}");
    }
    assert_eq!(results.number("/clients/idle/failures/stale"), 600.0, "{:#}", results.0);
}

/// Puts the machine's own nginx into the container: its system may be another one, so it brings its libraries.
fn install_nginx(container: &Container) {
    let found = Command::new("sh").args(["-c", "command -v nginx && ldd $(command -v nginx)"]).output().unwrap();
    assert!(found.status.success(), "nginx is needed: apt-get install nginx");
    let text = String::from_utf8(found.stdout).unwrap();
    for file in text.split_whitespace().filter(|word| word.starts_with('/')) {
        let name = match file.rsplit('/').next().unwrap() {
            loader if loader.starts_with("ld-linux") => "ld.so",
            other => other,
        };
        container.install(file.as_ref(), &format!("{NGINX}/{name}"));
    }
    container.write(&format!("{NGINX}/nginx.conf"), NGINX_CONFIGURATION);
    container.write("/etc/systemd/system/nginx.service", NGINX_UNIT);
}
