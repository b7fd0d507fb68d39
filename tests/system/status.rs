//! What `systemctl status` shows.

use crate::support::container::Suite;
use crate::{host, on_every_systemd, one_idle_and_one_busy};

on_every_systemd!(the_status_follows_what_goes_on, anybody_may_not_ask_and_root_gets_the_whole_picture);

fn the_status_follows_what_goes_on(suite: Suite) {
    let host = host(suite);
    host.in_network(async || {
        let (_idle, slow) = one_idle_and_one_busy().await;
        let serving = "Serving 6 routes: 2 connections, 1 request";
        host.wait_for_status(serving, |status| status == serving).await;

        let stop = host.start("systemctl stop outlive.service");
        let draining =
            |status: &str| status.starts_with("Draining: 1 request left, ") && status.ends_with(" s of 27 s");
        host.wait_for_status("Draining: 1 request left, N s of 27 s", draining).await;

        assert_eq!(slow.await.unwrap().unwrap().text(), crate::SLOW);
        stop.finished().await;
    });
}

fn anybody_may_not_ask_and_root_gets_the_whole_picture(suite: Suite) {
    let host = host(suite);
    host.in_network(async || {
        let (_idle, slow) = one_idle_and_one_busy().await;
        let now: serde_json::Value = serde_json::from_str(&host.run("outlive status --json")).unwrap();
        assert_eq!(now["connections"]["busy"], 1, "{now}");
        assert_eq!(now["requests"]["running"], 1, "{now}");
        assert_eq!(now["pid"], host.main_pid());
        assert_eq!(now["configuration"]["files"][0], "/etc/outlive/outlive.toml");
        let text = host.run("outlive status");
        println!("{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        slow.await.unwrap().unwrap();
    });
    let nobody = host.output("setpriv --reuid=65534 --regid=65534 --clear-groups outlive status");
    assert!(!nobody.status.success());
    host.run("systemctl restart outlive.service");
    let now: serde_json::Value = serde_json::from_str(&host.run("outlive status --json")).unwrap();
    assert_eq!(now["last_drain"]["cause"], "SIGTERM", "{now}");
    assert_eq!(now["last_drain"]["cut"], 0, "{now}");
}
