//! Runs the real command, and lets it trigger what the test's server does in each round.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// The longest that a rehearsal may take in these tests.
const DEADLINE: Duration = Duration::from_secs(60);

/// A rehearsal to be run.
pub struct Rehearsal {
    folder: TempDir,
    arguments: Vec<String>,
    command: Vec<String>,
}

/// What came of it.
pub struct Outcome {
    pub status: i32,
    pub summary: String,
    pub progress: String,
    pub json: Value,
}

impl Rehearsal {
    /// Without any client; one round, as short as can be, unless further arguments say otherwise.
    pub fn of(address: SocketAddr) -> Self {
        let arguments =
            format!("--url http://{address}/ --connections 0 --fresh 0 --idle 0 --half 0 --rounds 1 --every 10ms");
        let arguments = arguments.split(' ').map(str::to_owned).collect();
        Self { folder: tempfile::tempdir().unwrap(), arguments, command: Vec::new() }
    }

    /// Further arguments, which override those before.
    pub fn with(mut self, arguments: &str) -> Self {
        for argument in arguments.split_whitespace() {
            let before = self.arguments.iter().position(|other| argument.starts_with("--") && other == argument);
            if let Some(place) = before {
                self.arguments.drain(place..place + 2);
            }
            self.arguments.push(argument.to_owned());
        }
        self
    }

    /// The command.
    pub fn command(mut self, words: &[&str]) -> Self {
        self.command = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Each run of the command calls this with the number of the round, from 1, and ends when it returns.
    pub fn each_round(mut self, mut deed: impl FnMut(u32) + Send + 'static) -> Self {
        let [go, done] = ["go", "done"].map(|name| self.folder.path().join(name));
        for pipe in [&go, &done] {
            rustix::fs::mkfifoat(rustix::fs::CWD, pipe, 0o600.into()).unwrap();
        }
        self.command = vec!["sh".into(), "-c".into(), format!("echo > {go:?}; read word < {done:?}")];
        std::thread::spawn(move || {
            // Each open waits for the other side; the thread ends with the test's process.
            for round in 1.. {
                File::open(&go).unwrap().read_to_end(&mut Vec::new()).unwrap();
                deed(round);
                writeln!(File::options().write(true).open(&done).unwrap(), "done").unwrap();
            }
        });
        self
    }

    /// Starts it, for tests that interrupt it.
    pub fn start(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outlive"));
        command.arg("rehearse").args(&self.arguments).arg("--json").arg(self.json());
        command.args((!self.command.is_empty()).then_some("--")).args(&self.command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs it to its end.
    pub fn run(&self) -> Outcome {
        let mut child = self.start();
        let progress = read(child.stderr.take().unwrap());
        self.outcome(child, &progress)
    }

    /// Waits for its end. `progress` as it comes from its standard error.
    pub fn outcome(&self, mut child: Child, progress: &mpsc::Receiver<String>) -> Outcome {
        let summary = read(child.stdout.take().unwrap());
        let progress = until_end(progress, &mut child);
        let summary = until_end(&summary, &mut child);
        let status = child.wait().unwrap().code().unwrap();
        let json = std::fs::read(self.json()).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Outcome { status, summary, progress, json: json.unwrap_or_default() }
    }

    fn json(&self) -> std::path::PathBuf {
        self.folder.path().join("out.json")
    }
}

/// Lines as they come.
pub fn read(from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// All further lines; the child is killed if they do not end.
fn until_end(lines: &mpsc::Receiver<String>, child: &mut Child) -> String {
    let mut text = String::new();
    loop {
        match lines.recv_timeout(DEADLINE) {
            Ok(line) => text += &(line + "\n"),
            Err(mpsc::RecvTimeoutError::Disconnected) => return text,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                child.kill().unwrap();
                panic!("no end in sight after:\n{text}");
            }
        }
    }
}

impl Outcome {
    /// All failures by class.
    pub fn failures(&self) -> BTreeMap<String, u64> {
        let object = self.json["failures"].as_object().unwrap_or_else(|| panic!("no results:\n{}", self.progress));
        object.iter().map(|(class, count)| (class.clone(), count.as_u64().unwrap())).collect()
    }

    /// That exactly these failures were reported, with the exit status to match.
    pub fn assert_failures(&self, expected: &[(&str, u64)]) {
        let expected: BTreeMap<_, _> = expected.iter().map(|&(class, count)| (class.to_owned(), count)).collect();
        assert_eq!(self.failures(), expected, "\n{}\n{}", self.progress, self.summary);
        assert_eq!(self.status, i32::from(!expected.is_empty()), "\n{}", self.summary);
    }

    /// A number of the results, by its JSON pointer.
    pub fn number(&self, pointer: &str) -> f64 {
        let value = self.json.pointer(pointer).and_then(Value::as_f64);
        value.unwrap_or_else(|| panic!("no number at {pointer}:\n{:#}", self.json))
    }
}
