//! `outlive rehearse` under a real systemd, with the command that operators type.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;

use crate::on_every_systemd;
use crate::support::OUTLIVE;
use crate::support::container::{Container, Suite};

on_every_systemd!(a_restart_of_nginx_refuses_connections);

const LOAD: &str = "--connections 32 --fresh 16 --idle 200 --half 0 --rounds 3 --every 700ms";

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
    access_log off; keepalive_requests 1000000;
    client_body_temp_path /run/nginx-body; proxy_temp_path /run/nginx-proxy; fastcgi_temp_path /run/nginx-fastcgi;
    uwsgi_temp_path /run/nginx-uwsgi; scgi_temp_path /run/nginx-scgi;
    server { listen 127.0.0.1:8081 backlog=4096; location / { return 200 hello; } }
}
";

fn a_restart_of_nginx_refuses_connections(suite: Suite) {
    let container = Container::boot(suite);
    fs::copy(OUTLIVE, container.path("/usr/bin/outlive")).unwrap();
    install_nginx(&container);
    container.run("systemctl daemon-reload && systemctl start nginx");
    let results = rehearse(&container, "http://127.0.0.1:8081/", "systemctl restart nginx");
    assert_eq!(results["commands_failed"], 0, "{results:#}");
    let mut refused = 0;
    for round in results["rounds"].as_array().unwrap() {
        // The port may be closed for less time than lies between two new connections. Those before it are reset then.
        assert!(round["lost"].as_u64() > Some(0), "{round:#}");
        assert_eq!(round["survived"], 0, "{round:#}");
        refused += round["failures"]["refused"].as_u64().unwrap_or(0);
    }
    assert!(refused > 0, "{results:#}");
    assert_eq!(results["clients"]["idle"]["failures"]["stale"], 600, "{:#}", results["clients"]);
}

/// The results of a rehearsal inside of the container.
fn rehearse(container: &Container, url: &str, command: &str) -> Value {
    let text = container.output(&format!("outlive rehearse --url {url} {LOAD} --json - -- {command}"));
    serde_json::from_slice(&text.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&text.stderr)))
}

/// Puts the machine's own nginx into the container: its system may be another one, so it brings its libraries.
fn install_nginx(container: &Container) {
    let found = Command::new("sh").args(["-c", "command -v nginx && ldd $(command -v nginx)"]).output().unwrap();
    assert!(found.status.success(), "nginx is needed: apt-get install nginx");
    let text = String::from_utf8(found.stdout).unwrap();
    fs::create_dir_all(container.path(NGINX)).unwrap();
    for file in text.split_whitespace().filter(|word| word.starts_with('/')) {
        let name = match file.rsplit('/').next().unwrap() {
            loader if loader.starts_with("ld-linux") => "ld.so",
            other => other,
        };
        let copy = container.path(&format!("{NGINX}/{name}"));
        fs::copy(file, &copy).unwrap();
        fs::set_permissions(copy, fs::Permissions::from_mode(0o755)).unwrap();
    }
    container.write(&format!("{NGINX}/nginx.conf"), NGINX_CONFIGURATION);
    container.write("/etc/systemd/system/nginx.service", NGINX_UNIT);
}
