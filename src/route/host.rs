//! Which host a request is for.

use std::borrow::Cow;

use http::Version;
use http::header::HOST;
use http::request::Parts;

/// A request that doesn't say properly which host it is for: the answer is 400 (RFC 9112, section 3.2).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadHost;

/// The host that a request is for: lower case, without port and final dot; `None` if it names none.
///
/// The target's own authority counts (HTTP/2, or a target in absolute form), else the Host field.
///
/// # Errors
///
/// HTTP/1.1 without a Host field, more than one, or one that is no host.
pub(super) fn requested(head: &Parts) -> Result<Option<Cow<'_, str>>, BadHost> {
    let mut fields = head.headers.get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() || (field.is_none() && head.version == Version::HTTP_11) {
        return Err(BadHost);
    }
    // Checked even where the target's authority counts: a bad field is a bad request.
    let field = field.map(|value| name(value.as_bytes())).transpose()?;
    match head.uri.authority() {
        // A user name has no place in a request's target (RFC 9110, section 4.2.4).
        Some(authority) => name(authority.as_str().as_bytes()).map(Some),
        None => Ok(field.filter(|host| !host.is_empty())),
    }
}

/// The unreserved characters and sub-delims of RFC 3986, and its escapes: all that a reg-name may have.
const IS_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'!'
            | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b'%');
        byte += 1;
    }
    table
};

/// The host in `host`, `host:port`, `[address]` or `[address]:port` (RFC 3986, section 3.2.2).
fn name(authority: &[u8]) -> Result<Cow<'_, str>, BadHost> {
    let (host, rest) = if authority.first() == Some(&b'[') {
        let end = authority.iter().position(|byte| *byte == b']').ok_or(BadHost)? + 1;
        let (host, rest) = authority.split_at(end);
        let address = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).ok_or(BadHost)?;
        if address.is_empty() || !address.iter().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(byte)) {
            return Err(BadHost);
        }
        (host, rest)
    } else {
        let end = authority.iter().position(|byte| !IS_NAME[usize::from(*byte)]).unwrap_or(authority.len());
        authority.split_at(end)
    };
    match rest {
        [] => {}
        [b':', port @ ..] if port.iter().all(u8::is_ascii_digit) => {}
        _ => return Err(BadHost),
    }
    let host = host.strip_suffix(b".").unwrap_or(host);
    let host = std::str::from_utf8(host).map_err(|_| BadHost)?;
    Ok(if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    fn ask(version: Version, uri: &str, hosts: &[&str]) -> Result<Option<String>, BadHost> {
        let mut request = Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header(HOST, HeaderValue::from_bytes(host.as_bytes()).unwrap());
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        requested(&head).map(|host| host.map(Cow::into_owned))
    }

    #[test]
    fn host_without_port_case_and_final_dot() {
        for host in
            ["app.example.com", "App.Example.COM", "app.example.com:8080", "app.example.com.", "app.example.com.:1"]
        {
            assert_eq!(ask(Version::HTTP_11, "/", &[host]), Ok(Some("app.example.com".into())), "{host}");
        }
        assert_eq!(ask(Version::HTTP_11, "/", &["[::1]:80"]), Ok(Some("[::1]".into())));
        assert_eq!(ask(Version::HTTP_11, "/", &["127.0.0.1:80"]), Ok(Some("127.0.0.1".into())));
    }

    #[test]
    fn authority_of_the_target_counts_before_the_field() {
        assert_eq!(ask(Version::HTTP_11, "http://A.example:1/x", &["b.example"]), Ok(Some("a.example".into())));
        assert_eq!(ask(Version::HTTP_2, "http://a.example/x", &[]), Ok(Some("a.example".into())));
        assert_eq!(ask(Version::HTTP_2, "/x", &["b.example"]), Ok(Some("b.example".into())));
    }

    #[test]
    fn a_host_may_be_left_out_or_empty() {
        assert_eq!(ask(Version::HTTP_10, "/", &[]), Ok(None));
        assert_eq!(ask(Version::HTTP_2, "/", &[]), Ok(None));
        assert_eq!(ask(Version::HTTP_11, "/", &[""]), Ok(None));
    }

    #[test]
    fn bad_hosts() {
        assert_eq!(ask(Version::HTTP_11, "/", &[]), Err(BadHost));
        assert_eq!(ask(Version::HTTP_11, "http://a.example/", &[]), Err(BadHost));
        assert_eq!(ask(Version::HTTP_11, "/", &["a", "a"]), Err(BadHost));
        assert_eq!(ask(Version::HTTP_10, "/", &["a", "b"]), Err(BadHost));
        assert_eq!(ask(Version::HTTP_11, "http://user@a.example/", &["a.example"]), Err(BadHost));
        for host in
            ["a b", "a/b", "user@a", "a:b", "a:80:80", "[::1", "[]", "[::1]x", "::1", "a\\b", "\u{e4}", "a?b", "a#"]
        {
            assert_eq!(ask(Version::HTTP_11, "/", &[host]), Err(BadHost), "{host}");
        }
    }
}
