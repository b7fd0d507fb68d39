//! Names that come from the network's world: addresses to bind, hosts, methods, header fields.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use http::{HeaderName, HeaderValue, Method};

use super::section::{Value, Wrong};
use super::settings::Address;
use super::value::text;

/// `sockaddr_un` holds 108 bytes, the closing NUL among them (unix(7)).
const LONGEST_SOCKET_PATH: usize = 107;

/// An address to bind: `127.0.0.1:8080`, `[::1]:80`, `unix:/run/outlive.sock`.
pub(super) fn address(value: &Value<'_>) -> Result<Address, Wrong> {
    let text = text(value)?;
    if let Some(path) = text.strip_prefix("unix:") {
        return socket_path(path).map(|path| Address::Unix(path.to_owned()));
    }
    text.parse().map(Address::Tcp).map_err(|_| {
        let wrong = Wrong::new(format!("is `{text}`, which is no address to bind"));
        wrong.cure(address_cure(text))
    })
}

fn socket_path(path: &str) -> Result<&Path, Wrong> {
    if !path.starts_with('/') {
        let wrong = Wrong::new("must name a Unix socket by its absolute path");
        return Err(wrong.cure("write \"unix:/run/outlive.sock\", say"));
    }
    if path.len() > LONGEST_SOCKET_PATH || path.contains('\0') {
        return Err(Wrong::new(format!(
            "must be a path of at most {LONGEST_SOCKET_PATH} bytes: no socket can have a longer one"
        )));
    }
    Ok(Path::new(path))
}

fn address_cure(text: &str) -> String {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port = port.parse::<u16>().ok();
    match port {
        Some(port) if host == "localhost" => format!("write \"127.0.0.1:{port}\" or \"[::1]:{port}\""),
        Some(port) if matches!(host, "" | "*") => {
            format!("write \"[::]:{port}\" for every address, \"127.0.0.1:{port}\" for this machine alone")
        }
        Some(port) if host.parse::<std::net::Ipv6Addr>().is_ok() => format!("write \"[{host}]:{port}\""),
        None if text.parse::<Ipv4Addr>().is_ok() => format!("the port is missing: write \"{text}:80\", say"),
        None if text.starts_with('/') => format!("write \"unix:{text}\" for a Unix socket"),
        None if text.contains("://") => "write the address alone, such as \"127.0.0.1:80\"".to_owned(),
        _ => {
            let port = SocketAddr::from((Ipv4Addr::LOCALHOST, port.unwrap_or(8080)));
            format!("write an IP address and a port, such as \"{port}\", or \"unix:/run/outlive.sock\"")
        }
    }
}

/// A host: `app.example.com`, `*.example.com`; in lower case then.
pub(super) fn host(value: &Value<'_>) -> Result<String, Wrong> {
    let text = text(value)?;
    let wrong = |what: &str, cure: String| Err(Wrong::new(format!("is `{text}`: {what}")).cure(cure));
    if let Some((_, rest)) = text.split_once("://") {
        return wrong("a host has no scheme", format!("write \"{}\"", rest.split('/').next().unwrap_or_default()));
    }
    if let Some((host, _)) = text.split_once('/') {
        return wrong("a host has no path", format!("write \"{host}\", and the rest as `path`"));
    }
    if text == "*" {
        return wrong("that is no host", "leave `host` out to answer every host".to_owned());
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && !port.ends_with(']')
    {
        return wrong("a host has no port here", format!("write \"{host}\": the port doesn't matter"));
    }
    if let Some(host) = text.strip_suffix('.') {
        return wrong("the last dot is too much", format!("write \"{host}\""));
    }
    if !text.is_ascii() {
        return wrong("a host is ASCII", "write it as clients send it, in Punycode: \"xn--..\"".to_owned());
    }
    let lower = text.to_ascii_lowercase();
    let name = lower.strip_prefix("*.").unwrap_or(&lower);
    if name.contains('*') {
        return wrong("`*.` may only stand at its beginning", "write \"*.example.com\", say".to_owned());
    }
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let valid = match address {
        Some(address) => name == lower && address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.len() <= 253 && name.split('.').all(is_label),
    };
    if !valid {
        return wrong("that is no host", "write \"app.example.com\" or \"*.example.com\", say".to_owned());
    }
    Ok(lower)
}

/// A host name's part between dots (RFC 1123, section 2.1), underscores allowed as they are in use.
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// A method's name: case matters (RFC 9110, section 9.1).
pub(super) fn method(value: &Value<'_>) -> Result<Method, Wrong> {
    let text = text(value)?;
    let upper = text.to_ascii_uppercase();
    if text == "CONNECT" {
        return Err(Wrong::new("has CONNECT, which asks for no path").cure("leave it out: no route can answer it"));
    }
    if text != upper && ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"].contains(&upper.as_str())
    {
        return Err(Wrong::new(format!("has `{text}`, and case matters")).cure(format!("write \"{upper}\"")));
    }
    Method::from_bytes(text.as_bytes())
        .map_err(|_| Wrong::new(format!("has `{text}`, which is no method")).cure("write \"GET\" or \"POST\", say"))
}

/// A header field's name.
pub(super) fn header_name(text: &str) -> Result<HeaderName, Wrong> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
        let wrong = Wrong::new(format!("has `{text}`, which is no header field's name"));
        wrong.cure("a name has letters, digits and hyphens, such as \"Cache-Control\"")
    })
}

/// A header field's value.
pub(super) fn header_value(value: &Value<'_>) -> Result<HeaderValue, Wrong> {
    HeaderValue::from_str(text(value)?).map_err(|_| {
        let wrong = Wrong::new("has a value with characters that a header field can't have");
        wrong.cure("write visible ASCII characters on one line").at(value.span())
    })
}

/// An absolute path to a file or folder.
pub(super) fn absolute_path(value: &Value<'_>) -> Result<PathBuf, Wrong> {
    let text = text(value)?;
    if !text.starts_with('/') {
        let wrong = Wrong::new(format!("is `{text}`, which is no absolute path"));
        return Err(wrong.cure("begin it with `/`: a service has no folder of its own to look in"));
    }
    if text.contains('\0') {
        return Err(Wrong::new("has a NUL byte, which no path has"));
    }
    Ok(PathBuf::from(text))
}

#[cfg(test)]
mod tests {
    use toml::Spanned;
    use toml::de::DeValue;

    use super::*;

    fn string(text: &str) -> Value<'_> {
        Spanned::new(0..text.len(), DeValue::String(text.into()))
    }

    fn cure<T>(result: Result<T, Wrong>) -> String {
        result.err().and_then(|wrong| wrong.cure).unwrap_or_else(|| "accepted, or refused without a cure".to_owned())
    }

    #[test]
    fn addresses_are_read() {
        assert_eq!(address(&string("127.0.0.1:8080")).ok(), "127.0.0.1:8080".parse().ok().map(Address::Tcp));
        assert_eq!(address(&string("[::1]:80")).ok(), "[::1]:80".parse().ok().map(Address::Tcp));
        assert_eq!(address(&string("unix:/run/a.sock")).ok(), Some(Address::Unix("/run/a.sock".into())));
        assert!(address(&string(&format!("unix:/{}", "a".repeat(106)))).is_ok());
        assert!(address(&string(&format!("unix:/{}", "a".repeat(107)))).is_err());
    }

    #[test]
    fn no_addresses_are_cured() {
        let cases = [
            ("localhost:80", "write \"127.0.0.1:80\" or \"[::1]:80\""),
            (":80", "write \"[::]:80\" for every address, \"127.0.0.1:80\" for this machine alone"),
            ("80", "write \"[::]:80\" for every address, \"127.0.0.1:80\" for this machine alone"),
            ("*:80", "write \"[::]:80\" for every address, \"127.0.0.1:80\" for this machine alone"),
            ("::1:80", "write \"[::1]:80\""),
            ("10.0.0.1", "the port is missing: write \"10.0.0.1:80\", say"),
            ("/run/a.sock", "write \"unix:/run/a.sock\" for a Unix socket"),
            ("http://127.0.0.1:80/", "write the address alone, such as \"127.0.0.1:80\""),
            (
                "www.example.com:81",
                "write an IP address and a port, such as \"127.0.0.1:81\", or \"unix:/run/outlive.sock\"",
            ),
            ("unix:a.sock", "write \"unix:/run/outlive.sock\", say"),
        ];
        for (text, expected) in cases {
            assert_eq!(cure(address(&string(text))), expected, "{text}");
        }
    }

    #[test]
    fn hosts_are_lower_cased() {
        for (text, expected) in [
            ("App.Example.COM", "app.example.com"),
            ("*.example.com", "*.example.com"),
            ("localhost", "localhost"),
            ("my_app", "my_app"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(host(&string(text)).ok().as_deref(), Some(expected));
        }
    }

    #[test]
    fn no_hosts_are_cured() {
        let cases = [
            ("https://a.example/x", "write \"a.example\""),
            ("a.example/x", "write \"a.example\", and the rest as `path`"),
            ("a.example:80", "write \"a.example\": the port doesn't matter"),
            ("[::1]:80", "write \"[::1]\": the port doesn't matter"),
            ("a.example.", "write \"a.example\""),
            ("*", "leave `host` out to answer every host"),
            ("a.*.example", "write \"*.example.com\", say"),
            ("bücher.example", "write it as clients send it, in Punycode: \"xn--..\""),
            ("", "write \"app.example.com\" or \"*.example.com\", say"),
            ("a..b", "write \"app.example.com\" or \"*.example.com\", say"),
            ("*.[::1]", "write \"app.example.com\" or \"*.example.com\", say"),
            ("-a", "write \"app.example.com\" or \"*.example.com\", say"),
        ];
        for (text, expected) in cases {
            assert_eq!(cure(host(&string(text))), expected, "{text}");
        }
    }
}
