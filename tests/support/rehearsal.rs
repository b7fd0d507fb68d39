//! `outlive rehearse` in a container: it judges what clients lose, since its own never retry.

use std::process::Output;

use serde_json::Value;

use super::container::Container;
use super::running::{Running, Text as _};

/// A rehearsal under way.
pub struct Rehearsal(Running);

impl Rehearsal {
    /// Starts one, with these arguments of `outlive rehearse`.
    #[track_caller]
    pub fn start(host: &Container, load: &str, command: &str) -> Self {
        Self(host.start(&format!("outlive rehearse {load} --json - -- {command}")))
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
        Self::read(&String::from_utf8_lossy(&output.stdout))
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

    /// Asserts that nothing failed, and that the command did what it should.
    #[track_caller]
    pub fn assert_all_well(&self) {
        assert_eq!(self.0["all_well"], true, "{:#}", self.0);
    }
}
