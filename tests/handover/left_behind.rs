//! What can't go on as if nothing had been: it ends in good order, and is counted.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;

use crate::client::Client;
use crate::support::OUTLIVE;
use crate::support::fake_systemd::FakeSystemd;
use crate::support::service::Service;
use crate::{CONFIG, adopted, end, systemd};

#[test]
fn without_a_store_connections_are_closed() {
    let systemd = FakeSystemd::with_http();
    let mut first = systemd.start(CONFIG);
    let mut idle = Client::idle(systemd.http());
    let mut running = Client::asking(systemd.http(), "/slow");
    let mut late = Client::asking(systemd.http(), "/slower");
    Client::tcp(systemd.http()).get("/live?live");
    end(&mut first);
    first.wait_for_line("Connections cannot be handed over to the next process and will be closed: ");
    assert!(late.answer().body == "slower\n");
    idle.assert_closed();
    assert_eq!(running.answer().body, "slow\n");
}

#[test]
fn without_settling_an_answer_says_close_only_if_there_is_no_store() {
    let config = CONFIG.replace("[drain]", "[drain]\nsettle = \"0s\"");
    for (kept, last) in [(0, true), (64, false)] {
        let systemd = FakeSystemd::with_http().keeping(kept);
        let mut first = systemd.start(&config);
        let mut running = Client::asking(systemd.http(), "/slow");
        Client::tcp(systemd.http()).get("/live?live");
        end(&mut first);
        assert_eq!(running.answer().is_last(), last);
    }
}

#[test]
fn of_a_listener_that_is_gone() {
    let mut systemd = systemd().tcp("admin", "127.0.0.1:0");
    let admin = systemd.addresses().nth(1).unwrap();
    let mut first = systemd.start(CONFIG);
    let mut stranger = Client::idle(admin);
    let mut known = Client::idle(systemd.http());
    end(&mut first);
    systemd.forget("admin");
    let second = systemd.start(CONFIG);
    let said = adopted(&second);
    assert!(said.contains("Adopted 1 of 2") && said.contains("1 rejected: 1 of no listener that there is"), "{said}");
    assert!(!known.get("/live?live").is_last());
    let answer = stranger.get("/live?live");
    assert_eq!(answer.generation(), 2);
    assert!(answer.is_last());
    stranger.assert_closed();
}

#[test]
fn beyond_a_lower_limit() {
    let systemd = systemd();
    let mut first = systemd.start(CONFIG);
    let mut clients: Vec<_> = (0..10).map(|_| Client::tcp(systemd.http())).collect();
    clients.iter_mut().for_each(|client| drop(client.get("/live?live")));
    end(&mut first);
    let second = systemd.start(&format!("max_connections = 4\n{CONFIG}"));
    let said = adopted(&second);
    assert!(said.contains("Adopted 4 of 10") && said.contains("6 rejected: 6 beyond max_connections"), "{said}");
    let last =
        clients.iter_mut().filter_map(|client| client.get("/live?live").is_last().then(|| client.assert_closed()));
    assert_eq!(last.count(), 6);
}

#[test]
fn beyond_fewer_descriptors() {
    let systemd = systemd();
    let mut first = systemd.start(CONFIG);
    let mut clients: Vec<_> = (0..600).map(|_| Client::tcp(systemd.http())).collect();
    clients.iter_mut().for_each(|client| drop(client.get("/live?live")));
    end(&mut first);
    let second = systemd.service(CONFIG).limit_descriptors(400).start();
    let said = adopted(&second);
    assert!(said.contains("of 600") && said.contains("rejected"), "{said}");
    let mut answered = 0;
    for client in &mut clients {
        answered += usize::from(client.try_get("/live?live").is_ok());
    }
    assert!(answered >= 250, "{answered}");
    // There are descriptors left for others.
    drop(clients);
    assert_eq!(Client::tcp(systemd.http()).get("/live?live").generation(), 2);
}

/// As many descriptors may be on their way between processes as their user may have open, unless it is privileged:
/// ETOOMANYREFS of sendmsg(2).
#[test]
fn beyond_the_descriptors_that_may_be_on_their_way() {
    const CONNECTIONS: usize = 280;
    let systemd = systemd();
    let leave = |service: &mut Service| {
        let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| Client::tcp(systemd.http())).collect();
        clients.iter_mut().for_each(|client| drop(client.get("/live?live")));
        end(service);
        clients
    };
    let number = |story: &str, what: &str| {
        let drained = story.lines().find_map(|line| line.split("Drained: ").nth(1)).unwrap().to_owned();
        let before = drained.split(what).next().unwrap().trim_end();
        before.rsplit([' ', ',']).next().unwrap().parse::<usize>().unwrap_or_else(|_| panic!("{drained}"))
    };
    // Nobody takes any of these out of their vaults, so they count as on their way: more than there may be.
    let mut vaults = Vec::new();
    for _ in 0..2 {
        let mut service = unprivileged(&systemd);
        drop(leave(&mut service));
        vaults.extend(systemd.store.take());
        let said = service.said();
        let handed_over = number(&said, "connections handed over");
        let refused = said.contains("cannot be handed over and will be closed: too many descriptors are on their way");
        // The kernel looks before it counts, so that a whole message may get through.
        assert_eq!(refused, handed_over < CONNECTIONS, "{said}");
    }
    let mut third = unprivileged(&systemd);

    let mut clients = leave(&mut third);

    let said = third.said();
    assert!(said.contains("cannot be handed over") && said.contains("LimitNOFILE="), "{said}");
    assert!(said.contains(&format!("{CONNECTIONS} connections closed")), "{said}");
    clients.iter_mut().for_each(Client::assert_closed);
    drop(vaults);
    let _fourth = unprivileged(&systemd);
    assert_eq!(Client::tcp(systemd.http()).get("/live?live").generation(), 4);
}

/// Starts a service as a user of its own with 400 descriptors.
#[track_caller]
fn unprivileged(systemd: &FakeSystemd) -> Service {
    let folder = systemd.path("");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let program = systemd.path("program");
    if !program.exists() {
        fs::copy(OUTLIVE, &program).unwrap();
    }
    let user = (500_000 + std::process::id()).to_string();
    let setpriv = ["setpriv", "--reuid", &user, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--"];
    // The folder of its notifications is made last.
    let open = format!("chmod -R a+rwX {}", folder.display());
    let launch = systemd.service(&format!("workers = 1\n{CONFIG}")).installed();
    systemd.install(&program);
    launch.prepare(&open).limit_descriptors(400).through(&setpriv).start()
}

#[test]
fn a_hammer_lets_idle_connections_go_on() {
    let systemd = systemd();
    let mut first = systemd.start(&CONFIG.replace("1500ms", "1h"));
    let mut idle = Client::idle(systemd.http());
    let mut running = Client::asking(systemd.http(), "/slower");
    Client::tcp(systemd.http()).get("/live?live");
    first.signal(Signal::TERM);
    first.wait_for("STOPPING=1");
    first.wait_until("the store", |_| (systemd.store.names().len() == 2).then_some(()));
    first.signal(Signal::USR2);
    assert_eq!(first.wait_for_exit().code(), Some(1));
    running.assert_closed();
    let _second = systemd.start(CONFIG);
    assert_eq!(idle.get("/live?live").generation(), 2);
}

/// The service isn't to start again, so nobody would adopt them.
#[test]
fn by_a_stop() {
    for (job, handed_over) in [("stop", false), ("restart", true)] {
        let systemd = systemd();
        let jobs = format!("a(usssoo) 1 9 \"outlive.service\" \"{job}\" \"running\" \"/j/9\" \"/u/o\"");
        let first = systemd.service(CONFIG).in_unit("outlive.service").script("busctl", &format!("echo '{jobs}'"));
        let mut first = first.start();
        let mut idle = Client::idle(systemd.http());
        end(&mut first);
        drop(systemd.store.take());
        let said = first.said();
        assert_eq!(said.contains("1 connection handed over"), handed_over, "{job}: {said}");
        idle.assert_closed();
    }
}
