//! A smooth restart without systemd: on SIGHUP the program that is on disk by then takes over, connections included,
//! while this one finishes its requests.
//!
//! ```sh
//! cargo build --example smooth_restart && target/debug/examples/smooth_restart &
//! curl http://127.0.0.1:8080/             # in another terminal: an answer takes five seconds
//! ```
//!
//! Change [`TEXT`] meanwhile, build again, and `kill -HUP` the process: curl gets the former text from the former
//! process, and whoever asks next gets the new text from the new one. Should the new one not start, nothing has changed.
//!
//! SIGUSR1 and SIGTSTP call hooks, SIGTERM ends it gracefully, and SIGUSR2 is the hammer: it ends what still runs.
//! `ADDR` says where to listen, `DELAY` how many seconds an answer takes.

use std::time::Duration;
use std::{env, process};

use outlive::{Body, Ended, Error, Server, Signal};

/// What is answered. Change it, and build again.
const TEXT: &str = "Hello from the first build.\n";

#[tokio::main]
async fn main() -> Result<Ended, Error> {
    let server = Server::new().journal();
    let address = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let delay = match env::var("DELAY").as_deref().unwrap_or("5").parse().map(Duration::try_from_secs_f64) {
        Ok(Ok(delay)) => delay,
        _ => return Err(server.fail("DELAY must be a number of seconds")),
    };
    let slow = move |_request: http::Request<Body>| async move {
        tokio::time::sleep(delay).await;
        TEXT
    };

    server
        .bind("http", address)
        .on(Signal::Usr1, || say("SIGUSR1: about to write the counters to the log"))
        .after(Signal::Usr1, || say("SIGUSR1: they are written"))
        .on(Signal::Tstp, || say("SIGTSTP: no, this program is not to be suspended"))
        .on(Signal::Hup, || say("SIGHUP: about to start the program that is on disk now"))
        .on(Signal::Usr2, || say("SIGUSR2: that is the hammer"))
        .when_ready(|| say("every connection is served here from now on"))
        .serve(slow)
        .await
}

fn say(words: &str) {
    // In one piece: two processes may speak at the same time.
    let line = format!("[{}] {words}\n", process::id());
    eprint!("{line}");
}
