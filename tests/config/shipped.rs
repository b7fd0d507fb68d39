//! The configuration that packages install, which is also the embedded default: it must not rot.

use outlive::config::settings::{Action, Address};
use outlive::config::{Config, EMBEDDED_DEFAULT, from_str, known_keys};

fn accepted(text: &str) -> Config {
    from_str(text, "outlive.toml").unwrap_or_else(|error| panic!("{error}"))
}

/// With what is commented out as a setting taken in: `#key = value`, while `# Text` stays a comment.
fn everything_on() -> String {
    let line_on = |line: &'static str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => rest,
        _ => line,
    };
    EMBEDDED_DEFAULT.lines().map(line_on).collect::<Vec<_>>().join("\n")
}

#[test]
fn it_serves_the_welcome_page() {
    let config = accepted(EMBEDDED_DEFAULT);
    assert_eq!(config.listeners["http"].bind, "127.0.0.1:8080".parse().ok().map(Address::Tcp));
    let routes: Vec<_> = config.routes.iter().map(|route| (route.path.as_str(), &route.action)).collect();
    assert!(matches!(routes[..], [("/", Action::Welcome), ("/healthz", Action::Health)]), "{routes:?}");
    assert_eq!(config.summary(), "2 routes on 1 listener");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn what_it_shows_as_a_default_is_the_default() {
    let www = tempfile::tempdir().expect("a temporary folder can be made");
    let text = everything_on().replace("/srv/www", www.path().to_str().expect("temporary folders have plain names"));
    let mut all = accepted(&text);
    assert!(all.warnings.is_empty(), "{:?}", all.warnings);
    assert_eq!(all.routes.len(), 4, "the two that are on, and an example of `respond` and of `files`");
    let hello = &all.routes[2];
    assert_eq!(hello.max_body, accepted(EMBEDDED_DEFAULT).routes[0].max_body);
    let default = accepted("[listen.http]\nbind = \"127.0.0.1:8080\"");
    all.routes = Vec::new();
    assert_eq!(format!("{all:#?}"), format!("{default:#?}"));
}

#[test]
fn it_names_every_key_there_is() {
    let text = everything_on();
    for path in known_keys() {
        let key = path.rsplit('.').next().expect("a path has a last part");
        let named = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == key);
        assert!(named, "`{path}` isn't explained in packaging/etc/outlive/outlive.toml");
    }
}

#[test]
fn the_keys_there_are_include_nested_ones() {
    let keys = known_keys();
    for key in ["workers", "listen.NAME.bind", "limits.head_size", "drain.window", "log.headers", "route.respond.delay"]
    {
        assert!(keys.contains(key), "{key} is missing in {keys:?}");
    }
}
