//! A graceful end: a request that runs when ctrl-C or SIGTERM comes is finished, if it takes no longer than five seconds.
//!
//! ```sh
//! cargo run --example graceful_shutdown
//! curl http://127.0.0.1:8080/        # in another terminal: an answer takes ten seconds
//! ```
//!
//! Press ctrl-C in the first terminal while curl waits: after five seconds the request is cut, and the exit status
//! is 1. With `DELAY=3` in the environment it is answered in time, and the exit status is 0. Press ctrl-C twice for an
//! end at once. `ADDR` says where to listen.

use std::env;
use std::time::Duration;

use outlive::{Body, Drain, Ended, Error, Server, Signal};

/// How long what runs may take once the end was asked for.
const WINDOW: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<Ended, Error> {
    let server = Server::new().journal();
    let address = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let delay = match env::var("DELAY").as_deref().unwrap_or("10").parse().map(Duration::try_from_secs_f64) {
        Ok(Ok(delay)) => delay,
        _ => return Err(server.fail("DELAY must be a number of seconds")),
    };
    let slow = move |_request: http::Request<Body>| async move {
        tokio::time::sleep(delay).await;
        "That took a while, but nobody was cut off.\n"
    };

    let ended = server
        .bind("http", address)
        .drain(Drain::window(WINDOW))
        .on(Signal::Int, || eprintln!("Ctrl-C: requests that run have {WINDOW:?}"))
        .on(Signal::Term, || eprintln!("SIGTERM: requests that run have {WINDOW:?}"))
        .serve(slow)
        .await?;

    eprintln!("{} finished, {} cut, after {:.1?}", ended.finished, ended.cut, ended.took);
    Ok(ended) // as an exit status: 0, or 1 if a request was cut
}
