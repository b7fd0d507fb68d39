//! Applications by listener, and what handlers are told of a connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Extensions, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Either};

use crate::server::app::{App, BoxError};
use crate::server::body::RequestBody as Body;
use crate::server::exchange::{ConnectionInfo, Exchange};

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
    type Body = Either<A::Body, UnsyncBoxBody<Bytes, BoxError>>;
    type Error = BoxError;

    fn call(
        &self,
        mut request: Request<Body>,
        exchange: Arc<Exchange>,
    ) -> impl Future<Output = Result<Response<Self::Body>, BoxError>> {
        for extend in &self.extend {
            extend(&exchange.connection, request.extensions_mut());
        }
        let other = self.others.iter().find(|(listener, _)| *listener == exchange.connection.listener);
        let answer = match other {
            None => Either::Left(self.main.call(request, exchange)),
            Some((_, other)) => Either::Right(other.call_any(request, exchange)),
        };
        async {
            Ok(match answer {
                Either::Left(answer) => answer.await.map_err(Into::into)?.map(Either::Left),
                Either::Right(answer) => answer.await?.map(Either::Right),
            })
        }
    }
}

type AnyAnswer<'app> = Pin<Box<dyn Future<Output = Result<Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError>> + 'app>>;

/// Any application at all.
pub(super) trait AnyApp: Send {
    fn call_any(&self, request: Request<Body>, exchange: Arc<Exchange>) -> AnyAnswer<'_>;

    fn clone_any(&self) -> Box<dyn AnyApp>;
}

impl<A: App<Body: Send> + Send> AnyApp for A {
    fn call_any(&self, request: Request<Body>, exchange: Arc<Exchange>) -> AnyAnswer<'_> {
        let answer = self.call(request, exchange);
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
