//! The path that routes are matched by.
//!
//! One resource has many spellings, and whoever stands behind a route may well treat them alike. If routing didn't, a
//! route that guards `/admin` could be walked around with `/%61dmin` or `//admin`. So routes are matched by the path
//! in one spelling, while the request keeps the one it came in.

use std::borrow::Cow;

/// A path that has no one meaning: the answer is 400.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadPath;

/// The one spelling of a path: no needless escapes (RFC 3986, section 6.2.2.2), no empty segments.
///
/// # Errors
///
/// For a `%` without two hex digits, and for the segments `.` and `..`, escaped or not: every client resolves those
/// before it sends (RFC 3986, section 5.2.4), except one that tries where they lead.
pub(super) fn normal_form(path: &str) -> Result<Cow<'_, str>, BadPath> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(BadPath);
    }
    let suspicious = bytes
        .iter()
        .enumerate()
        .any(|(at, byte)| *byte == b'%' || *byte == b'/' && matches!(bytes.get(at + 1), Some(b'/' | b'.')));
    if !suspicious {
        return Ok(Cow::Borrowed(path));
    }
    let normal = merge_slashes(&unescape_unreserved(path)?);
    if normal.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(BadPath);
    }
    Ok(Cow::Owned(normal))
}

/// Unescapes what never needed to be escaped: letters, digits, `-`, `.`, `_`, `~`. Anything else keeps its escape, so
/// that `%2F` stays different from `/`, and nothing is ever unescaped twice.
fn unescape_unreserved(path: &str) -> Result<String, BadPath> {
    let mut unescaped = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        unescaped.push_str(before);
        let digits = after.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let digits = digits.ok_or(BadPath)?;
        match u8::from_str_radix(digits, 16) {
            Ok(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => unescaped.push(char::from(byte)),
            _ => {
                unescaped.push('%');
                unescaped.push_str(digits);
            }
        }
        rest = &after[2..];
    }
    unescaped.push_str(rest);
    Ok(unescaped)
}

fn merge_slashes(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !merged.ends_with('/') {
            merged.push(character);
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_path_is_not_copied() {
        for path in ["/", "/hello", "/a/b.c/d/", "/a.b/~c", "/a:b;c=d"] {
            assert!(matches!(normal_form(path), Ok(Cow::Borrowed(same)) if same == path), "{path}");
        }
    }

    #[test]
    fn spellings_of_one_path_become_one() {
        for (path, normal) in [
            ("/%61dmin", "/admin"),
            ("//admin", "/admin"),
            ("/a///b//", "/a/b/"),
            ("/%7Eme/%2d", "/~me/-"),
            ("/a%2Fb", "/a%2Fb"),
            ("/.well-known/x", "/.well-known/x"),
            ("/..a/...", "/..a/..."),
            // Unescaped once, never twice.
            ("/%2561", "/%2561"),
            ("/%25%36%31", "/%2561"),
            ("/%c3%a4", "/%c3%a4"),
            ("/ä", "/ä"),
        ] {
            assert_eq!(normal_form(path).as_deref(), Ok(normal), "{path}");
        }
    }

    #[test]
    fn paths_without_one_meaning_are_refused() {
        for path in [
            "",
            "a",
            "*",
            "/..",
            "/.",
            "/a/../b",
            "/a/./b",
            "/%2e%2e/b",
            "/%2e%2E",
            "/.%2e/b",
            "/a/%2e",
            "/%",
            "/%4",
            "/%zz",
            "/%+1",
            "/%%36%31",
            "/%ä1",
        ] {
            assert_eq!(normal_form(path), Err(BadPath), "{path}");
        }
    }
}
