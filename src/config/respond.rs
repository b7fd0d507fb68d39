//! Reading `respond = { .. }`.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use toml::de::DeValue;

use super::diagnostic::Diagnostic;
use super::load::unreadable;
use super::names::{absolute_path, header_name, header_value};
use super::quantity::Size;
use super::section::{Section, Value, Wrong, kind};
use super::settings::Action;
use super::source::Located;
use super::value::{duration, integer, text};

/// Longer answers should be files: a body is held in memory.
const LARGEST_BODY: u64 = 16 * 1024 * 1024;
const LONGEST_DELAY: Duration = Duration::from_secs(60 * 60);

/// Fields that say how a message is framed or its connection is used: they are the server's to set (RFC 9110,
/// section 7.6.1; RFC 9112, section 6).
const SERVERS_FIELDS: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TRAILER,
    header::TE,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// Reads the table; `None` if anything essential is wrong with it.
pub(super) fn respond(section: &mut Section<'_>) -> Option<Action> {
    let code = section.take("status", status);
    let headers = section.take("headers", headers).map(|headers| headers.value);
    let body = body(section);
    let delay = section.take("delay", |value| duration(value, Duration::ZERO..=LONGEST_DELAY));
    let status = code.as_ref().map_or(StatusCode::OK, |code| code.value);
    if let (Some(code), Some(body)) = (&code, &body)
        && matches!(code.value, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
        && !body.value.is_empty()
    {
        let what = format!("an answer with status {} has no body", status.as_u16());
        let error = Diagnostic::error(&body.place, what).cure("leave the body out, or choose another status");
        section.error(error.related(&code.place, "the status"));
        return None;
    }
    let body = body.map(|body| body.value).unwrap_or_default();
    let mut headers = headers.unwrap_or_default();
    if !body.is_empty() && !headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    Some(Action::Respond { status, headers, body, delay: delay.map(|delay| delay.value).unwrap_or_default() })
}

fn status(value: &Value<'_>) -> Result<StatusCode, Wrong> {
    let code =
        integer(value, 200..=599).map_err(|wrong| match value.get_ref().as_integer().map(|code| code.as_str()) {
            Some("100" | "101" | "102" | "103") => wrong.cure("a status below 200 only announces the answer"),
            _ => wrong,
        })?;
    let code = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok());
    code.ok_or_else(|| Wrong::new("must be between 200 and 599"))
}

/// `{ name = "value", other = ["one", "two"] }`
fn headers(value: &Value<'_>) -> Result<HeaderMap, Wrong> {
    let DeValue::Table(table) = value.get_ref() else {
        let wrong = Wrong::new(format!("must be a table, not {}", kind(value)));
        return Err(wrong.cure("write `headers = { \"Cache-Control\" = \"no-store\" }`, say"));
    };
    let mut headers = HeaderMap::new();
    for (key, value) in table {
        let name = header_name(key.get_ref()).map_err(|wrong| wrong.at(key.span()))?;
        if SERVERS_FIELDS.contains(&name) {
            let wrong = Wrong::new(format!("has `{}`, which the server sets itself", key.get_ref()));
            return Err(wrong.cure("leave it out").at(key.span()));
        }
        let values = match value.get_ref() {
            DeValue::Array(values) => values.iter().collect(),
            _ => vec![value],
        };
        for value in values {
            headers.append(name.clone(), header_value(value).map_err(|wrong| wrong.at(value.span()))?);
        }
    }
    Ok(headers)
}

/// `body`, or the contents of `body_file`.
fn body(section: &mut Section<'_>) -> Option<Located<Bytes>> {
    let inline = section.take("body", |value| text(value).map(|text| Bytes::copy_from_slice(text.as_bytes())));
    let file = section.take("body_file", read_body);
    if let (Some(inline), Some(file)) = (&inline, &file) {
        let error = Diagnostic::error(&file.place, "`body_file` and `body` exclude each other");
        section.error(error.cure("keep one of them").related(&inline.place, "the body is given here"));
    }
    inline.or(file)
}

fn read_body(value: &Value<'_>) -> Result<Bytes, Wrong> {
    let path = absolute_path(value)?;
    let failed = |error: std::io::Error| {
        let (what, cure) = unreadable(&error);
        Wrong::new(format!("names {}, which {what}", path.display())).cure(cure)
    };
    let mut contents = Vec::new();
    let file = File::open(&path).map_err(failed)?;
    file.take(LARGEST_BODY + 1).read_to_end(&mut contents).map_err(failed)?;
    if contents.len() as u64 > LARGEST_BODY {
        let wrong = Wrong::new(format!("names {}, which is longer than {}", path.display(), Size(LARGEST_BODY)));
        return Err(wrong.cure("serve it with `files`: a body is held in memory"));
    }
    Ok(contents.into())
}

/// Whether the answer has a body.
pub(super) fn has_body(action: &Action) -> bool {
    matches!(action, Action::Respond { body, .. } if !body.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_that_ends_an_exchange_is_allowed() {
        let status_of = |code: &str| {
            let value = DeValue::parse(code).expect("an integer is a TOML value");
            status(&value).ok().map(|status| status.as_u16())
        };
        assert_eq!(status_of("200"), Some(200));
        assert_eq!(status_of("599"), Some(599));
        assert_eq!(status_of("199"), None);
        assert_eq!(status_of("600"), None);
        assert_eq!(status_of("-200"), None);
    }

    #[test]
    fn a_field_can_have_several_values() {
        let value = DeValue::parse("{ Link = ['</a>', '</b>'], X = 'y' }").expect("an inline table is a TOML value");
        let headers = headers(&value).ok().expect("both names and all values are valid");
        assert_eq!(headers.get_all("link").iter().count(), 2);
        assert_eq!(headers.get("x").map(HeaderValue::as_bytes), Some(b"y".as_slice()));
    }
}
