//! A handler's panic: a 500, an entry in the journal with the route, and nothing else.
//!
//! No route of the service panics, so the test takes its place with an application of its own.

use std::convert::Infallible;
use std::future::{Ready, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use outlive::journal::{self, Target, message_id};
use outlive::server::app::App;
use outlive::server::body::RequestBody;

use crate::CONFIG;
use crate::support::client::Connection;
use crate::support::fake_journald::FakeJournald;
use crate::support::fake_systemd::{FakeSystemd, is_service};
use crate::support::in_process;
use crate::support::wait::SOON;

#[derive(Clone)]
struct Panics;

impl App for Panics {
    type Body = Full<Bytes>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Full<Bytes>>, Infallible>>;

    fn call(&self, request: Request<RequestBody>) -> Self::Future {
        let exchange = request.body().exchange().unwrap();
        exchange.set_route(request.uri().path().into());
        assert_ne!(request.uri().path(), "/panic", "as asked");
        ready(Ok(Response::new(Full::from("well"))))
    }
}

/// Serves two requests over one connection.
async fn serve() {
    journal::start(Target::detect());
    let (_server, address) = in_process::serve(Panics, in_process::options(1)).await;
    let mut client = Connection::open(address).await.unwrap();
    assert_eq!(client.get("/panic").await.unwrap().status, 500);
    assert_eq!(client.get("/").await.unwrap().text(), "well");
    journal::flush(SOON);
}

#[tokio::test]
async fn it_is_an_entry_with_the_route_and_nothing_else() {
    if is_service() {
        return serve().await;
    }
    let (systemd, journald) = (FakeSystemd::new(), FakeJournald::new());
    let test = "panic::it_is_an_entry_with_the_route_and_nothing_else";
    let mut service = systemd.service(CONFIG).journald(&journald).test(test).spawn();
    assert!(service.wait_for_exit().success(), "{}", service.story());
    let entry = journald.wait_for_id(message_id::HANDLER_PANICKED);
    assert_eq!((entry.field("ROUTE"), entry.field("PRIORITY")), ("/panic", "3"));
    assert!(entry.field("CODE_LOCATION").starts_with("tests/service/panic.rs:"), "{entry:?}");
    assert!(entry.field("MESSAGE").contains("as asked"), "{entry:?}");
    assert_eq!(journald.entries(<[_]>::len), 1);
    assert_eq!(service.said(), "");
}

#[tokio::test]
async fn it_is_one_line_and_nothing_else() {
    if is_service() {
        return serve().await;
    }
    let systemd = FakeSystemd::new();
    let mut service = systemd.service(CONFIG).test("panic::it_is_one_line_and_nothing_else").spawn();
    assert!(service.wait_for_exit().success(), "{}", service.story());
    let said = service.said();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(" ERROR The handler of route /panic panicked at tests/service/panic.rs:"), "{said}");
    assert!(said.contains("as asked\\n"), "{said}");
}
