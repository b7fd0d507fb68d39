//! The service under a real systemd: every test runs with 252 and with 257, each in a container of its own.
//!
//! What clients lose by a restart or a reload is for `outlive rehearse` to say: see `support/rehearsal.rs`. Clients of a
//! test's own look for what that can't see: which process answers and when, and what a stop does to one known request.

#[path = "../support/mod.rs"]
mod support;

mod axum;
mod crash_loop;
mod drain;
mod handover;
mod hardening;
mod hostile;
mod journal;
mod killed;
mod last_good;
mod load;
mod rehearse;
mod reload;
mod restart;
mod start;
mod status;
mod user;
mod watchdog;
mod websockets;
mod window;

use support::client::{Answer, Connection, Failure, get};
use support::container::{Container, SERVICE, Suite};
use support::running::Text as _;
use support::wait::{SOON, until};
use tokio::task::JoinHandle;

/// The routes that the tests ask for.
const CONFIG: &str = r#"
[log]
access = "all"

[[route]]
path = "/live"
welcome = {}

[[route]]
path = "/hello"
respond = { body = "hello\n" }

[[route]]
path = "/slow"
respond = { body = "slow, but whole\n", delay = "3s" }

[[route]]
path = "/never"
respond = { body = "never\n", delay = "1h" }

[[route]]
path = "/broken"
respond = { status = 500, body = "broken\n" }

[[route]]
path = "/files/{*file}"
files = "/srv/www"
"#;

/// A route of the service's, as `outlive rehearse` is told.
const HELLO: &str = "--url http://127.0.0.1:8080/hello";

/// What /slow answers.
const SLOW: &str = "slow, but whole\n";

/// Boots a container with the service in it: its socket listens, and it is started by the first connection.
fn host(suite: Suite) -> Container {
    with_outlive(Container::boot(suite), CONFIG)
}

/// Without an access log, which is no part of what is measured, and hides what matters when a test fails.
fn quiet() -> String {
    CONFIG.replace("access = \"all\"", "access = \"off\"")
}

fn with_outlive(container: Container, config: &str) -> Container {
    container.write("/srv/www/index.html", "<!doctype html><title>A page</title>\n");
    container.install_outlive();
    container.configure(config);
    container
}

/// What the service says of itself at one moment.
struct Live {
    pid: u32,
    generation: u64,
    /// Requests that run, but for the one that asked.
    requests: u64,
}

impl Live {
    async fn ask(connection: &mut Connection) -> Result<Self, Failure> {
        let now = connection.get("/live?live").await?.json();
        let number = |name: &str| now[name].as_u64().ok_or_else(|| format!("no {name} in {now}"));
        Ok(Self {
            pid: u32::try_from(number("pid")?)?,
            generation: number("generation")?,
            requests: number("requests")?.saturating_sub(1),
        })
    }

    /// Asks over a connection of its own.
    async fn fresh() -> Result<Self, Failure> {
        Self::ask(&mut Connection::open(SERVICE).await?).await
    }
}

/// A connection that lies idle, and a request for /slow that runs on another.
async fn one_idle_and_one_busy() -> (Connection, JoinHandle<Result<Answer, Failure>>) {
    let mut idle = Connection::open(SERVICE).await.unwrap();
    idle.get("/hello").await.unwrap();
    let slow = tokio::spawn(get(SERVICE, "/slow"));
    running(1).await;
    (idle, slow)
}

/// Waits until so many requests run, and returns what the service says then.
async fn running(requests: u64) -> Live {
    let mut connection = Connection::open(SERVICE).await.unwrap();
    let began = std::time::Instant::now();
    loop {
        let live = Live::ask(&mut connection).await.unwrap();
        if live.requests >= requests {
            return live;
        }
        assert!(began.elapsed() < SOON, "{} requests run, not {requests}", live.requests);
    }
}

/// Waits until there are so many processes of the program.
#[track_caller]
fn wait_for_processes(host: &Container, number: usize) {
    until(SOON, &format!("{number} processes"), || {
        let text = host.output("cat /proc/[0-9]*/comm 2>/dev/null | grep -cx outlive").text();
        if text.trim() == number.to_string() { Ok(()) } else { Err(text) }
    });
}
