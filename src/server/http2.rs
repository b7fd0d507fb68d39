//! HTTP/2 with prior knowledge on one connection (RFC 9113, section 3.3).
//!
//! Its end is lossless by the protocol itself: GOAWAY, twice, between which the client learns which streams count.
//! hyper does that, but waits for the client's PONG before the second one, for hours if need be: every end is bounded
//! here.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::TokioIo;

use super::app::App;
use super::io::Io;
use super::registry::{Entry, Phase};
use super::service::{ConnectionService, Protocol};
use super::worker::Worker;

/// How long a client without streams may take to answer GOAWAY's PING.
const FAREWELL: Duration = Duration::from_secs(1);

/// Runs hyper's streams on the worker's own thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Serves the connection to its end.
pub(super) async fn serve<A: App>(worker: &Rc<Worker<A>>, io: Io, entry: &Rc<Entry>) {
    let local = &worker.local;
    let limits = &local.limits;
    let service = ConnectionService::new(worker.app.clone(), Rc::clone(local), Rc::clone(entry), Protocol::Http2);
    let mut connection = Box::pin(worker.http2.serve_connection(TokioIo::new(io), service));
    let mut leaving = false;
    let mut before = None;
    entry.expire_at(None);
    poll_fn(|cx| {
        entry.remember(cx.waker());
        loop {
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let blocked = entry.traffic.write_blocked().then(|| entry.traffic.written());
            let standing = Some((entry.running(), blocked, leaving));
            if standing != before {
                before = standing;
                let patience = match (entry.running(), blocked) {
                    (_, Some(_)) => Some(limits.send_timeout),
                    (0, None) if leaving => Some(FAREWELL),
                    (0, None) => Some(limits.idle_timeout),
                    (_, None) => None,
                };
                entry.expire_at(patience.and_then(|patience| local.after(patience)));
            }
            if entry.has_expired() && (leaving || blocked.is_some()) {
                return Poll::Ready(());
            }
            if !leaving && (entry.has_expired() || local.phase() >= Phase::Closing) {
                leaving = true;
                Pin::as_mut(&mut connection).graceful_shutdown();
                continue; // so that GOAWAY is sent now
            }
            return Poll::Pending;
        }
    })
    .await;
}

/// hyper's settings for HTTP/2.
pub(super) fn builder(limits: &super::limits::Limits) -> http2::Builder<LocalExecutor> {
    let mut builder = http2::Builder::new(LocalExecutor);
    builder.max_header_list_size(u32::try_from(limits.head_size).unwrap_or(u32::MAX));
    builder
}
