//! Asking a router without a server.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body_util::BodyExt as _;
use outlive::config::settings::{Action, Route};
use outlive::route::{Body, RouteError, Router};
use outlive::server::body::RequestBody;
use outlive::server::exchange::{ConnectionInfo, Exchange, Peer};
use outlive::server::gauges::Gauges;

/// A route as the configuration gives it when nothing else is said.
pub fn route(host: Option<&str>, path: &str, action: Action) -> Route {
    Route { host: host.map(str::to_owned), path: path.to_owned(), methods: None, max_body: 1024 * 1024, action }
}

pub fn respond(body: &'static str) -> Action {
    Action::Respond {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: Bytes::from_static(body.as_bytes()),
        delay: Duration::ZERO,
    }
}

pub fn files(root: &Path) -> Action {
    Action::Files { root: root.to_owned() }
}

pub fn router(routes: &[Route]) -> Result<Router, RouteError> {
    Router::new(routes, &Arc::new(Gauges::new(1, 1)))
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// The route that the journal would name.
    pub route: Option<String>,
}

impl Answer {
    /// A field's value; empty if it isn't there.
    pub fn field(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a field in ASCII"))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }
}

/// Asks for a target in HTTP/1.1, with a Host field unless one is given.
pub async fn ask(router: &Router, method: Method, target: &str, fields: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(target).version(Version::HTTP_11);
    if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request = request.header("host", "localhost");
    }
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    send(router, request.body(RequestBody::empty()).expect("a valid request")).await
}

pub async fn get(router: &Router, target: &str) -> Answer {
    ask(router, Method::GET, target, &[]).await
}

pub async fn send(router: &Router, request: Request<RequestBody>) -> Answer {
    let (exchange, answer) = begin(router, request).await;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.expect("the whole body").to_bytes().to_vec();
    let route = exchange.route().map(|route| route.to_string());
    Answer { status: head.status, headers: head.headers, body, route }
}

/// Sends a request; the answer's body is not read yet.
pub async fn begin(router: &Router, request: Request<RequestBody>) -> (Arc<Exchange>, http::Response<Body>) {
    let connection = ConnectionInfo::new(Peer::Tcp(([127, 0, 0, 1], 4711).into()), "http");
    let exchange = Arc::new(Exchange::new(Arc::new(connection), request.method().clone(), request.uri().clone()));
    let answer = match router.call(request, Arc::clone(&exchange)).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    };
    (exchange, answer)
}
