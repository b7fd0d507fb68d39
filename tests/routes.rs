//! Which request gets which answer: hosts, paths, methods, bodies, and routes that cannot work.

#![allow(clippy::unwrap_used, reason = "a test may panic; Clippy only knows that of functions marked as tests")]

#[path = "support/routes.rs"]
#[allow(dead_code, reason = "shared between tests that each need a part of it")]
mod support;

use std::convert::Infallible;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Version};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use outlive::config::settings::{Action, Route};
use outlive::route::{RouteError, Router};
use outlive::server::body::RequestBody;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use support::{Answer, ask, begin, files, get, respond, route, router, send};

fn build(routes: &[Route]) -> Router {
    router(routes).expect("routes that work")
}

fn with_methods(mut route: Route, methods: &[Method]) -> Route {
    route.methods = Some(methods.to_vec());
    route
}

async fn on(router: &Router, host: &str, path: &str) -> String {
    let answer = ask(router, Method::GET, path, &[("host", host)]).await;
    if answer.status.is_success() { answer.text().to_owned() } else { answer.status.as_str().to_owned() }
}

#[tokio::test]
async fn hosts_from_the_most_specific_to_none() {
    let router = build(&[
        route(None, "/", respond("any")),
        route(None, "/healthz", respond("healthz")),
        route(Some("app.example.com"), "/", respond("app")),
        route(Some("*.example.com"), "/", respond("below example.com")),
        route(Some("*.b.example.com"), "/", respond("below b.example.com")),
        route(Some("*.b.example.com"), "/deep", respond("deep")),
    ]);
    for (host, body) in [
        ("app.example.com", "app"),
        ("APP.Example.Com:8080", "app"),
        ("app.example.com.", "app"),
        ("other.example.com", "below example.com"),
        ("a.b.example.com", "below b.example.com"),
        ("x.a.b.example.com", "below b.example.com"),
        ("b.example.com", "below example.com"),
        ("example.com", "any"),
        ("notexample.com", "any"),
        ("127.0.0.1:8080", "any"),
        ("", "any"),
    ] {
        assert_eq!(on(&router, host, "/").await, body, "{host}");
    }
    // A host without the path leaves it to the less specific ones.
    assert_eq!(on(&router, "app.example.com", "/healthz").await, "healthz");
    assert_eq!(on(&router, "a.b.example.com", "/deep").await, "deep");
    assert_eq!(on(&router, "app.example.com", "/deep").await, "404");
}

#[tokio::test]
async fn authority_of_the_target_goes_before_the_host_field() {
    let router = build(&[route(None, "/", respond("any")), route(Some("a.example"), "/", respond("a"))]);
    let answer = ask(&router, Method::GET, "http://a.example:8080/", &[("host", "b.example")]).await;
    assert_eq!(answer.text(), "a");
    let http2 = Request::builder().uri("http://a.example/").version(Version::HTTP_2);
    assert_eq!(send(&router, http2.body(RequestBody::empty()).unwrap()).await.text(), "a");
    let http2 = Request::builder().uri("/").version(Version::HTTP_2).header("host", "a.example");
    assert_eq!(send(&router, http2.body(RequestBody::empty()).unwrap()).await.text(), "a");
}

#[tokio::test]
async fn http_1_1_needs_one_valid_host_field() {
    let router = build(&[route(None, "/", respond("any"))]);
    let request = |version| Request::builder().uri("/").version(version).body(RequestBody::empty()).unwrap();
    assert_eq!(send(&router, request(Version::HTTP_11)).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(send(&router, request(Version::HTTP_10)).await.status, StatusCode::OK);
    for hosts in [&[("host", "a"), ("host", "b")][..], &[("host", "a b")], &[("host", "user@a")]] {
        assert_eq!(ask(&router, Method::GET, "/", hosts).await.status, StatusCode::BAD_REQUEST, "{hosts:?}");
    }
}

#[tokio::test]
async fn paths() {
    let router = build(&[
        route(None, "/", respond("root")),
        route(None, "/hello", respond("hello")),
        route(None, "/users/{id}", respond("user")),
        route(None, "/users/me", respond("me")),
        route(None, "/app/{*rest}", respond("app")),
    ]);
    for (path, body) in [
        ("/", "root"),
        ("/hello", "hello"),
        ("/hello?query", "hello"),
        ("/hello/", "404"),
        ("/Hello", "404"),
        ("/users/7", "user"),
        ("/users/me", "me"),
        ("/users/", "404"),
        ("/app/a/b", "app"),
        ("/app/", "app"),
        ("/app", "404"),
        // One path, spelled differently.
        ("//hello", "hello"),
        ("/%68ello", "hello"),
        ("/users/%6d%65", "me"),
        // Not the same: an escaped slash is part of a name.
        ("/users%2Fme", "404"),
        ("/users/a%2Fb", "user"),
        ("/app/../hello", "400"),
        ("/app/%2e%2e/hello", "400"),
        ("/app/.", "400"),
        ("/%zz", "400"),
    ] {
        assert_eq!(on(&router, "localhost", path).await, body, "{path}");
    }
}

#[tokio::test]
async fn a_catch_all_at_the_root_answers_the_root() {
    let router = build(&[route(None, "/{*rest}", respond("all"))]);
    assert_eq!(on(&router, "localhost", "/").await, "all");
    assert_eq!(on(&router, "localhost", "/a/b").await, "all");
}

#[tokio::test]
async fn methods() {
    let router = build(&[
        with_methods(route(None, "/form", respond("read")), &[Method::GET]),
        with_methods(route(None, "/form", respond("written")), &[Method::POST]),
        with_methods(route(None, "/own", respond("own options")), &[Method::OPTIONS]),
        route(None, "/any", respond("any")),
        route(None, "/healthz", Action::Health),
    ]);
    let form = |method| ask(&router, method, "/form", &[]);
    assert_eq!(form(Method::GET).await.text(), "read");
    assert_eq!(form(Method::POST).await.text(), "written");
    assert_eq!(form(Method::HEAD).await.status, StatusCode::OK, "GET includes HEAD");

    let refused = form(Method::DELETE).await;
    assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(refused.field("allow"), "GET, HEAD, POST, OPTIONS");
    assert_eq!(refused.text(), "method not allowed\n");

    let options = form(Method::OPTIONS).await;
    assert_eq!(options.status, StatusCode::NO_CONTENT);
    assert_eq!(options.field("allow"), "GET, HEAD, POST, OPTIONS");
    assert!(options.body.is_empty() && !options.headers.contains_key("content-length"));

    assert_eq!(ask(&router, Method::OPTIONS, "/own", &[]).await.text(), "own options");
    assert_eq!(ask(&router, Method::GET, "/own", &[]).await.field("allow"), "OPTIONS");
    for method in [Method::GET, Method::PUT, Method::OPTIONS, Method::from_bytes(b"BREW").unwrap()] {
        assert_eq!(ask(&router, method, "/any", &[]).await.text(), "any");
    }
    let refused = ask(&router, Method::POST, "/healthz", &[]).await;
    assert_eq!((refused.status, refused.field("allow")), (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD, OPTIONS"));

    let server = ask(&router, Method::OPTIONS, "*", &[]).await;
    assert_eq!(server.status, StatusCode::NO_CONTENT);
    assert_eq!(ask(&router, Method::GET, "*", &[]).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(ask(&router, Method::CONNECT, "localhost:443", &[]).await.status, StatusCode::NOT_IMPLEMENTED);
}

#[tokio::test]
async fn nothing_found() {
    let answer = get(&build(&[]), "/").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!((answer.text(), answer.field("content-type")), ("not found\n", "text/plain; charset=utf-8"));
    assert_eq!(answer.route, None);
}

#[tokio::test]
async fn the_route_is_named_as_configured() {
    let router = build(&[
        route(None, "/users/{id}", respond("")),
        route(Some("app.example.com"), "/static/{*file}", respond("")),
    ]);
    assert_eq!(get(&router, "/users/7").await.route.as_deref(), Some("/users/{id}"));
    let answer = ask(&router, Method::GET, "/static/a", &[("host", "App.example.com")]).await;
    assert_eq!(answer.route.as_deref(), Some("app.example.com/static/{*file}"));
}

#[tokio::test]
async fn bodies_that_are_too_long() {
    let mut limited = route(None, "/", respond("taken"));
    limited.max_body = 10;
    let router = build(&[limited]);
    for (length, status) in [("0", 200), ("10", 200), ("11", 413), ("18446744073709551615", 413)] {
        let answer = ask(&router, Method::POST, "/", &[("content-length", length)]).await;
        assert_eq!(answer.status.as_u16(), status, "{length}");
        assert_eq!(answer.route.as_deref(), Some("/"));
    }
}

#[tokio::test]
async fn respond_with_what_is_configured() {
    let headers: HeaderMap = [("content-type", "application/json"), ("x-one", "1")]
        .map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap()))
        .into_iter()
        .collect();
    let body = Bytes::from_static(b"{}");
    let teapot = Action::Respond { status: StatusCode::IM_A_TEAPOT, headers, body, delay: Duration::ZERO };
    let router =
        build(&[route(None, "/pot", teapot), route(None, "/", respond("hello\n")), route(None, "/empty", respond(""))]);
    let answer = get(&router, "/pot").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (418, "{}"));
    assert_eq!((answer.field("content-type"), answer.field("x-one")), ("application/json", "1"));
    assert_eq!(get(&router, "/").await.field("content-type"), "text/plain; charset=utf-8");
    assert_eq!(get(&router, "/empty").await.field("content-type"), "");
}

#[tokio::test]
async fn respond_after_a_delay() {
    const DELAY: Duration = Duration::from_millis(50);
    let slow = Action::Respond { status: StatusCode::OK, headers: HeaderMap::new(), body: "late".into(), delay: DELAY };
    let router = build(&[route(None, "/", slow)]);
    let began = Instant::now();
    assert_eq!(get(&router, "/").await.text(), "late");
    assert!(began.elapsed() >= DELAY);
}

#[tokio::test]
async fn statuses_that_have_no_body() {
    for status in [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED] {
        let action =
            Action::Respond { status, headers: HeaderMap::new(), body: "dropped".into(), delay: Duration::ZERO };
        let answer = get(&build(&[route(None, "/", action)]), "/").await;
        assert_eq!((answer.status, answer.text()), (status, ""));
    }
}

#[tokio::test]
async fn head_has_the_length_but_no_body() {
    let router = build(&[route(None, "/", respond("hello\n"))]);
    let answer: Answer = ask(&router, Method::HEAD, "/", &[]).await;
    assert_eq!((answer.text(), answer.field("content-length")), ("", "6"));
    assert_eq!(answer.field("content-type"), get(&router, "/").await.field("content-type"));
    // Refusals are answers too.
    assert_eq!(ask(&router, Method::HEAD, "/none", &[]).await.field("content-length"), "10");
}

#[tokio::test]
async fn welcome() {
    let router = build(&[route(None, "/", Action::Welcome)]);
    let page = get(&router, "/").await;
    assert_eq!((page.status, page.field("content-type")), (StatusCode::OK, "text/html; charset=utf-8"));
    assert!(page.text().contains(&format!("<p id=\"pid\" class=\"p0\">{}</p>", std::process::id())));
    let policy = page.field("content-security-policy");
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    let nonce = policy.split_once("'nonce-").unwrap().1.split_once('\'').unwrap().0;
    assert_eq!(page.text().matches(&format!("nonce=\"{nonce}\"")).count(), 2, "one script, one style");
    assert_ne!(get(&router, "/").await.field("content-security-policy"), policy, "each page has its own nonce");

    let live = get(&router, "/?live").await;
    assert_eq!(live.field("content-type"), "application/json");
    let numbers: serde_json::Value = serde_json::from_slice(&live.body).unwrap();
    assert_eq!(numbers["pid"], std::process::id());
    assert_eq!(numbers["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(numbers["generation"], 1);
    assert_eq!(numbers["draining"], false);
    assert_eq!(numbers["peer"], "127.0.0.1:4711");
    for count in ["uptime_ms", "connections", "requests", "answered"] {
        assert!(numbers[count].is_u64(), "{count}");
    }
    for answer in [page, live] {
        assert_eq!(answer.field("cache-control"), "no-store");
        assert_eq!(answer.field("x-content-type-options"), "nosniff");
    }
}

#[tokio::test]
async fn health() {
    let answer = get(&build(&[route(None, "/healthz", Action::Health)]), "/healthz").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "ok\n"));
    assert_eq!(answer.field("cache-control"), "no-store");
}

/// What hyper makes of the answers on the wire.
async fn wire(router: &Router, request: &str) -> String {
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let service = service_fn(|request: Request<hyper::body::Incoming>| async {
        let (_, answer) = begin(router, request.map(|_| RequestBody::empty())).await;
        Ok::<_, Infallible>(answer)
    });
    let serve = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service);
    client.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let (served, read) = tokio::join!(serve, client.read_to_end(&mut bytes));
    served.unwrap();
    read.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn on_the_wire() {
    let nothing = Action::Respond {
        status: StatusCode::NO_CONTENT,
        headers: HeaderMap::new(),
        body: Bytes::new(),
        delay: Duration::ZERO,
    };
    let router = build(&[route(None, "/", respond("hello\n")), route(None, "/nothing", nothing)]);
    let answer = |method, path: &'static str| {
        let router = &router;
        async move { wire(router, &format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await }
    };
    let got = answer("GET", "/").await;
    assert!(got.contains("\r\ncontent-length: 6\r\n") && got.ends_with("\r\n\r\nhello\n"), "{got}");
    let head = answer("HEAD", "/").await;
    assert!(head.contains("\r\ncontent-length: 6\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    for method in ["GET", "HEAD"] {
        let nothing = answer(method, "/nothing").await;
        assert!(nothing.starts_with("HTTP/1.1 204") && !nothing.contains("content-length"), "{nothing}");
    }
}

fn refused(routes: &[Route]) -> RouteError {
    match router(routes) {
        Ok(_) => panic!("routes that cannot work were taken: {routes:?}"),
        Err(error) => error,
    }
}

#[test]
fn routes_that_cannot_work() {
    let root = tempfile::tempdir().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let with = |status, name: Option<&'static str>| {
        let headers = name.into_iter().map(|name| (name.parse().unwrap(), "1".parse().unwrap())).collect();
        Action::Respond { status, headers, body: Bytes::new(), delay: Duration::ZERO }
    };

    let error = refused(&[route(None, "hello", respond(""))]);
    assert!(matches!(error, RouteError::Relative { .. }), "{error}");
    let error = refused(&[route(Some("a.example"), "/{}", respond(""))]);
    assert!(matches!(&error, RouteError::Path { route, .. } if route == "a.example/{}"), "{error}");
    let error = refused(&[route(None, "/{*a}/b", respond(""))]);
    assert!(matches!(error, RouteError::Path { .. }), "{error}");
    let error = refused(&[route(None, "/{a}", respond("")), route(None, "/{b}", respond(""))]);
    assert!(matches!(&error, RouteError::Conflict { route, with } if route == "/{b}" && with == "/{a}"), "{error}");
    let error = refused(&[route(None, "/a", respond("")), route(None, "/a", Action::Health)]);
    assert!(matches!(error, RouteError::Twice { .. }), "{error}");
    let error = refused(&[with_methods(route(None, "/", respond("")), &[])]);
    assert!(matches!(error, RouteError::NoMethods { .. }), "{error}");
    let error = refused(&[with_methods(route(None, "/", Action::Health), &[Method::GET, Method::POST])]);
    assert!(matches!(&error, RouteError::Method { method, .. } if method == Method::POST), "{error}");
    for status in [100, 199, 600, 999] {
        let error = refused(&[route(None, "/", with(StatusCode::from_u16(status).unwrap(), None))]);
        assert!(matches!(error, RouteError::Status { .. }), "{error}");
    }
    for field in ["Content-Length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade"] {
        let error = refused(&[route(None, "/", with(StatusCode::OK, Some(field)))]);
        assert!(matches!(error, RouteError::Framing { .. }), "{error}");
    }
    for path in ["/", "/static", "/static/{file}"] {
        let error = refused(&[route(None, path, files(root.path()))]);
        assert!(matches!(error, RouteError::FilesPath { .. }), "{error}");
    }
    for folder in [&root.path().join("none"), file.path()] {
        let error = refused(&[route(None, "/{*file}", files(folder))]);
        assert!(matches!(error, RouteError::Root { .. }), "{error}");
        assert!(error.to_string().contains(&folder.display().to_string()), "{error}");
    }
    // What an operator reads.
    for (routes, text) in [
        (
            vec![route(None, "/a", respond("")), route(None, "/a", respond(""))],
            "route /a is there twice; drop one, or give each its own `methods`",
        ),
        (
            vec![route(Some("a.example"), "/{*a}/b", respond(""))],
            "route a.example/{*a}/b: the path is not valid: Catch-all parameters are only allowed at the end of a \
             route; a path begins with \"/\", a parameter is a whole \"{name}\", and \"{*name}\" stands at the end",
        ),
        (
            vec![route(None, "/static", files(root.path()))],
            "route /static: the path of `files` must end in a catch-all that names the file, as in \"/static/{*file}\"",
        ),
        (
            vec![route(None, "/{*f}", files(Path::new("/nonexistent")))],
            "route /{*f}: cannot open the folder /nonexistent: No such file or directory (os error 2); create it, or \
             let the service's user read it",
        ),
    ] {
        assert_eq!(refused(&routes).to_string(), text);
    }
}

#[test]
fn the_same_path_on_different_hosts_is_no_conflict() {
    build(&[
        route(None, "/{a}", respond("")),
        route(Some("a.example"), "/{b}", respond("")),
        route(Some("*.a.example"), "/{c}", respond("")),
    ]);
}
