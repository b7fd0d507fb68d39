//! The future of an answer.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;

use super::body::Body;

/// The future of an answer: one that is there already, which costs no allocation, or one that takes its time.
pub(super) struct Reply(State);

enum State {
    Ready(Ready<Response<Body>>),
    Later(Pin<Box<dyn Future<Output = Response<Body>>>>),
}

impl Reply {
    pub(super) fn now(answer: Response<Body>) -> Self {
        Self(State::Ready(ready(answer)))
    }

    pub(super) fn later(answer: impl Future<Output = Response<Body>> + 'static) -> Self {
        Self(State::Later(Box::pin(answer)))
    }

    /// Changes the answer, once it is there.
    pub(super) fn map(self, change: impl FnOnce(Response<Body>) -> Response<Body> + 'static) -> Self {
        match self.0 {
            State::Ready(answer) => Self::now(change(answer.into_inner())),
            State::Later(answer) => Self::later(async move { change(answer.await) }),
        }
    }
}

impl Future for Reply {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Ready(answer) => Pin::new(answer).poll(cx).map(Ok),
            State::Later(answer) => answer.as_mut().poll(cx).map(Ok),
        }
    }
}
