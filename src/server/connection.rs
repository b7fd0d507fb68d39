//! One connection, from its first byte to its last.
//!
//! A connection that waits for a request is *parked*: a socket and a few words, no HTTP machinery. The first bytes of
//! the next request wake it. HTTP/2 is told by its preface (RFC 9113, section 3.4).

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use http::StatusCode;

use super::app::App;
use super::departure::depart;
use super::io::Io;
use super::registry::{Entry, Local, Phase, Registered};
use super::worker::Worker;
use super::{http1, http2};

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long the client may go on sending after this side has ended a connection that it may still be sending on. To
/// close at once would make the kernel answer with a reset, which destroys what the client hasn't read yet.
const LINGER: Duration = Duration::from_secs(1);

/// How long a connection that was accepted just before a drain closes may take to send its first byte.
const FRESH_FAREWELL: Duration = Duration::from_millis(200);

/// Why a parked connection no longer is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// Bytes have come; they are in `ahead`.
    Bytes,
    /// The client has ended the connection, or it has failed.
    Gone,
    /// It has waited long enough.
    Expired,
    /// A drain closes.
    Leave,
}

/// Serves a connection to its end here, or until it leaves for the next process.
pub(super) async fn run<A: App>(worker: Rc<Worker<A>>, mut io: Io, registered: Registered) {
    let (local, entry) = (&worker.local, &registered.entry);
    let undecided = |ahead: &Bytes| ahead.len() < PREFACE.len() && PREFACE.starts_with(ahead);
    let waits = io.ahead.is_empty() || (entry.requests.get() == 0 && undecided(&io.ahead));
    let timeout = if waits { local.limits.idle_timeout } else { local.limits.head_timeout };
    entry.expire_at(entry.since.get().checked_add(timeout));
    let mut wake = Wake::Bytes;
    let mut patient = true;
    if waits {
        wake = loop {
            let wake = park(&mut io, local, entry, patient).await;
            match wake {
                Wake::Bytes if entry.requests.get() == 0 && undecided(&io.ahead) => continue,
                Wake::Bytes => {
                    entry.since.set(local.recently());
                    entry.expire_at(local.after(local.limits.head_timeout));
                }
                Wake::Leave if patient => {
                    io = match depart(io, local, entry).await {
                        Some(io) => io,
                        None => return,
                    };
                    // Its client has connected in good faith, and its request is on the way.
                    patient = false;
                    entry.expire_at(Some(Instant::now() + FRESH_FAREWELL));
                    continue;
                }
                Wake::Gone | Wake::Expired | Wake::Leave => {}
            }
            break wake;
        };
    }
    match wake {
        Wake::Bytes if entry.requests.get() == 0 && io.ahead.starts_with(PREFACE) => {
            http2::serve(&worker, io, entry).await;
        }
        Wake::Bytes => http1::serve(&worker, io, entry).await,
        Wake::Gone => {}
        Wake::Expired | Wake::Leave => io.shutdown(),
    }
}

/// Waits for bytes, for the deadline, or (where `heeds_drain`) for the drain to close.
pub(super) async fn park(io: &mut Io, local: &Local, entry: &Rc<Entry>, heeds_drain: bool) -> Wake {
    poll_fn(|cx| {
        entry.remember(cx.waker());
        let mut scratch = local.scratch.borrow_mut();
        match io.poll_bytes(cx, &mut scratch) {
            Poll::Ready(Ok(read)) if read > 0 => {
                add(&mut io.ahead, &scratch[..read]);
                return Poll::Ready(Wake::Bytes);
            }
            Poll::Ready(_) => return Poll::Ready(Wake::Gone),
            Poll::Pending => {}
        }
        // In this order: a request that has arrived is served, whatever else is the matter.
        if heeds_drain && local.phase() >= Phase::Closing {
            Poll::Ready(Wake::Leave)
        } else if entry.has_expired() {
            Poll::Ready(Wake::Expired)
        } else {
            local.entrust(io, entry);
            Poll::Pending
        }
    })
    .await
}

fn add(ahead: &mut Bytes, more: &[u8]) {
    if ahead.is_empty() {
        *ahead = Bytes::copy_from_slice(more);
    } else {
        let mut both = BytesMut::from(&ahead[..]);
        both.extend_from_slice(more);
        *ahead = both.freeze();
    }
}

/// Ends a connection on which the client may still be sending: see [`LINGER`].
pub(super) async fn linger(io: &Io, local: &Local, entry: &Entry) {
    io.shutdown();
    entry.expire_at(Some(Instant::now() + LINGER));
    poll_fn(|cx| {
        entry.remember(cx.waker());
        let mut scratch = local.scratch.borrow_mut();
        loop {
            match io.poll_bytes(cx, &mut scratch) {
                Poll::Ready(Ok(read)) if read > 0 => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending if entry.has_expired() => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}

/// Reads what has arrived meanwhile into `ahead`; says whether there is anything there now.
pub(super) fn catch_up(io: &mut Io, local: &Local) -> bool {
    let mut scratch = local.scratch.borrow_mut();
    if let Ok(read @ 1..) = io.try_bytes(&mut scratch) {
        add(&mut io.ahead, &scratch[..read]);
    }
    !io.ahead.is_empty()
}

/// An answer that the server gives by itself before it closes.
pub(super) fn rejection(status: StatusCode) -> Vec<u8> {
    let date = httpdate::fmt_http_date(SystemTime::now());
    format!("HTTP/1.1 {status}\r\nDate: {date}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").into_bytes()
}
