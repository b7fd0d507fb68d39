//! The rounds: when the command runs, and what idle and half clients do around it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek};
use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, SealFlags};
use tokio::process::Command;

use super::client::Run;
use super::half::Half;
use super::idle::Idle;
use super::progress::Progress;
use super::tally::NEAR;

/// The load alone, before the first command: what to compare with.
const LEAD_IN: Duration = Duration::from_millis(500);

/// How much of a command's output is kept, from its end.
const MOST_OUTPUT: usize = 4096;

/// One run of the command.
#[derive(Clone, Debug)]
pub(super) struct CommandRun {
    /// Since the run's start.
    pub started: Duration,
    pub took: Duration,
    pub outcome: Outcome,
    /// The end of what it wrote.
    pub output: String,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Exited(i32),
    Killed(i32),
    NotStarted(String),
}

impl CommandRun {
    pub(super) fn succeeded(&self) -> bool {
        self.outcome == Outcome::Exited(0)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exit status {status}"),
            Self::Killed(signal) => write!(f, "killed by signal {signal}"),
            Self::NotStarted(why) => write!(f, "not started: {why}"),
        }
    }
}

/// All rounds, one after the other. What they return still holds connections: to close thousands takes a while, in which
/// the other clients would be held up, so they must be kept until those have ended.
pub(super) async fn perform(run: &Rc<Run>, progress: &Progress) -> (Idle, Half) {
    let (idle, mut half) = (Idle::new(run), Half::new(run));
    for number in 0..run.plan.rounds {
        run.tally.borrow_mut().begin_round();
        idle.open().await;
        half.begin().await;
        if number == 0 {
            tokio::time::sleep(LEAD_IN).await;
        }
        let next = Instant::now() + run.plan.every;
        restart(run).await;
        // Long enough to see what the command left behind, however long it took itself.
        let end = next.max(Instant::now() + NEAR);
        half.finish((end - Instant::now()).saturating_sub(NEAR / 5)).await;
        tokio::time::sleep_until(end.into()).await;
        idle.ask().await;
        half.ask().await;
        let mut tally = run.tally.borrow_mut();
        tally.end_round();
        progress.round(&tally);
    }
    (idle, half)
}

/// The command, if there is one.
async fn restart(run: &Run) {
    run.tally.borrow_mut().command_starts();
    let result = match run.plan.command.split_first() {
        Some((program, arguments)) => {
            let started = run.tally.borrow().began.elapsed();
            let (outcome, output) = execute(program, arguments).await;
            let took = run.tally.borrow().began.elapsed() - started;
            Some(CommandRun { started, took, outcome, output })
        }
        None => None,
    };
    run.tally.borrow_mut().command_ended(result);
}

async fn execute(program: &OsString, arguments: &[OsString]) -> (Outcome, String) {
    match spawn_and_wait(program, arguments).await {
        Ok(done) => done,
        Err(error) => (Outcome::NotStarted(format!("{}: {error}", program.to_string_lossy())), String::new()),
    }
}

async fn spawn_and_wait(program: &OsString, arguments: &[OsString]) -> std::io::Result<(Outcome, String)> {
    use std::os::unix::process::ExitStatusExt;
    // Memory, not a pipe: a daemon that the command leaves behind may keep it open, and neither must we wait for it nor
    // it die of a broken pipe.
    let mut output =
        File::from(rustix::fs::memfd_create("command-output", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .spawn()?;
    let status = child.wait().await?;
    // Nor may it fill memory for ever.
    rustix::fs::fcntl_add_seals(&output, SealFlags::GROW)?;
    let mut written = Vec::new();
    output.rewind()?;
    output.read_to_end(&mut written)?;
    let outcome = match (status.code(), status.signal()) {
        (Some(code), _) => Outcome::Exited(code),
        (None, signal) => Outcome::Killed(signal.unwrap_or_default()),
    };
    let end = &written[written.len().saturating_sub(MOST_OUTPUT)..];
    Ok((outcome, String::from_utf8_lossy(end).trim_end().to_owned()))
}
