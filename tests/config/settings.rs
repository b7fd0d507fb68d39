//! What is read into the settings, and what is warned of.

use std::time::Duration;

use http::{HeaderValue, Method, StatusCode};
use outlive::config::settings::{Access, Action, Address};
use outlive::config::{Config, Severity, from_str};
use outlive::server::limits::Limits;

fn accepted(text: &str) -> Config {
    from_str(text, "x.toml").unwrap_or_else(|error| panic!("{error}"))
}

/// The headlines of the warnings.
fn warnings(text: &str) -> Vec<String> {
    let config = accepted(text);
    assert!(config.warnings.iter().all(|warning| warning.severity() == Severity::Warning));
    config.warnings.iter().map(|warning| warning.headline()).collect()
}

#[test]
fn nothing_said_means_the_defaults() {
    let config = accepted("");
    assert_eq!((config.workers, config.max_connections), (None, None));
    assert!(!config.strict);
    assert_eq!(
        (config.reload.linger, config.reload.ready_timeout),
        (Duration::from_secs(600), Duration::from_secs(10))
    );
    assert_eq!(config.limits, Limits::default());
    assert_eq!((config.drain.window, config.drain.settle), (None, None));
    assert_eq!((config.log.access, config.log.slow, config.log.query), (Access::Errors, None, false));
    assert!(config.log.headers.is_empty() && config.listeners.is_empty() && config.routes.is_empty());
}

#[test]
fn every_setting_is_read() {
    let config = accepted(
        r#"
        strict = true
        workers = 4
        max_connections = 1_000
        [listen.http]
        bind = "[::1]:80"
        [limits]
        head_size = "8KiB"
        head_fields = 50
        head_timeout = "1s"
        idle_timeout = "2s"
        request_timeout = "3s"
        send_timeout = "4s"
        [drain]
        window = "20s"
        settle = "0s"
        [reload]
        linger = "1min"
        ready_timeout = "2s"
        [log]
        access = "off"
        slow = "500ms"
        query = true
        headers = ["User-Agent", "referer"]
        "#,
    );
    assert_eq!(config.workers.map(usize::from), Some(4));
    assert_eq!(config.max_connections.map(usize::from), Some(1000));
    assert_eq!(config.listeners["http"].bind, "[::1]:80".parse().ok().map(Address::Tcp));
    assert_eq!((config.limits.head_size, config.limits.head_fields), (8192, 50));
    let limits = &config.limits;
    let times = [limits.head_timeout, limits.idle_timeout, limits.request_timeout, limits.send_timeout];
    assert_eq!(times.map(|time| time.as_secs()), [1, 2, 3, 4]);
    assert_eq!(config.drain.window, Some(Duration::from_secs(20)));
    assert_eq!(config.drain.settle, Some(Duration::ZERO));
    assert_eq!((config.reload.linger, config.reload.ready_timeout), (Duration::from_secs(60), Duration::from_secs(2)));
    assert!(config.strict);
    assert_eq!(config.log.access, Access::Off);
    assert_eq!(config.log.slow, Some(Duration::from_millis(500)));
    assert!(config.log.query);
    assert_eq!(config.log.headers, ["user-agent", "referer"]);
}

#[test]
fn a_route_is_read_whole() {
    let config = accepted(
        r#"
        [[route]]
        host = "*.Example.COM"
        path = "/users/{id}"
        methods = ["GET", "PURGE"]
        max_body = 10
        respond = { status = 404, headers = { Link = ["</a>", "</b>"], Content-Type = "text/html" }, body = "<p>", delay = "1s" }

        [[route]]
        path = "/plain"
        respond.body = "hello\n"

        [[route]]
        path = "/bare"
        respond = {}

        [[route]]
        path = "/all/{*file}"
        files = "/"
        "#,
    );
    let route = &config.routes[0];
    assert_eq!(route.host.as_deref(), Some("*.example.com"));
    assert_eq!(route.methods.as_deref().map(|methods| methods[0] == Method::GET && methods[1] == "PURGE"), Some(true));
    assert_eq!((route.max_body, config.routes[1].max_body), (10, 1024 * 1024));
    let Action::Respond { status, headers, body, delay } = &route.action else { panic!("{:?}", route.action) };
    assert_eq!((*status, body.as_ref(), *delay), (StatusCode::NOT_FOUND, b"<p>".as_slice(), Duration::from_secs(1)));
    assert_eq!(headers.get_all("link").iter().collect::<Vec<_>>(), ["</a>", "</b>"]);
    assert_eq!(headers["content-type"], "text/html");

    let Action::Respond { headers, .. } = &config.routes[1].action else { panic!("{:?}", config.routes[1].action) };
    assert_eq!(headers.get("content-type"), Some(&HeaderValue::from_static("text/plain; charset=utf-8")));
    let Action::Respond { headers, status, .. } = &config.routes[2].action else { panic!("no answer") };
    assert!(headers.is_empty() && *status == StatusCode::OK);
    assert!(matches!(&config.routes[3].action, Action::Files { root } if root.as_os_str() == "/"));
}

/// It decides what becomes of a start with a broken configuration.
#[test]
fn what_a_broken_file_says_of_strict_counts() {
    let strict = |text: &str| from_str(text, "x.toml").expect_err("it must be refused").strict();
    assert_eq!(strict("strict = true\nwrokers = 1"), Some(true));
    assert_eq!(strict("strict = false\nwrokers = 1"), Some(false));
    assert_eq!(strict("strict = true\n[drain\nwindow = '1s"), Some(true), "syntax that can't be read");
    assert_eq!(strict("strict = 1\n"), None);
    assert_eq!(strict("wrokers = 1"), None);
}

#[test]
fn what_was_kept_is_the_same_configuration() {
    let kept = accepted("workers = 3\n[[route]]\npath = '/x'\nrespond = {}").texts;
    let again = outlive::config::from_texts(&kept).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((again.workers.map(usize::from), again.routes.len(), &again.texts), (Some(3), 1, &kept));
    assert_eq!(again.sources, [std::path::Path::new("x.toml")]);
}

#[test]
fn a_body_can_come_from_a_file() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    std::fs::write(file.path(), [0xff, 0x00, b'a']).expect("a file can be written");
    let path = file.path().display();
    let config = accepted(&format!("[[route]]\npath = '/x'\nrespond = {{ body_file = '{path}' }}"));
    assert!(matches!(&config.routes[0].action, Action::Respond { body, .. } if body.as_ref() == [0xff, 0x00, b'a']));
}

#[test]
fn listeners_that_let_the_kernel_choose_a_port_are_no_conflict() {
    let config = accepted("[listen.a]\nbind = '127.0.0.1:0'\n[listen.b]\nbind = '127.0.0.1:0'\n[listen.c]\n");
    assert_eq!(config.summary(), "0 routes on 3 listeners");
    assert_eq!(config.listeners["c"].bind, None);
}

#[test]
fn what_likely_means_something_else_gets_a_warning() {
    assert_eq!(
        warnings("[[route]]\npath = '/users/:id'\nrespond = {}"),
        ["x.toml:2:8: `:id` in a path is taken as it stands"]
    );
    assert_eq!(
        warnings("[log]\nheaders = ['Accept', 'Authorization']"),
        ["x.toml:2:11: `authorization` carries secrets, which the journal will hold"]
    );
    assert_eq!(
        warnings("[limits]\nrequest_timeout = '5s'\n[[route]]\npath = '/slow'\nrespond = { delay = '5s' }"),
        ["x.toml:4:8: this route waits 5s, but `request_timeout` is 5s"]
    );
    assert_eq!(warnings("[[route]]\npath = '/fine'\nrespond = { delay = '5s' }"), <[String; 0]>::default());
}
