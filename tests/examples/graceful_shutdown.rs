//! `examples/graceful_shutdown.rs`.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::task::JoinHandle;

use crate::demonstration::Demonstration;
use crate::support::client::{Answer, Failure, get};
use crate::support::example::Example;

fn start(environment: &[(&str, &str)]) -> Demonstration {
    static BUILT: OnceLock<Example> = OnceLock::new();
    let example = BUILT.get_or_init(|| Example::build("graceful_shutdown"));
    Demonstration::start(&example.program, environment)
}

/// Starts it, and asks: the request runs then.
async fn asked(environment: &[(&str, &str)]) -> (Demonstration, JoinHandle<Result<Answer, Failure>>) {
    let example = start(environment);
    let slow = tokio::spawn(get(example.address("http"), "/"));
    example.wait_for_requests(1);
    (example, slow)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_done_within_five_seconds_is_answered() {
    for (signal, words) in [(Signal::INT, "Ctrl-C: "), (Signal::TERM, "SIGTERM: ")] {
        let (mut example, slow) = asked(&[("DELAY", "1.5")]).await;

        example.signal(signal);

        let answer = slow.await.unwrap().unwrap();
        assert_eq!(answer.text(), "That took a while, but nobody was cut off.\n");
        assert_eq!(example.wait().code(), Some(0));
        example.wait_for(&format!("{words}requests that run have 5s"));
        example.wait_for("1 finished, 0 cut, after ");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_takes_ten_is_cut_after_five() {
    let (mut example, slow) = asked(&[]).await;
    let asked = Instant::now();

    example.signal(Signal::TERM);

    slow.await.unwrap().expect_err("it would have been answered five seconds later");
    assert_eq!(example.wait().code(), Some(1));
    let took = asked.elapsed();
    assert!((Duration::from_millis(4900)..Duration::from_secs(9)).contains(&took), "{took:?}");
    example.wait_for("0 finished, 1 cut, after ");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_presses_twice_does_not_wait() {
    let (mut example, slow) = asked(&[]).await;
    let asked = Instant::now();

    example.signal(Signal::INT);
    example.wait_for("draining");
    example.signal(Signal::INT);

    assert_eq!(example.wait().code(), Some(1));
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    slow.await.unwrap().expect_err("it was cut");
}

#[test]
fn what_is_wrong_is_said() {
    for (variable, value, words) in [
        ("DELAY", "soon", "DELAY must be a number of seconds"),
        ("ADDR", "localhost", "is no address to listen on: write 127.0.0.1:8080"),
    ] {
        let mut example = start(&[(variable, value)]);
        assert_eq!(example.wait().code(), Some(1));
        example.wait_for(words);
    }
}
