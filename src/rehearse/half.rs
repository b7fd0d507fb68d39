//! Half clients: half of a request's head before the command, the rest after it.
//!
//! Even ones do so on a connection that is new in each round, odd ones on one that has been answered before: a server
//! that drains meets both, half a first head and half a later one. At the round's end all make one more request.

use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::class::Failure;
use super::client::Run;
use super::connection::Connection;
use super::tally::Kind;

/// All half clients.
#[derive(Debug)]
pub(super) struct Half {
    run: Rc<Run>,
    clients: Vec<Client>,
    /// Where the head is split.
    middle: usize,
}

#[derive(Debug, Default)]
struct Client {
    connection: Option<Connection>,
    /// What went wrong in the first half.
    failure: Option<(Instant, Failure)>,
}

impl Half {
    pub(super) fn new(run: &Rc<Run>) -> Self {
        let clients = (0..run.plan.half).map(|_| Client::default()).collect();
        Self { run: Rc::clone(run), clients, middle: run.get.bytes.len() / 2 }
    }

    /// Everyone sends the first half.
    pub(super) async fn begin(&mut self) {
        let (run, first) = (&self.run, &self.run.get.bytes[..self.middle]);
        join_all(self.clients.iter_mut().enumerate().map(|(number, client)| client.begin(run, number, first))).await;
    }

    /// Those whose connection is kept make another request on it, so that a close which came after the answer shows.
    pub(super) async fn ask(&mut self) {
        let run = &self.run;
        let kept = self.clients.iter_mut().filter(|client| client.connection.is_some());
        join_all(kept.map(|client| run.ask(Kind::Half, &mut client.connection, None, &run.get, Instant::now()))).await;
    }

    /// Everyone sends the rest, spread evenly over `time`.
    pub(super) async fn finish(&mut self, time: Duration) {
        let (run, rest) = (&self.run, &self.run.get.bytes[self.middle..]);
        let count = u32::try_from(self.clients.len()).unwrap_or(u32::MAX).max(1);
        let finishing = (0..).zip(&mut self.clients).map(|(number, client)| async move {
            tokio::time::sleep(time * number / count).await;
            client.finish(run, rest).await;
        });
        join_all(finishing).await;
    }
}

impl Client {
    async fn begin(&mut self, run: &Run, number: usize, first: &[u8]) {
        let began = Instant::now();
        if number.is_multiple_of(2) {
            self.connection = None;
        } else if self.connection.is_none() {
            run.ask(Kind::Half, &mut self.connection, None, &run.get, began).await;
        }
        let sent = async {
            match &self.connection {
                Some(connection) if connection.is_stale() => return Err(Failure::Stale),
                Some(_) => {}
                None => self.connection = Some(run.open(None).await?),
            }
            if let Some(connection) = &self.connection {
                connection.send_part(first).await;
            }
            Ok(())
        };
        self.failure = sent.await.err().map(|class| (began, class));
    }

    /// The latency counts from here: before, the client itself was what took its time.
    async fn finish(&mut self, run: &Run, rest: &[u8]) {
        let (began, outcome) = match self.failure.take() {
            Some((began, class)) => (began, Err(class)),
            None => (Instant::now(), run.exchange(&mut self.connection, &run.get, rest).await),
        };
        run.count(Kind::Half, &mut self.connection, began, outcome);
    }
}
