//! A route's path: what can be written, and what no request would ever match.

use super::section::{Value, Wrong};
use super::value::text;

/// A route's path, in matchit's syntax.
pub(super) fn path(value: &Value<'_>) -> Result<String, Wrong> {
    let text = text(value)?;
    if !text.starts_with('/') {
        return Err(Wrong::new("must begin with `/`").cure(format!("write \"/{text}\"")));
    }
    if text.contains(['?', '#']) {
        let cure = "leave it out: a route answers its path whatever the query is";
        return Err(Wrong::new("must be a path, without query or fragment").cure(cure));
    }
    if let Some(strange) = text.chars().find(|c| !c.is_ascii_graphic()) {
        let encoded: String = strange.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
        let wrong = Wrong::new(format!("has the character {strange:?}, which no request's path has"));
        return Err(wrong.cure(format!("write it percent-encoded, as clients send it: `{encoded}`")));
    }
    if let Some(wrong) = never_asked_for(text) {
        return Err(wrong);
    }
    match matchit::Router::new().insert(text, ()) {
        Ok(()) => Ok(text.to_owned()),
        Err(error) => Err(malformed(text, &error)),
    }
}

/// What the router never sees: it matches the one normal form of a request's path, without doubled slashes and needless
/// escapes (RFC 3986, section 6.2.2), and refuses `.` and `..`.
fn never_asked_for(path: &str) -> Option<Wrong> {
    if path.contains("//") {
        let wrong = Wrong::new("has two slashes in a row, and requests are matched as if they had one");
        return Some(wrong.cure("leave one of them out"));
    }
    if path.split('/').any(|part| matches!(part, "." | "..")) {
        let wrong = Wrong::new("has a `.` or `..` between slashes, and requests with such a part are refused");
        return Some(wrong.cure("write the path that it leads to"));
    }
    path.match_indices('%').find_map(|(at, _)| {
        let escape = path.get(at..at + 3).unwrap_or(&path[at..]);
        let digits =
            escape.get(1..).filter(|digits| digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            let wrong = Wrong::new("has a `%` without two hexadecimal digits after it");
            return Some(wrong.cure("write `%25` for a percent sign"));
        };
        (byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)).then(|| {
            let wrong = Wrong::new(format!("has `{escape}`, and requests are matched as if it were not escaped"));
            wrong.cure(format!("write `{}`", char::from(byte)))
        })
    })
}

fn malformed(text: &str, error: &matchit::InsertError) -> Wrong {
    use matchit::InsertError;
    match error {
        InsertError::InvalidParamSegment => {
            Wrong::new("has two parameters between two slashes").cure("keep one: \"/{name}/{other}\"")
        }
        InsertError::InvalidParam => Wrong::new("has a parameter without a name, or a brace without its other half")
            .cure("write \"/{name}\" for a parameter, `{{` and `}}` for braces as such"),
        InsertError::InvalidCatchAll => Wrong::new("has `{*name}` somewhere else than at its end")
            .cure("only the last part can take all that follows: \"/static/{*file}\""),
        other => Wrong::new(format!("is `{text}`, which cannot be routed: {other}")),
    }
}

/// Whether a part of a path looks like a parameter in the spelling of other routers, and how it is spelled here.
pub(super) fn foreign_parameter(path: &str) -> Option<(&str, String)> {
    path.split('/').find_map(|part| {
        let (name, star) = match (part.strip_prefix(':'), part.strip_prefix('*')) {
            (Some(name), _) => (name, ""),
            (_, Some(name)) => (name, "*"),
            _ => return None,
        };
        let name = if name.is_empty() { "rest" } else { name };
        Some((part, format!("{{{star}{name}}}")))
    })
}

/// Whether a path ends in a parameter that takes all that follows, such as `{*file}`.
pub(super) fn takes_the_rest(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|last| last.starts_with("{*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_other_routers_are_noticed() {
        assert_eq!(foreign_parameter("/users/:id/x"), Some((":id", "{id}".to_owned())));
        assert_eq!(foreign_parameter("/static/*"), Some(("*", "{*rest}".to_owned())));
        assert_eq!(foreign_parameter("/users/{id}/a:b"), None);
    }

    #[test]
    fn paths_that_no_request_has_are_refused() {
        for path in ["/", "/a/b", "/a%2Fb", "/%25", "/%c3%a4", "/.well-known/x", "/...", "/{a}.x"] {
            assert!(never_asked_for(path).is_none(), "{path}");
        }
        for path in ["//", "/a//b", "/.", "/a/../b", "/%61", "/%7E", "/%2e%2e", "/%", "/%4", "/%zz", "/%+1", "/a%"] {
            assert!(never_asked_for(path).is_some(), "{path}");
        }
    }

    #[test]
    fn the_rest_is_taken_by_a_last_parameter_with_a_star() {
        assert!(takes_the_rest("/static/{*file}") && takes_the_rest("/{*rest}"));
        assert!(!takes_the_rest("/static/{file}") && !takes_the_rest("/{{*file}}") && !takes_the_rest("/"));
    }
}
