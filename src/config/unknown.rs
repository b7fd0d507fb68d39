//! Keys that don't exist, and which ones may have been meant.

use std::collections::BTreeSet;

use super::diagnostic::Diagnostic;
use super::section::UnknownKey;
use super::value::{either, nearest};

/// Keys that the documentation speaks of, but that this version doesn't know yet.
const LATER: [(&str, &str); 2] = [
    ("route.proxy", "this version can't forward requests to an application yet"),
    ("route.hold", "this version can't hold requests for an application yet"),
];

/// `known`: every key that exists, by its dotted path.
pub(super) fn unknown_key(unknown: &UnknownKey, known: &BTreeSet<String>) -> Diagnostic {
    let key = unknown.key.value.as_str();
    let what = if unknown.is_section {
        format!("unknown section [{key}]")
    } else {
        format!("unknown key `{key}` {}", unknown.title)
    };
    let error = Diagnostic::error(&unknown.key.place, what);
    let path = if unknown.path.is_empty() { key.to_owned() } else { format!("{}.{key}", unknown.path) };
    if let Some((_, why)) = LATER.iter().find(|(later, _)| *later == path) {
        return error.cure(*why);
    }
    if unknown.known.is_empty() {
        return error.cure("nothing can be set there: write `{}`");
    }
    let homes = homes(key, known);
    if !homes.is_empty() {
        return error.cure(format!("it belongs {}", homes.join(", or ")));
    }
    if let Some(meant) = nearest(key, unknown.known.iter().copied()) {
        let shape = if unknown.is_section { format!("[{meant}]") } else { format!("`{meant}`") };
        return error.cure(format!("did you mean {shape}?"));
    }
    let known: Vec<_> = unknown.known.iter().map(|key| format!("`{key}`")).collect();
    error.cure(match known.as_slice() {
        [only] => format!("the only key there is {only}"),
        known => format!("what can be set there is {}", either(known)),
    })
}

/// The tables where a key of that name exists.
fn homes(key: &str, known: &BTreeSet<String>) -> Vec<String> {
    let parents = known.iter().filter_map(|path| match path.rsplit_once('.') {
        Some((parent, last)) => (last == key).then_some(parent),
        None => (path == key).then_some(""),
    });
    let title = |parent: &str| match parent {
        "" => "at the top level, above the first [section]".to_owned(),
        "route" => "in [[route]]".to_owned(),
        "listen" => "at the top level".to_owned(),
        parent => match parent.strip_prefix("route.") {
            Some(action) => format!("in `{action}` of a [[route]]"),
            None => format!("in [{parent}]"),
        },
    };
    parents.map(title).collect()
}
