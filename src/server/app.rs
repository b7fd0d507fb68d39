//! What the server asks of an application.

use std::future::Future;

use bytes::Bytes;
use http::{Request, Response};

use super::body::RequestBody;
use super::exchange::{ConnectionInfo, Exchange, Outcome};

/// Any error, boxed.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An application: it answers requests.
///
/// Each worker clones it once; its futures run on that worker's thread alone and needn't be `Send`.
pub trait App: Clone + 'static {
    /// The answers' body.
    type Body: http_body::Body<Data = Bytes, Error: Into<BoxError>> + 'static;

    /// Why a request can't be answered.
    type Error: Into<BoxError>;

    /// An answer on its way.
    type Future: Future<Output = Result<Response<Self::Body>, Self::Error>> + 'static;

    /// Answers one request; its [exchange](RequestBody::exchange) is with its body. An error becomes a 500, and so does a
    /// panic.
    fn call(&self, request: Request<RequestBody>) -> Self::Future;
}

/// Is told of every exchange that has ended: an access log, for one.
pub trait Observer: Send + Sync + 'static {
    /// Called with a request's fields before the application is.
    fn received(&self, exchange: &Exchange, headers: &http::HeaderMap);

    /// Called before an answer is sent, when fields may still be added (`X-Request-Id`, say).
    fn answering(&self, exchange: &Exchange, status: http::StatusCode, headers: &mut http::HeaderMap);

    /// Called when the server has refused what a client sent, because it was no whole request and so no exchange.
    /// `reason` is for people.
    fn rejected(&self, _connection: &ConnectionInfo, _status: http::StatusCode, _reason: &str) {}

    /// Called once an exchange has ended. `status` is `None` where no answer had begun.
    fn ended(&self, exchange: &Exchange, status: Option<http::StatusCode>, outcome: Outcome);
}
