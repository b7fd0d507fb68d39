//! HTTP/1.1 on one connection.
//!
//! hyper reads requests and writes answers; this polls it and takes the connection back (`into_parts`) whenever no
//! request runs and nothing is unsent: to park it, to time it out, or to let it leave in a drain. hyper's own
//! `graceful_shutdown` is not used: it drops requests that have arrived but weren't read yet. Nor may hyper shut the
//! socket down, which it only has on loan (`upgrade::lent`). An upgraded connection is the application's, until it
//! returns (`upgrade`).
//!
//! `pipeline_flush` isn't used either: with it, an answer waits in hyper's buffer for as long as a part of the next
//! request is in there, and a client that waits for the answer before it sends the rest waits forever.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use hyper::server::conn::http1::{self, Parts, UpgradeableConnection};
use hyper_util::rt::TokioIo;

use super::app::App;
use super::connection::{Wake, catch_up, linger, park, rejection};
use super::departure::depart;
use super::io::Io;
use super::registry::{Entry, Phase};
use super::service::{ConnectionService, Protocol};
use super::upgrade::lent::Lent;
use super::upgrade::watch;
use super::worker::Worker;

/// How long at least a connection keeps its HTTP machinery (a read buffer above all) after an answer: longer than a
/// busy client's think time, shorter than it takes to open ten thousand idle connections.
const PARK_AFTER: Duration = Duration::from_millis(250);

/// How long a client may take to finish a request's head while a drain closes: it holds up the next process.
const FAREWELL: Duration = Duration::from_secs(1);

/// How many fields a head may have if hyper isn't told otherwise.
const HYPER_HEAD_FIELDS: usize = 100;

/// Why a connection was taken back from hyper, or has ended.
enum Left {
    /// hyper has ended it: the client has, an answer said `Connection: close`, a request was malformed, or the
    /// connection was upgraded.
    Ended { lingering: bool, error: Option<hyper::Error> },
    /// It has been idle for [`PARK_AFTER`].
    Idle,
    /// A drain settles: what was read ahead has to be known to the next process, should this one be killed.
    Entrust { in_head: bool },
    /// The head of a request was begun and not finished in time.
    HeadTimeout,
    /// The client took none of an answer's bytes for too long.
    SendTimeout,
    /// A drain closes and no request runs.
    Leave,
}

/// Where a connection stands between two polls of hyper.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// A request runs, or its answer isn't all sent.
    Busy { written: u64 },
    /// Nothing of the next request has been read since `read` bytes.
    Idle { read: u64 },
    /// A part of a request's head has been read.
    Head,
}

/// Serves the connection to its end. `io.ahead` holds the first bytes of a request's head, and the entry's deadline is
/// that of the rest.
pub(super) async fn serve<A: App>(worker: &Rc<Worker<A>>, mut io: Io, entry: &Rc<Entry>) {
    let local = &worker.local;
    let limits = &local.limits;
    loop {
        let app = worker.app.clone();
        let service = ConnectionService::new(app, Rc::clone(local), Rc::clone(entry), Protocol::Http1);
        let lent = TokioIo::new(Lent::new(io));
        let mut connection = Box::new(worker.http1.serve_connection(lent, service).with_upgrades());
        let left = drive(&mut connection, worker, entry).await;
        io = match connection.into_parts().and_then(take_back) {
            Some(io) => io,
            // Boxed, so that connections which are never upgraded need no room for it.
            None => return Box::pin(watch::over(local, entry)).await,
        };
        match left {
            Left::Ended { lingering, error } => {
                report(worker, entry, error);
                if lingering || !io.ahead.is_empty() {
                    linger(&io, local, entry).await;
                }
                return;
            }
            Left::SendTimeout => return,
            Left::HeadTimeout => return time_out(&io, worker, entry).await,
            Left::Leave => {
                io = match depart(io, local, entry).await {
                    Some(io) => io,
                    None => return,
                };
                // No request runs, but one may have arrived: closing now would lose it. It is served, and told
                // `Connection: close`.
                if !catch_up(&mut io, local) || entry.has_expired() {
                    return io.shutdown();
                }
                entry.expire_at(Some(Instant::now() + FAREWELL));
            }
            // Its deadline stays what it was.
            Left::Entrust { in_head: true } => local.entrust(&io, entry),
            Left::Idle | Left::Entrust { .. } if io.ahead.is_empty() => {
                let idle = limits.idle_timeout.saturating_sub(PARK_AFTER);
                entry.expire_at(local.after(idle));
                match park(&mut io, local, entry, true).await {
                    Wake::Bytes => {
                        entry.since.set(local.recently());
                        entry.expire_at(local.after(limits.head_timeout));
                    }
                    Wake::Gone => return,
                    Wake::Leave => {
                        io = match depart(io, local, entry).await {
                            Some(io) => io,
                            None => return,
                        };
                        if !catch_up(&mut io, local) {
                            return io.shutdown();
                        }
                        entry.expire_at(Some(Instant::now() + FAREWELL));
                    }
                    Wake::Expired => return io.shutdown(),
                }
            }
            // It was not as idle as it looked: hyper had read the beginning of a request together with the end of
            // the one before.
            Left::Idle | Left::Entrust { .. } => {
                entry.expire_at(local.after(limits.head_timeout.saturating_sub(PARK_AFTER)));
            }
        }
    }
}

/// The connection's whole state: its socket, and what hyper has read ahead.
///
/// That comes before what hyper has not got to yet. It is copied, because the little that is there, or nothing, would
/// keep all of hyper's buffer allocated for as long as the connection lies idle.
fn take_back<S>(parts: Parts<TokioIo<Lent>, S>) -> Option<Io> {
    let mut io = parts.io.into_inner().end()?;
    match (parts.read_buf.is_empty(), io.ahead.is_empty()) {
        (true, _) => {}
        (false, true) => io.ahead = Bytes::copy_from_slice(&parts.read_buf),
        (false, false) => io.ahead = join(&parts.read_buf, &io.ahead),
    }
    Some(io)
}

/// Drives hyper until the connection has ended or should be taken back. The entry's deadline is that of the head that
/// is being read.
async fn drive<A: App>(
    connection: &mut UpgradeableConnection<TokioIo<Lent>, ConnectionService<A>>,
    worker: &Worker<A>,
    entry: &Entry,
) -> Left {
    let local = &worker.local;
    let limits = &local.limits;
    let mut standing = Standing::Head;
    let mut served = entry.requests.get();
    let mut farewell = local.phase() >= Phase::Closing && !local.can_leave(entry);
    poll_fn(|cx| {
        entry.remember(cx.waker());
        if let Poll::Ready(ended) = Pin::new(&mut *connection).poll(cx) {
            // After a malformed request or a body that nobody wanted the client may still be sending.
            let error = ended.err();
            return Poll::Ready(Left::Ended { lingering: error.is_some() || entry.misaligned.get(), error });
        }
        if entry.busy() {
            let written = entry.traffic.written();
            let waits = entry.traffic.write_blocked();
            if standing != (Standing::Busy { written }) || !waits {
                standing = Standing::Busy { written };
                entry.expire_at(if waits { local.after(limits.send_timeout) } else { None });
            } else if entry.deadline.get().is_none() && entry.has_expired() {
                return Poll::Ready(Left::SendTimeout);
            }
            farewell = false;
            return Poll::Pending;
        }
        entry.flushed();
        let (read, requests) = (entry.traffic.read(), entry.requests.get());
        match standing {
            // Most requests begin and end within one poll, and are never seen running.
            _ if requests != served => {
                served = requests;
                standing = Standing::Idle { read };
                entry.since.set(local.recently());
                entry.expire_at(local.after(PARK_AFTER.min(limits.idle_timeout)));
            }
            Standing::Idle { read: before } if read > before => {
                standing = Standing::Head;
                entry.since.set(local.recently());
                entry.expire_at(local.after(limits.head_timeout));
            }
            _ => {}
        }
        if entry.misaligned.get() {
            // hyper is about to find out that the rest of a body is unread, and to close.
            return Poll::Pending;
        }
        if local.phase() >= Phase::Closing && !farewell {
            return Poll::Ready(Left::Leave);
        }
        let in_head = standing == Standing::Head;
        if local.wants_copy(entry) {
            return Poll::Ready(Left::Entrust { in_head });
        }
        match standing {
            // Many connections see one request and then lie for long. Parked at once, they never hold a read buffer.
            Standing::Idle { .. } if served == 1 => Poll::Ready(Left::Idle),
            _ if !entry.has_expired() => Poll::Pending,
            Standing::Idle { .. } => Poll::Ready(Left::Idle),
            _ if farewell => Poll::Ready(Left::Leave),
            _ => Poll::Ready(Left::HeadTimeout),
        }
    })
    .await
}

/// Tells the observer if hyper has answered by itself, because what it read was no request.
fn report<A: App>(worker: &Worker<A>, entry: &Entry, error: Option<hyper::Error>) {
    if let (Some(observer), Some(error)) = (&worker.local.observer, error)
        && error.is_parse()
    {
        let too_large = error.is_parse_too_large();
        let status = if too_large { StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE } else { StatusCode::BAD_REQUEST };
        observer.rejected(&entry.info, status, &error.to_string());
    }
}

/// Answers 408 (RFC 9110, section 15.5.9) to a head that never ended.
async fn time_out<A: App>(io: &Io, worker: &Worker<A>, entry: &Entry) {
    if let Some(observer) = &worker.local.observer {
        observer.rejected(&entry.info, StatusCode::REQUEST_TIMEOUT, "its head did not end in time");
    }
    io.say(&rejection(StatusCode::REQUEST_TIMEOUT));
    linger(io, &worker.local, entry).await;
}

pub(super) fn join(first: &[u8], second: &[u8]) -> Bytes {
    let mut both = BytesMut::with_capacity(first.len() + second.len());
    both.extend_from_slice(first);
    both.extend_from_slice(second);
    both.freeze()
}

/// hyper's settings for HTTP/1.1.
pub(super) fn builder(limits: &super::limits::Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_header_size(limits.head_size).header_read_timeout(None);
    // Told a number, even its own, hyper fills an array of that size for each request, which is a tenth of its work.
    if limits.head_fields != HYPER_HEAD_FIELDS {
        builder.max_headers(limits.head_fields);
    }
    builder
}
