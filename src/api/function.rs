//! Functions, as something to serve.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use pin_project_lite::pin_project;

use super::app::{Call, IntoCall};
use crate::server::app::BoxError;
use crate::server::body::RequestBody as Body;

/// What a function can answer with: a response, or `Ok` or `Err` of one, or just a text, which is sent with status 200.
///
/// ```no_run
/// use http::{Request, Response, StatusCode};
///
/// async fn answer(request: Request<outlive::Body>) -> Response<String> {
///     let mut response = Response::new(format!("there is no {}\n", request.uri().path()));
///     *response.status_mut() = StatusCode::NOT_FOUND;
///     response
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<outlive::Ended, outlive::Error> {
/// outlive::Server::new().bind("http", "127.0.0.1:8080").serve(answer).await
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no answer",
    label = "a function answers with `http::Response<B>`, a `Result` of that, `String`, or `&'static str`"
)]
pub trait Answer: IntoResponse {}

impl<A: IntoResponse> Answer for A {}

pub trait IntoResponse {
    type Body: http_body::Body<Data = Bytes, Error: Into<BoxError>> + 'static;
    type Error: Into<BoxError> + 'static;

    fn into_response(self) -> Result<Response<Self::Body>, Self::Error>;
}

impl<B> IntoResponse for Response<B>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + 'static,
{
    type Body = B;
    type Error = Infallible;

    fn into_response(self) -> Result<Self, Infallible> {
        Ok(self)
    }
}

impl<B, E> IntoResponse for Result<Response<B>, E>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + 'static,
    E: Into<BoxError> + 'static,
{
    type Body = B;
    type Error = E;

    fn into_response(self) -> Self {
        self
    }
}

impl IntoResponse for String {
    type Body = Self;
    type Error = Infallible;

    fn into_response(self) -> Result<Response<Self>, Infallible> {
        let mut response = Response::new(self);
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, text);
        Ok(response)
    }
}

impl IntoResponse for &'static str {
    type Body = String;
    type Error = Infallible;

    fn into_response(self) -> Result<Response<String>, Infallible> {
        self.to_owned().into_response()
    }
}

/// Tells functions from the other kinds.
pub struct Function;

impl<F, R> IntoCall<Function> for F
where
    F: Fn(Request<Body>) -> R + Clone + Send + 'static,
    R: Future<Output: IntoResponse> + 'static,
{
    type Call = FunctionCall<F>;

    fn into_call(self) -> FunctionCall<F> {
        FunctionCall(self)
    }
}

#[derive(Clone)]
pub struct FunctionCall<F>(F);

impl<F, R> Call for FunctionCall<F>
where
    F: Fn(Request<Body>) -> R + Clone + Send + 'static,
    R: Future<Output: IntoResponse> + 'static,
{
    type Body = <R::Output as IntoResponse>::Body;
    type Error = <R::Output as IntoResponse>::Error;
    type Future = Answering<R>;

    fn call(&self, request: Request<Body>) -> Answering<R> {
        Answering { answer: (self.0)(request) }
    }
}

pin_project! {
    pub struct Answering<R> {
        #[pin]
        answer: R,
    }
}

impl<R: Future<Output: IntoResponse>> Future for Answering<R> {
    type Output = Result<Response<<R::Output as IntoResponse>::Body>, <R::Output as IntoResponse>::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(self.project().answer.poll(cx)).into_response())
    }
}
