//! The router: from a request to the route that answers it.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Method, Request, Response};

use super::body::Body;
use super::error::RouteError;
use super::files::Files;
use super::health::Health;
use super::methods::Methods;
use super::reply::Reply;
use super::respond::Respond;
use super::table::{Endpoint, Found, Table, catch_all};
use super::welcome::Welcome;
use super::{host, path, refusal};
use crate::config::settings;
use crate::{Body as RequestBody, Exchange, Gauges};

/// Answers requests by host, path and method. Clones share one table.
///
/// **Host.** An exact host goes before `*.example.com` (any depth of subdomain, the longest suffix first), and that
/// before routes without a host. A host that has no route for the path leaves the request to the next in this order;
/// one that has the path, but not for the method, answers 405.
///
/// **Path.** Matched in matchit's syntax and order, but without regard to needless escapes and doubled slashes
/// (`/%61//b` is `/a/b`). `.` and `..` segments, escaped or not, get a 400. A final catch-all also matches nothing:
/// `/static/{*file}` answers `/static/`.
///
/// **Method.** GET includes HEAD. OPTIONS gets a 204 with `Allow` unless a route of its own answers it, also for the
/// server as a whole (`OPTIONS *`, without `Allow`). CONNECT gets a 501.
#[derive(Clone)]
pub struct Router(Arc<Table>);

/// What a route does.
pub(super) enum Action {
    Respond(Respond),
    Files(Files),
    Health(Health),
    Welcome(Welcome),
}

impl Action {
    /// Whether it answers a path without its final slash with the path that has it.
    pub(super) fn redirects(&self) -> bool {
        matches!(self, Self::Files(_))
    }
}

impl Router {
    /// Builds the router of these routes. Folders that are to be served are tried now.
    ///
    /// # Errors
    ///
    /// Routes that conflict, or that cannot work as they stand: see [`RouteError`].
    pub fn new(routes: &[settings::Route], gauges: &Arc<Gauges>) -> Result<Self, RouteError> {
        let mut table = Table::default();
        for route in routes {
            table.add(route.host.as_deref(), &route.path, endpoint(route, gauges)?)?;
        }
        table.finish();
        Ok(Self(Arc::new(table)))
    }

    fn answer(&self, request: Request<RequestBody>, exchange: &Exchange) -> Reply {
        let (head, mut body) = request.into_parts();
        let Ok(host) = host::requested(&head) else {
            return Reply::now(refusal::bad_request("the request names no valid host\n"));
        };
        if head.method == Method::CONNECT {
            return Reply::now(refusal::not_implemented());
        }
        if head.method == Method::OPTIONS && head.uri.path() == "*" {
            return Reply::now(refusal::options(None));
        }
        let Ok(path) = path::normal_form(head.uri.path()) else {
            return Reply::now(refusal::bad_request("the request's path is not valid\n"));
        };
        let Some(Found { place, rest }) = self.0.find(host.as_deref(), &path) else {
            return Reply::now(refusal::not_found());
        };
        let Some(endpoint) = place.endpoint(&head.method) else {
            return Reply::now(match head.method {
                Method::OPTIONS => refusal::options(place.allow()),
                _ => refusal::method_not_allowed(place.allow()),
            });
        };
        exchange.set_route(Arc::clone(&endpoint.label));
        if declared_length(&head.headers).is_some_and(|length| length > endpoint.max_body) {
            return Reply::now(refusal::too_large());
        }
        body.set_limit(endpoint.max_body);
        match &endpoint.action {
            Action::Respond(respond) => respond.answer(),
            Action::Health(health) => Reply::now(health.answer()),
            Action::Welcome(welcome) => Reply::now(welcome.answer(&head.uri, &exchange.connection)),
            Action::Files(files) => files.answer(&head, rest),
        }
    }
}

impl Router {
    /// Answers a request that came as this exchange.
    pub fn call(
        &self,
        request: Request<RequestBody>,
        exchange: Arc<Exchange>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<> {
        let head = request.method() == Method::HEAD;
        self.answer(request, &exchange).map(move |answer| {
            let answer = if exchange.body_limit_hit() { refusal::too_large() } else { answer };
            if head { without_body(answer) } else { answer }
        })
    }
}

/// The answer to HEAD (RFC 9110, section 9.3.2): what GET would answer, without the body but with its length. Over
/// HTTP/2 hyper would send the body.
fn without_body(answer: Response<Body>) -> Response<Body> {
    let (mut head, body) = answer.into_parts();
    let bodiless = matches!(head.status.as_u16(), 204 | 304);
    if !bodiless && !head.headers.contains_key(CONTENT_LENGTH) {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.remaining()));
    }
    Response::from_parts(head, Body::empty())
}

/// The length of the request's body where the client has said it.
fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn endpoint(route: &settings::Route, gauges: &Arc<Gauges>) -> Result<Endpoint, RouteError> {
    let label = format!("{}{}", route.host.as_deref().unwrap_or_default(), route.path);
    let (name, action, any_method) = match &route.action {
        settings::Action::Respond { status, headers, body, delay } => {
            let respond = Respond::new(&label, *status, headers, body, *delay)?;
            ("respond", Action::Respond(respond), true)
        }
        settings::Action::Files { root } => {
            if catch_all(&route.path).is_none() {
                return Err(RouteError::FilesPath { route: label });
            }
            let files = Files::new(root).map_err(|source| RouteError::Root {
                route: label.clone(),
                root: root.clone(),
                source,
            })?;
            ("files", Action::Files(files), false)
        }
        settings::Action::Health => ("health", Action::Health(Health::new(Arc::clone(gauges))), false),
        settings::Action::Welcome => ("welcome", Action::Welcome(Welcome::new(Arc::clone(gauges))), false),
    };
    let methods = methods(&label, route.methods.as_deref(), name, any_method)?;
    Ok(Endpoint { label: label.into(), methods, max_body: route.max_body, action })
}

/// The methods of a route: those configured, if its action can answer them, or all that it can.
fn methods(label: &str, configured: Option<&[Method]>, action: &'static str, any: bool) -> Result<Methods, RouteError> {
    match configured {
        None if any => Ok(Methods::Any),
        None => Ok(Methods::only(&[Method::GET])),
        Some([]) => Err(RouteError::NoMethods { route: label.to_owned() }),
        Some(configured) => {
            match configured.iter().find(|method| !any && ![Method::GET, Method::HEAD].contains(method)) {
                Some(method) => Err(RouteError::Method { route: label.to_owned(), action, method: method.clone() }),
                None => Ok(Methods::only(configured)),
            }
        }
    }
}
