//! Reading `[[route]]`.

use std::fs;
use std::path::PathBuf;

use http::Method;
use toml::de::DeValue;

use super::diagnostic::Diagnostic;
use super::load::unreadable;
use super::names::{absolute_path, host, method};
use super::path::{foreign_parameter, path, takes_the_rest};
use super::respond::{has_body, respond};
use super::section::{Section, Value, Wrong};
use super::settings::{Action, Route};
use super::source::{Located, Place};
use super::value::size;

/// Most bytes of a request's body, unless the route says otherwise.
const DEFAULT_MAX_BODY: u64 = 1024 * 1024;
/// A terabyte: beyond it, a number is likelier a slip than a wish.
const LARGEST_MAX_BODY: u64 = 1 << 40;

/// The keys that say what a route does.
const ACTIONS: [&str; 4] = ["respond", "files", "health", "welcome"];
/// Those that this version doesn't know yet: naming one is not the same as naming none.
const LATER_ACTIONS: [&str; 1] = ["proxy"];

/// Reads one `[[route]]`; `None` if anything essential is wrong with it. Its place is that of its path.
pub(super) fn route(section: &mut Section<'_>) -> Option<Located<Route>> {
    let host = section.take("host", host);
    let path = section.take("path", path);
    let methods = section.take_list("methods", method);
    let max_body = section.take("max_body", |value| size(value, 0..=LARGEST_MAX_BODY));
    let action = action(section);
    if path.is_none() && !section.has("path") {
        let error = Diagnostic::error(section.place(), "this route has no `path`");
        section.error(error.cure("write `path = \"/hello\"`, or `path = \"/{*rest}\"` for every path but `/`"));
    }
    if let Some(path) = &path {
        check_spelling(section, path);
    }
    if let (Some(methods), Some((key, action))) = (&methods, &action) {
        check_methods(section, methods, key, &action.value);
    }
    if let (Some(path), Some(("files", action))) = (&path, &action) {
        check_tail(section, path, &action.place);
    }
    if host.is_none() && section.has("host") {
        return None;
    }
    let (path, (_, action)) = (path?, action?);
    let route = Route {
        host: host.map(|host| host.value),
        path: path.value,
        methods: methods.map(|methods| methods.value),
        max_body: max_body.map_or(DEFAULT_MAX_BODY, |size| size.value),
        action: action.value,
    };
    Some(Located { value: route, place: path.place })
}

/// Reads what the route does: exactly one thing. Names the key that says it.
fn action(section: &mut Section<'_>) -> Option<(&'static str, Located<Action>)> {
    let mut given = Vec::new();
    for key in ACTIONS {
        let action = match key {
            "respond" => section.table(key, "respond = { body = \"hello\\n\" }", respond).flatten(),
            "files" => section.take(key, folder).map(|root| Action::Files { root: root.value }),
            "health" => section.table(key, "health = {}", |_| Action::Health),
            _ => section.table(key, "welcome = {}", |_| Action::Welcome),
        };
        if let Some(place) = section.place_of(key) {
            given.push((key, place, action));
        }
    }
    given.sort_by_key(|(_, place, _)| place.span().start);
    match given.as_slice() {
        [] if LATER_ACTIONS.iter().any(|key| section.has(key)) => None,
        [] => {
            let error = Diagnostic::error(section.place(), "this route does nothing");
            section.error(
                error.cure("say what: `respond = { body = \"hello\\n\" }`, `files = \"/srv/www\"` or `health = {}`"),
            );
            None
        }
        [_] => given.pop().and_then(|(key, place, action)| Some((key, Located { value: action?, place }))),
        [(first, first_place, _), (second, second_place, _), ..] => {
            let what = format!("this route does two things, `{first}` and `{second}`");
            let error = Diagnostic::error(second_place, what).cure("make two routes of it, or keep one action");
            section.error(error.related(first_place, "the first"));
            None
        }
    }
}

/// `files = "/srv/www"`: a folder that exists.
fn folder(value: &Value<'_>) -> Result<PathBuf, Wrong> {
    let root = absolute_path(value).map_err(|wrong| match value.get_ref() {
        DeValue::Table(_) => wrong.cure("write the folder's path: `files = \"/srv/www\"`"),
        _ => wrong,
    })?;
    // Reading the folder, not only its type: a folder that can't be listed is found out before the first request.
    fs::read_dir(&root).map(drop).map_err(|error| {
        let (what, cure) = match error.kind() {
            std::io::ErrorKind::NotADirectory => ("is no folder", "name the folder that the file is in".to_owned()),
            std::io::ErrorKind::NotFound => ("doesn't exist", "create the folder, or correct its path".to_owned()),
            _ => unreadable(&error),
        };
        Wrong::new(format!("names {}, which {what}", root.display())).cure(cure)
    })?;
    Ok(root)
}

fn check_spelling(section: &mut Section<'_>, path: &Located<String>) {
    if let Some((part, parameter)) = foreign_parameter(&path.value) {
        let what = format!("`{part}` in a path is taken as it stands");
        let warning = Diagnostic::warning(&path.place, what).cure(format!("write `{parameter}` for a parameter"));
        section.warn(warning);
    }
}

fn check_tail(section: &mut Section<'_>, path: &Located<String>, files: &Place) {
    if !takes_the_rest(&path.value) {
        let what = "the path of a `files` route must end in a parameter that takes the rest";
        let written = path.value.trim_end_matches('/');
        let error = Diagnostic::error(&path.place, what).cure(format!("write \"{written}/{{*file}}\""));
        section.error(error.related(files, "the files"));
    }
}

fn check_methods(section: &mut Section<'_>, methods: &Located<Vec<Method>>, key: &str, action: &Action) {
    let place = &methods.place;
    if methods.value.is_empty() {
        let error = Diagnostic::error(place, "`methods` is empty: this route would answer nothing");
        section.error(error.cure("name at least one, or leave `methods` out"));
    } else if methods.value.iter().all(|method| method == Method::HEAD) && has_body(action) {
        let error = Diagnostic::error(place, "this route answers HEAD alone, whose answers have no body");
        section.error(error.cure("add \"GET\", whose answer HEAD stands for, or leave the body out"));
    }
    let reads = |method: &&Method| matches!(**method, Method::GET | Method::HEAD);
    if !matches!(action, Action::Respond { .. })
        && let Some(other) = methods.value.iter().find(|method| !reads(method))
    {
        let what = format!("`{key}` answers GET and HEAD only, not {other}");
        section.error(Diagnostic::error(place, what).cure("leave `methods` out"));
    }
}
