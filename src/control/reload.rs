//! Reloads: one at a time, each with an outcome that whoever asked for it is told.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::time::{Duration, Instant};

use crate::handover::link::Hello;
use crate::handover::successor::{Inheritance, Program, Successor, SuccessorError};
use crate::journal::{self, Event};
use crate::status::socket::ReloadRequest;

/// What a reload needs.
pub(super) struct Reloads {
    program: Program,
    listeners: Vec<(String, OwnedFd)>,
    hello: Hello,
    ready_timeout: Duration,
    running: Option<Running>,
}

struct Running {
    start: Pin<Box<dyn Future<Output = Result<Successor, SuccessorError>>>>,
    wish: Wish,
}

/// Who asked for a reload, and when.
pub(super) struct Wish {
    pub(super) cause: &'static str,
    pub(super) since: Instant,
    pub(super) asked: Option<ReloadRequest>,
}

impl Wish {
    pub(super) fn of_signal() -> Self {
        Self { cause: "SIGHUP", since: Instant::now(), asked: None }
    }

    pub(super) fn of_request(request: ReloadRequest) -> Self {
        Self { cause: "outlive reload", since: Instant::now(), asked: Some(request) }
    }

    /// Says that nothing has come of it, and why.
    pub(super) fn refuse(self, reason: &str) {
        journal::log(Event::ReloadFailed { cause: self.cause, reason: reason.to_owned() });
        if let Some(asked) = self.asked {
            let _ = asked.answer.send(Err(reason.to_owned()));
        }
    }

    /// Says what has come of it. Ends when that has been heard.
    pub(super) async fn grant(self, text: String) {
        if let Some(ReloadRequest { answer, delivered }) = self.asked {
            let _ = answer.send(Ok(text));
            let _ = delivered.await;
        }
    }
}

/// A reload's outcome.
pub(super) struct Outcome {
    pub(super) wish: Wish,
    pub(super) result: Result<Successor, SuccessorError>,
}

impl Reloads {
    pub(super) fn new(
        program: Program,
        listeners: Vec<(String, OwnedFd)>,
        bound: Vec<String>,
        generation: u64,
        ready_timeout: Duration,
    ) -> Self {
        let hello = Hello { generation, bound, connections: 0 };
        Self { program, listeners, hello, ready_timeout, running: None }
    }

    /// Begins a reload, unless one runs; says whether it has. So many connections are about to move.
    pub(super) fn begin(&mut self, wish: Wish, connections: usize) -> bool {
        if let Some(running) = &self.running {
            let ago = running.wish.since.elapsed().as_secs_f64();
            wish.refuse(&format!("a reload is running already, since {ago:.1} s ({})", running.wish.cause));
            return false;
        }
        let listeners: std::io::Result<_> =
            self.listeners.iter().map(|(name, socket)| Ok((name.clone(), socket.try_clone()?))).collect();
        let listeners = match listeners {
            Ok(listeners) => listeners,
            Err(error) => {
                wish.refuse(&SuccessorError::Start(error).to_string());
                return false;
            }
        };
        let program = self.program.path().display().to_string();
        journal::log(Event::ReloadBegan { cause: wish.cause, program });
        let hello = Hello { connections, ..self.hello.clone() };
        let inheritance = Inheritance { listeners, hello, ready_timeout: self.ready_timeout };
        let program = self.program.clone();
        let start = Box::pin(async move { Successor::start(&program, inheritance).await });
        self.running = Some(Running { start, wish });
        true
    }

    /// Waits for the outcome of the reload that runs, if one does. Dropping the future loses nothing.
    pub(super) async fn outcome(&mut self) -> Outcome {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let result = running.start.as_mut().await;
        match self.running.take() {
            Some(Running { wish, .. }) => Outcome { wish, result },
            None => unreachable!("it was there a moment ago, and this is the only reference"),
        }
    }

    /// Gives up the reload that runs, and with it the process that it has started.
    pub(super) fn give_up(&mut self, why: &str) {
        if let Some(Running { start, wish }) = self.running.take() {
            drop(start);
            wish.refuse(why);
        }
    }
}
