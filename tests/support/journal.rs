//! Entries of a journal, and the journal of a container.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use serde_json::Value;

use super::wait::SOON;

/// One entry, as `journalctl --output=json` has it.
#[derive(Clone, Debug)]
pub struct Entry(serde_json::Map<String, Value>);

impl Entry {
    /// Reads one line of `journalctl --output=json`.
    #[track_caller]
    pub fn parse(line: &str) -> Self {
        match serde_json::from_str(line) {
            Ok(Value::Object(fields)) => Self(fields),
            other => panic!("journalctl wrote no entry but {line:?}: {other:?}"),
        }
    }

    /// A field's value; `None` if it is missing, or is there twice, or isn't text.
    pub fn get(&self, field: &str) -> Option<&str> {
        self.0.get(field)?.as_str()
    }

    /// A field's value.
    ///
    /// # Panics
    ///
    /// If there is no such text.
    #[track_caller]
    pub fn field(&self, name: &str) -> &str {
        self.get(name).unwrap_or_else(|| panic!("no {name} in {self:#?}"))
    }

    /// A field's value as a number.
    #[track_caller]
    pub fn number(&self, name: &str) -> u64 {
        self.field(name).parse().unwrap_or_else(|error| panic!("{name} of {self:#?}: {error}"))
    }

    /// The names of all fields.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// As `journalctl --output=json` has it: what is there twice is an array.
impl FromIterator<(String, String)> for Entry {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(fields: I) -> Self {
        let mut entry = serde_json::Map::new();
        for (name, value) in fields {
            let value = match entry.remove(&name) {
                None => Value::String(value),
                Some(Value::Array(mut values)) => {
                    values.push(value.into());
                    Value::Array(values)
                }
                Some(first) => Value::Array(vec![first, value.into()]),
            };
            entry.insert(name, value);
        }
        Self(entry)
    }
}

/// Reads the journal as it is written.
pub struct Follower {
    journalctl: Child,
    lines: Receiver<String>,
    seen: Vec<Entry>,
}

impl Follower {
    /// Runs the command, which must write entries as lines of JSON.
    #[track_caller]
    pub fn new(mut journalctl: Command) -> Self {
        let mut journalctl = journalctl.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(journalctl.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { journalctl, lines, seen: Vec::new() }
    }

    /// Waits for an entry, among those not yet read.
    ///
    /// # Panics
    ///
    /// If none comes soon.
    #[track_caller]
    pub fn wait_for(&mut self, what: &str, wanted: impl Fn(&Entry) -> bool) -> Entry {
        let deadline = Instant::now() + SOON;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                let seen: Vec<_> = self.seen.iter().filter_map(|entry| entry.get("MESSAGE")).collect();
                panic!("waited {SOON:?} in vain for a journal entry: {what}. Seen: {seen:#?}");
            };
            let entry = Entry::parse(&line);
            self.seen.push(entry.clone());
            if wanted(&entry) {
                return entry;
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.journalctl.kill();
        let _ = self.journalctl.wait();
    }
}
