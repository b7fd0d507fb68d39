//! tower's services, axum's Router among them, as something to serve.

use std::cell::RefCell;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::app::{Call, IntoCall};
use crate::server::app::BoxError;
use crate::server::body::RequestBody as Body;

/// Tells tower's services from the other kinds.
pub struct Tower;

impl<S, B> IntoCall<Tower> for S
where
    S: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>, Future: 'static> + Clone + Send + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + 'static,
{
    type Call = TowerCall<S>;

    fn into_call(self) -> TowerCall<S> {
        TowerCall(RefCell::new(self))
    }
}

/// One connection's clone of the service.
#[derive(Clone)]
pub struct TowerCall<S>(RefCell<S>);

impl<S, B> Call for TowerCall<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>, Future: 'static> + Clone + Send + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + 'static,
{
    type Body = B;
    type Error = S::Error;
    type Future = Calling<S>;

    fn call(&self, request: Request<Body>) -> Calling<S> {
        // Whoever has been asked whether it is ready must be called: it may keep a place for this request. So each
        // request has a service of its own, and the next one a clone, as tower's documentation of `call` has it.
        let mut service = self.0.borrow_mut();
        let next = service.clone();
        Calling::Waiting { service: mem::replace(&mut *service, next), request: Some(request) }
    }
}

pin_project! {
    #[project = CallingProjected]
    pub enum Calling<S: Service<Request<Body>>> {
        /// Until the service is ready.
        Waiting { service: S, request: Option<Request<Body>> },
        Called { #[pin] answer: S::Future },
    }
}

impl<S: Service<Request<Body>>> Future for Calling<S> {
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let answer = match self.as_mut().project() {
                CallingProjected::Called { answer } => return answer.poll(cx),
                CallingProjected::Waiting { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    match request.take() {
                        Some(request) => service.call(request),
                        None => unreachable!("it is taken once, and then this is another variant"),
                    }
                }
            };
            self.set(Self::Called { answer });
        }
    }
}
