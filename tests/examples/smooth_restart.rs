//! `examples/smooth_restart.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::demonstration::Demonstration;
use crate::support::client::{Connection, get};
use crate::support::example::{self, Example};
use crate::support::wait::{SOON, until};

const FIRST: &str = "Hello from the first build.\n";
const SECOND: &str = "Hello from the second build.\n";

/// A folder with the example's source and its program.
struct Workplace {
    folder: TempDir,
    example: Example,
}

impl Workplace {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap(), example: Example::build("smooth_restart") };
        fs::copy(&place.example.program, place.program()).unwrap();
        place
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("smooth_restart")
    }

    /// Puts another file in the program's place, as builds and installations do: under its name, not into it.
    fn replace(&self, with: &Path) {
        fs::rename(with, self.program()).unwrap();
    }
}

/// The number that a process has said in a line.
fn speaker(line: &str) -> Pid {
    let number = line.strip_prefix('[').and_then(|rest| rest.split_once(']')).unwrap_or_else(|| panic!("{line}")).0;
    Pid::from_raw(number.parse().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_request_gets_the_old_text_and_the_next_one_the_new_text() {
    let place = Workplace::new();
    // Beforehand, so that the request needn't be slower than a compiler.
    let source = place.folder.path().join("changed.rs");
    let text = example::source("smooth_restart");
    assert!(text.contains("the first build"));
    fs::write(&source, text.replace("the first build", "the second build")).unwrap();
    let built = place.folder.path().join("built");
    place.example.rebuild(&source, &built);

    let mut example = Demonstration::start(&place.program(), &[("DELAY", "2")]);
    let server = example.address("http");
    let slow = tokio::spawn(async move {
        let mut connection = Connection::open(server).await.unwrap();
        (connection.get("/").await, connection)
    });
    example.wait_for_requests(1);
    example.wait_for("SIGUSR1: they are written");
    place.replace(&built);

    example.signal(Signal::HUP);

    example.wait_for("SIGHUP: about to start");
    // The first process has said that of itself.
    let own = format!("[{}]", example.pid());
    let new = until(SOON, "another process", || {
        let said = example.said();
        let mut taken = said.lines().filter(|line| line.ends_with("every connection is served here from now on"));
        taken.find(|line| !line.starts_with(&own)).map(speaker).ok_or(said.clone())
    });
    // While the old process answers the old request.
    let next = tokio::spawn(get(server, "/"));
    let (old, mut connection) = slow.await.unwrap();
    assert_eq!(old.unwrap().text(), FIRST);
    assert_eq!(next.await.unwrap().unwrap().text(), SECOND);
    assert_eq!(example.wait().code(), Some(0), "the old process has ended in good order");
    // Its connection goes on in the new process.
    assert_eq!(connection.get("/").await.unwrap().text(), SECOND);

    kill_process(new, Signal::TSTP).unwrap();
    example.wait_for(&format!("[{new}] SIGTSTP: "));
    let cut = tokio::spawn(get(server, "/"));
    until(SOON, "a request", || {
        kill_process(new, Signal::USR1).unwrap();
        let said = example.said();
        let after = said.split_once("SIGTSTP: ").map_or("", |(_, after)| after);
        if after.contains(", 1 request. Since") { Ok(()) } else { Err(said) }
    });
    kill_process(new, Signal::USR2).unwrap();
    cut.await.unwrap().expect_err("the hammer has fallen");
    example.wait_for(&format!("[{new}] SIGUSR2: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_cannot_start_changes_nothing() {
    let place = Workplace::new();
    let mut example = Demonstration::start(&place.program(), &[("DELAY", "0")]);
    let mut connection = Connection::open(example.address("http")).await.unwrap();
    let broken = place.folder.path().join("broken");
    fs::write(&broken, "what a compiler leaves when the disk is full\n").unwrap();
    place.replace(&broken);

    example.signal(Signal::HUP);

    example.wait_for("the reload has failed, and nothing has changed");
    assert_eq!(connection.get("/").await.unwrap().text(), FIRST);
    tokio::time::timeout(Duration::from_secs(30), async {
        example.signal(Signal::TERM);
        tokio::task::block_in_place(|| assert_eq!(example.wait().code(), Some(0)));
    })
    .await
    .unwrap();
}
