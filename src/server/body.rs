//! The body of a request, with its limit, and what is left of it when the application doesn't want it.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::app::BoxError;
use super::exchange::{ConnectionInfo, Exchange};

/// The request's body was longer than its route allows.
#[derive(Debug, thiserror::Error)]
#[error("the request's body is longer than the {limit} bytes that are allowed here")]
pub struct BodyTooLong {
    /// The limit, in bytes.
    pub limit: u64,
}

/// Where an unfinished body goes when the application drops it, so that the server can read the rest: otherwise the
/// connection would have to be closed without a word after the answer.
pub(super) type Leftover = Arc<Mutex<Option<Incoming>>>;

/// A request's body. Dropping it early is fine: the server reads the rest, up to a limit, so that the connection lives.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Option<Incoming>,
    leftover: Option<Leftover>,
    exchange: Option<Arc<Exchange>>,
    limit: u64,
    read: u64,
}

impl RequestBody {
    /// A body without bytes, for tests of applications.
    #[must_use]
    pub fn empty() -> Self {
        Self { incoming: None, leftover: None, exchange: None, limit: u64::MAX, read: 0 }
    }

    pub(super) fn new(incoming: Incoming, leftover: Option<Leftover>, exchange: Arc<Exchange>) -> Self {
        let incoming = (!incoming.is_end_stream()).then_some(incoming);
        if incoming.is_none() {
            exchange.set_body_complete();
        }
        Self { incoming, leftover, exchange: Some(exchange), limit: u64::MAX, read: 0 }
    }

    /// The connection that the request came on; `None` only of a body that was made by hand.
    #[must_use]
    pub fn connection(&self) -> Option<&ConnectionInfo> {
        self.exchange.as_ref().map(|exchange| &*exchange.connection)
    }

    /// What requests of the connection share.
    pub(crate) fn shared(&self) -> Option<Arc<ConnectionInfo>> {
        self.exchange.as_ref().map(|exchange| Arc::clone(&exchange.connection))
    }

    /// The request with its answer, as the server sees it; `None` only of a body that was made by hand.
    #[must_use]
    pub fn exchange(&self) -> Option<&Arc<Exchange>> {
        self.exchange.as_ref()
    }

    fn complete(&mut self) {
        self.incoming = None;
        if let Some(exchange) = &self.exchange {
            exchange.set_body_complete();
        }
    }

    /// Sets the most bytes that may be read; beyond it, reading fails with [`BodyTooLong`].
    pub fn set_limit(&mut self, bytes: u64) {
        self.limit = bytes;
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(incoming) = this.incoming.as_mut() else {
            return Poll::Ready(None);
        };
        if let Some(exchange) = &this.exchange {
            exchange.set_body_touched();
        }
        match ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
            Some(Ok(frame)) => {
                this.read += frame.data_ref().map_or(0, |data| data.len() as u64);
                if this.read > this.limit {
                    if let Some(exchange) = &this.exchange {
                        exchange.set_body_limit_hit();
                    }
                    return Poll::Ready(Some(Err(Box::new(BodyTooLong { limit: this.limit }))));
                }
                if incoming.is_end_stream() {
                    this.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(Box::new(error)))),
            None => {
                this.complete();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let (Some(incoming), Some(leftover)) = (self.incoming.take(), self.leftover.take())
            && !incoming.is_end_stream()
            && let Ok(mut place) = leftover.lock()
        {
            *place = Some(incoming);
        }
    }
}
