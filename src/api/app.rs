//! What can be served: a tower service, a hyper service, or a function.

use std::future::Future;

use bytes::Bytes;
use http::{Request, Response};

use crate::server::app::{App, BoxError};
use crate::server::body::RequestBody as Body;

/// What a [`Server`](crate::Server) can serve. It is implemented for three kinds of things, all of which take an
/// `http::Request<outlive::Body>`, give an `http::Response<B>` whose body `B` is of [`bytes::Bytes`] (any
/// `http_body::Body` is), and are `Clone + Send + 'static`:
///
/// - **tower services**: axum's `Router` is one. Each request waits for `poll_ready`.
/// - **hyper services**: `hyper::service::service_fn(…)` makes one.
/// - **functions** that return a future of an [`Answer`](crate::Answer): `async fn answer(request: Request<Body>) ->
///   Response<…>`, or a closure. (A closure's parameter needs its type: `|request: http::Request<outlive::Body>| …`.)
///
/// Each connection has a clone of its own. An error becomes a 500, and so does a panic; both are logged.
///
/// The futures run on the worker that has the connection, and needn't be `Send`:
/// [`serve_with`](crate::Server::serve_with) is the other way.
///
/// `Kind` only keeps the three apart: leave it to be inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is nothing that outlive can serve",
    label = "neither a tower service, nor a hyper service, nor a function of `http::Request<outlive::Body>`",
    note = "a tower or hyper service must take `http::Request<outlive::Body>`, give `http::Response<B>` where `B: \
            http_body::Body<Data = bytes::Bytes>`, and be `Clone + Send + 'static`; axum's `Router` is one once it has \
            its state (`with_state`)",
    note = "a function must be `Fn(http::Request<outlive::Body>) -> impl Future<Output = impl outlive::Answer>` and \
            `Clone + Send + 'static`; a closure's parameter needs its type written out"
)]
pub trait IntoApp<Kind>: IntoCall<Kind> {}

impl<Kind, A: IntoCall<Kind>> IntoApp<Kind> for A {}

/// An [`IntoApp`] whose futures, bodies and errors are `Send`, as axum's are.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be served on another runtime",
    label = "its future, its answers' body and its error must be `Send`, and it must be what `outlive::IntoApp` asks for"
)]
pub trait IntoSendApp<Kind>: IntoApp<Kind> + IntoSendCall<Kind> {}

impl<Kind, A: IntoApp<Kind> + IntoSendCall<Kind>> IntoSendApp<Kind> for A {}

/// What all three kinds come to. One call at a time comes from HTTP/1, any number from HTTP/2.
pub trait Call: Clone + Send + 'static {
    type Body: http_body::Body<Data = Bytes, Error: Into<BoxError>> + 'static;
    type Error: Into<BoxError>;
    type Future: Future<Output = Result<Response<Self::Body>, Self::Error>> + 'static;

    fn call(&self, request: Request<Body>) -> Self::Future;
}

/// Makes a [`Call`] of one of the three.
pub trait IntoCall<Kind> {
    type Call: Call;

    fn into_call(self) -> Self::Call;
}

/// The same, able to run on another thread.
pub trait IntoSendCall<Kind>: IntoCall<Kind, Call: Call<Body: Send, Error: Send, Future: Send>> {}

impl<Kind, A> IntoSendCall<Kind> for A where A: IntoCall<Kind, Call: Call<Body: Send, Error: Send, Future: Send>> {}

/// A [`Call`] as the server wants it.
#[derive(Clone)]
pub(super) struct Direct<C>(pub(super) C);

impl<C: Call> App for Direct<C> {
    type Body = C::Body;
    type Error = C::Error;
    type Future = C::Future;

    fn call(&self, request: Request<Body>) -> C::Future {
        self.0.call(request)
    }
}
