//! More connections than local ports: in a network of its own, with a thousand ports, three thousand connections work.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Runs a shell script in a network namespace with few ports; `$outlive` is the program.
fn with_few_ports(folder: &Path, script: &str) -> Output {
    let script = format!(
        "set -eu
        ip link set lo up
        echo 20000 20999 >/proc/sys/net/ipv4/ip_local_port_range
        cd {}
        {script}",
        folder.display()
    );
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "sh", "-c", &script]).env("outlive", env!("CARGO_BIN_EXE_outlive"));
    command.output().expect("unshare is needed: apt-get install util-linux")
}

#[test]
fn connections_come_from_as_many_sources_as_needed() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = "user root; pid pid; error_log error.log; worker_processes 1;
        events { worker_connections 8192; }
        http {
            client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi; scgi_temp_path scgi;
            log_format source $remote_addr; access_log access.log source; keepalive_requests 1000000;
            server { listen 127.0.0.1:8080 backlog=4096; location / { return 200 hello; } }
        }";
    std::fs::write(folder.path().join("nginx.conf"), configuration).unwrap();
    let script = "nginx -p . -c nginx.conf -e error.log
        trap 'nginx -p . -c nginx.conf -e error.log -s stop' EXIT
        $outlive rehearse --url http://127.0.0.1:8080/ --connections 4 --fresh 0 --half 0 --idle 3000 \\
            --rounds 2 --every 10ms --json out.json";
    let output = with_few_ports(folder.path(), script);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results: Value = serde_json::from_slice(&std::fs::read(folder.path().join("out.json")).unwrap()).unwrap();
    assert_eq!((&results["kept"], &results["survived"]), (&6008.into(), &6008.into()));
    let sources = std::fs::read_to_string(folder.path().join("access.log")).unwrap();
    let sources: BTreeSet<_> = sources.lines().collect();
    // Half of the ports of each are used; the busy ones come from 127.0.0.1.
    let expected: Vec<_> = (1..=7).map(|last| format!("127.0.0.{last}")).collect();
    assert_eq!(sources.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn too_few_ports_are_named_before_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let plans = ["--url http://[::1]:8080/ --idle 3000", "--url http://127.0.0.1:8080/ --connections 3000"];
    for plan in plans {
        let output = with_few_ports(folder.path(), &format!("$outlive rehearse {plan}"));
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{plan}: {text}");
        assert!(text.contains("local ports") && text.contains("(1000)"), "{plan}: {text}");
    }
}
