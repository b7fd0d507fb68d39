//! `outlive rehearse` in a container: it judges what clients lose, since its own never retry.

use std::process::Output;

use serde_json::Value;

use super::container::Container;
use super::running::{Running, Text as _};

/// Where a container has the program, unless a test has put a copy elsewhere.
const PROGRAM: &str = "outlive";

/// How often a command is run that is `usually` run so often: `OUTLIVE_TEST_RESTARTS=100` for the full length.
pub fn rounds(usually: u64) -> u64 {
    std::env::var("OUTLIVE_TEST_RESTARTS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(usually)
}

/// Runs a command while clients use the service, and asserts that they lose nothing by it.
#[track_caller]
pub fn nothing_is_lost(host: &Container, load: &str, command: &str) -> Results {
    let results = Rehearsal::start(host, load, command).finish();
    results.assert_nothing_lost();
    results
}

/// A rehearsal under way.
pub struct Rehearsal(Running);

impl Rehearsal {
    /// Starts one, with these arguments of `outlive rehearse`.
    #[track_caller]
    pub fn start(host: &Container, load: &str, command: &str) -> Self {
        Self::start_with(host, PROGRAM, load, command)
    }

    /// Starts one with another copy of the program, for a command that replaces the one that is installed.
    #[track_caller]
    pub fn start_with(host: &Container, program: &str, load: &str, command: &str) -> Self {
        Self(host.start(&format!("{program} rehearse {load} --json - -- {command}")))
    }

    /// Waits for its end.
    #[track_caller]
    pub fn finish(self) -> Results {
        Results::of(&self.0.output())
    }

    /// Waits for its end, while the clients of this thread go on.
    pub async fn finished(self) -> Results {
        tokio::task::spawn_blocking(|| self.finish())
            .await
            .unwrap_or_else(|lost| std::panic::resume_unwind(lost.into_panic()))
    }
}

/// What came of it: `--json`, as docs/rehearse.md explains it.
pub struct Results(pub Value);

impl Results {
    #[track_caller]
    fn of(output: &Output) -> Self {
        assert!(output.stdout.starts_with(b"{"), "{}", output.text());
        println!("{}", String::from_utf8_lossy(&output.stderr));
        let results = Self::read(&String::from_utf8_lossy(&output.stdout));
        assert_eq!(output.status.success(), results.0["all_well"] == true, "{}: {:#}", output.status, results.0);
        results
    }

    /// Reads what `--json` has written.
    #[track_caller]
    pub fn read(text: &str) -> Self {
        let mut results: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        // Thousands of lines that would hide the others when a test fails.
        for long in ["timeline", "incidents"] {
            results.as_object_mut().unwrap().remove(long);
        }
        Self(results)
    }

    /// A number, by its JSON pointer.
    #[track_caller]
    pub fn number(&self, pointer: &str) -> f64 {
        self.0
            .pointer(pointer)
            .and_then(Value::as_f64)
            .unwrap_or_else(|| panic!("no number at {pointer}: {:#}", self.0))
    }

    /// The classes of what failed.
    #[track_caller]
    pub fn failed(&self) -> Vec<&str> {
        self.0["failures"].as_object().unwrap().keys().map(String::as_str).collect()
    }

    /// What the command wrote in the first round, or the end of it.
    #[track_caller]
    pub fn command_output(&self) -> &str {
        self.0["rounds"][0]["command"]["output"].as_str().unwrap_or_else(|| panic!("no output: {:#}", self.0))
    }

    /// Asserts that nothing failed, and that the command did what it should.
    #[track_caller]
    pub fn assert_all_well(&self) {
        assert_eq!(self.0["all_well"], true, "{:#}", self.0);
    }

    /// Asserts besides that every connection that was open when a command began went on, and none was told to close.
    #[track_caller]
    pub fn assert_nothing_lost(&self) {
        self.assert_all_well();
        let (survived, kept) = (self.number("/survived"), self.number("/kept"));
        assert!(kept > 0.0 && survived == kept, "{survived} of {kept} survived: {:#}", self.0);
        assert_eq!(self.number("/closed_in_order"), 0.0, "nobody is told to close: {:#}", self.0);
    }
}
