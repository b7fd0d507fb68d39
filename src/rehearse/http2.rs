//! HTTP/2 clients: cleartext with prior knowledge (RFC 9113), one stream at a time, at busy clients' pace.
//!
//! HTTP/2 lets a server say which streams it has not worked on, by GOAWAY's last stream or by REFUSED_STREAM. Those may
//! be sent again without loss, so they are counted as declined and are no failure.

use std::cell::Cell;
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use http::{Method, Request};
use tokio::task::AbortHandle;

use super::answer::Answer;
use super::census::Kept;
use super::class::Failure;
use super::client::{Pace, Run, USER_AGENT, judge};
use super::connection::{Waiting, connect, waiting};
use super::tally::Kind;

/// How long frames that have arrived may take to be worked through before the connection is used regardless.
const LOOKS: u32 = 10;

/// One HTTP/2 client, until the run is over.
pub(super) async fn client(run: Rc<Run>, number: u32) {
    let mut pace = Pace::new(number);
    let mut client = Client::new(&run);
    let mut post = number % 2 == 1;
    while run.pause(pace.think()).await {
        client.ask(post && run.plan.post > 0).await;
        post = !post;
    }
}

/// Asks once before the first round, and learns the usual status from the answer.
pub(super) async fn preflight(run: &Rc<Run>, post: bool) -> Result<Answer, Failure> {
    match Client::new(run).request(post, Instant::now()).await {
        Ok(answer) => Ok(answer),
        Err(NoAnswer::Failed(class)) => Err(class),
        Err(NoAnswer::Declined) => Err(Failure::Closed),
    }
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug)]
enum NoAnswer {
    Failed(Failure),
    /// The server said that it has not worked on it.
    Declined,
}

impl From<Failure> for NoAnswer {
    fn from(class: Failure) -> Self {
        Self::Failed(class)
    }
}

/// Whether a connection can be used for another request.
enum State {
    Usable,
    ClosedInOrder,
    Stale,
}

struct Client<'a> {
    run: &'a Run,
    connection: Option<Connection>,
}

impl<'a> Client<'a> {
    fn new(run: &'a Run) -> Self {
        Self { run, connection: None }
    }

    async fn ask(&mut self, post: bool) {
        let began = Instant::now();
        let outcome = self.request(post, began).await;
        let usual = if post { &self.run.post.usual_status } else { &self.run.get.usual_status };
        let mut tally = self.run.tally.borrow_mut();
        match outcome.map(|answer| judge(answer, usual.get())) {
            Ok(judged) => {
                if let Some(connection) = &mut self.connection {
                    let kept = connection.kept.get_or_insert_with(|| tally.keep());
                    match judged {
                        Ok(()) => tally.answered(Kind::Http2, began, Some(kept)),
                        Err(class) => tally.failed(Kind::Http2, began, class),
                    }
                }
            }
            Err(NoAnswer::Failed(class)) => {
                tally.failed(Kind::Http2, began, class);
                self.connection = None;
            }
            // What the server said of the connection is found out before the next request.
            Err(NoAnswer::Declined) => tally.declined += 1,
        }
    }

    async fn request(&mut self, post: bool, began: Instant) -> Result<Answer, NoAnswer> {
        match self.state().await {
            Some(State::Stale) => return Err(Failure::Stale.into()),
            Some(State::ClosedInOrder) => {
                self.connection = None;
                self.run.tally.borrow_mut().closed_in_order();
            }
            Some(State::Usable) | None => {}
        }
        let within = self.run.plan.timeout.saturating_sub(began.elapsed());
        if self.connection.is_none() {
            self.connection = Some(Connection::open(self.run).await?);
        }
        let Some(connection) = &mut self.connection else { return Err(Failure::Closed.into()) };
        let exchange = connection.exchange(self.run, post);
        tokio::time::timeout(within, exchange).await.unwrap_or(Err(Failure::Timeout.into()))
    }

    async fn state(&mut self) -> Option<State> {
        match &mut self.connection {
            Some(connection) => Some(connection.state().await),
            None => None,
        }
    }
}

struct Connection {
    send: SendRequest<Bytes>,
    /// The same socket, to look at: h2 owns the other descriptor.
    socket: OwnedFd,
    task: AbortHandle,
    kept: Option<Kept>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    async fn open(run: &Run) -> Result<Self, Failure> {
        let stream = connect(run.plan.target.address, None, run.plan.connect_timeout).await?;
        let socket = rustix::io::fcntl_dupfd_cloexec(&stream, 0).map_err(|_| Failure::OwnLimit)?;
        let (send, connection) = h2::client::handshake(stream).await.map_err(|error| broken(&error, true))?;
        let task = tokio::task::spawn_local(async move {
            // Its errors reach the streams.
            _ = connection.await;
        });
        Ok(Self { send, socket, task: task.abort_handle(), kept: None })
    }

    async fn state(&mut self) -> State {
        // Frames that have arrived may hold the GOAWAY that announces the end: let h2 read them first.
        let looks = Cell::new(0);
        while waiting(&self.socket) == Waiting::Bytes && looks.replace(looks.get() + 1) < LOOKS {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        match poll_fn(|context| self.send.poll_ready(context)).await {
            Ok(()) if waiting(&self.socket) == Waiting::End => State::Stale,
            Ok(()) => State::Usable,
            Err(error) if error.is_go_away() && error.is_remote() => State::ClosedInOrder,
            Err(_) => State::Stale,
        }
    }

    async fn exchange(&mut self, run: &Run, post: bool) -> Result<Answer, NoAnswer> {
        let new = self.kept.is_none();
        let request = Request::builder()
            .method(if post { Method::POST } else { Method::GET })
            .uri(format!("http://{}{}", run.plan.target.authority, run.plan.target.path))
            .header("user-agent", USER_AGENT)
            .body(())
            .map_err(|_| Failure::Garbled)?;
        let no_answer = |error: h2::Error| no_answer(&error, new);
        let (response, mut stream) = self.send.send_request(request, !post).map_err(no_answer)?;
        if post {
            stream.send_data(vec![b'x'; run.plan.post].into(), true).map_err(no_answer)?;
        }
        let (head, mut body) = response.await.map_err(no_answer)?.into_parts();
        let expected = run.plan.expect.as_deref();
        let (mut length, mut matches) = (0, true);
        while let Some(data) = body.data().await {
            let data = data.map_err(|_| Failure::Cut)?;
            matches &= expected.is_none_or(|all| all.get(length..length + data.len()) == Some(&data[..]));
            length += data.len();
            // A connection that has ended meanwhile shows at the next read.
            _ = body.flow_control().release_capacity(data.len());
        }
        let body_matches = matches && expected.is_none_or(|all| all.len() == length);
        Ok(Answer { status: head.status.as_u16(), closes: false, body_matches })
    }
}

/// What an error before the head of the answer means.
fn no_answer(error: &h2::Error, new_connection: bool) -> NoAnswer {
    let declined = error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM));
    if declined { NoAnswer::Declined } else { NoAnswer::Failed(broken(error, new_connection)) }
}

fn broken(error: &h2::Error, new_connection: bool) -> Failure {
    match error.get_io() {
        Some(io) if new_connection && io.kind() == std::io::ErrorKind::ConnectionReset => Failure::Reset,
        Some(_) if new_connection => Failure::Closed,
        None if !error.is_remote() => Failure::Garbled,
        _ => Failure::LostStream,
    }
}
