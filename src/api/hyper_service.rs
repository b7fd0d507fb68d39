//! hyper's services, as something to serve.

use bytes::Bytes;
use http::{Request, Response};
use hyper::service::Service;

use super::app::{Call, IntoCall};
use crate::server::app::BoxError;
use crate::server::body::RequestBody as Body;

/// Tells hyper's services from the other kinds.
pub struct Hyper;

impl<S, B> IntoCall<Hyper> for S
where
    S: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>, Future: 'static> + Clone + Send + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + 'static,
{
    type Call = HyperCall<S>;

    fn into_call(self) -> HyperCall<S> {
        HyperCall(self)
    }
}

#[derive(Clone)]
pub struct HyperCall<S>(S);

impl<S, B> Call for HyperCall<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>, Future: 'static> + Clone + Send + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + 'static,
{
    type Body = B;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: Request<Body>) -> S::Future {
        self.0.call(request)
    }
}
