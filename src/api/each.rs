//! Applications by listener, and what handlers are told of a connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Extensions, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Either};
use pin_project_lite::pin_project;

use crate::server::app::{App, BoxError};
use crate::server::body::RequestBody as Body;
use crate::server::exchange::ConnectionInfo;

/// Adds to a request's extensions what its connection is.
pub(super) type Extend = Arc<dyn Fn(&ConnectionInfo, &mut Extensions) + Send + Sync>;

/// One application for most listeners, and others for some of them.
#[derive(Clone)]
pub(super) struct Each<A> {
    pub(super) main: A,
    pub(super) others: Vec<(Arc<str>, Box<dyn AnyApp>)>,
    pub(super) extend: Vec<Extend>,
}

impl<A: App> App for Each<A> {
    type Body = Either<A::Body, AnyBody>;
    type Error = BoxError;
    type Future = Answering<A::Future>;

    fn call(&self, mut request: Request<Body>) -> Answering<A::Future> {
        if let (false, Some(connection)) = (self.others.is_empty() && self.extend.is_empty(), request.body().shared()) {
            for extend in &self.extend {
                extend(&connection, request.extensions_mut());
            }
            if let Some((_, other)) = self.others.iter().find(|(listener, _)| *listener == connection.listener) {
                return Answering::Other { answer: other.call_any(request) };
            }
        }
        Answering::Main { answer: self.main.call(request) }
    }
}

pin_project! {
    #[project = AnsweringProjected]
    pub(super) enum Answering<F> {
        Main { #[pin] answer: F },
        Other { answer: AnyAnswer },
    }
}

impl<F, B, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<Either<B, AnyBody>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project() {
            AnsweringProjected::Main { answer } => match ready!(answer.poll(cx)) {
                Ok(answer) => Ok(answer.map(Either::Left)),
                Err(error) => Err(error.into()),
            },
            AnsweringProjected::Other { answer } => {
                ready!(answer.as_mut().poll(cx)).map(|answer| answer.map(Either::Right))
            }
        })
    }
}

type AnyBody = UnsyncBoxBody<Bytes, BoxError>;

type AnyAnswer = Pin<Box<dyn Future<Output = Result<Response<AnyBody>, BoxError>>>>;

/// Any application at all.
pub(super) trait AnyApp: Send {
    fn call_any(&self, request: Request<Body>) -> AnyAnswer;

    fn clone_any(&self) -> Box<dyn AnyApp>;
}

impl<A: App<Body: Send> + Send> AnyApp for A {
    fn call_any(&self, request: Request<Body>) -> AnyAnswer {
        let answer = self.call(request);
        Box::pin(async {
            let answer = answer.await.map_err(Into::into)?;
            Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
        })
    }

    fn clone_any(&self) -> Box<dyn AnyApp> {
        Box::new(self.clone())
    }
}

impl Clone for Box<dyn AnyApp> {
    fn clone(&self) -> Self {
        // Of what is in the box: the box is an application, too.
        (**self).clone_any()
    }
}
