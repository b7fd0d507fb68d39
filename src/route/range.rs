//! Which part of a file is asked for (RFC 9110, section 14).
//!
//! `ServeDir` reads the Range field strictly, answers 416 where the RFC wants the field ignored, and doesn't know
//! If-Range at all: a download that is resumed after the file has changed would be pieced together from two files. So
//! the field is read here, given on in its plainest form, and where the answer shows that it shouldn't have counted, the
//! whole file is asked for instead.

use std::time::{Duration, SystemTime};

use http::header::{CONTENT_LENGTH, ETAG, IF_RANGE, LAST_MODIFIED, RANGE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

/// A Range field that counts, and the condition on it.
pub(super) struct Range {
    /// `bytes=0-99`, `bytes=100-`, or `bytes=-100`.
    pub(super) value: HeaderValue,
    last_bytes: bool,
    condition: Option<HeaderValue>,
}

impl Range {
    /// The one range of bytes that a request asks for.
    ///
    /// `None`, which means the whole file, for methods but GET, other units, malformed fields, and several ranges at
    /// once, which any server may ignore and which are mostly asked for to make it work hard.
    pub(super) fn asked(head: &Parts) -> Option<Self> {
        if head.method != Method::GET {
            return None;
        }
        let mut fields = head.headers.get_all(RANGE).iter();
        let (field, None) = (fields.next()?, fields.next()) else { return None };
        let (unit, range) = field.to_str().ok()?.split_once('=')?;
        let (first, last) = range.trim().split_once('-')?;
        let (first, last) = (position(first)?, position(last)?);
        let valid = match (first, last) {
            (None, None) => false,
            (Some(first), Some(last)) => first <= last,
            _ => true,
        };
        if !unit.eq_ignore_ascii_case("bytes") || !valid {
            return None;
        }
        let text = |position: Option<u64>| position.map(|position| position.to_string()).unwrap_or_default();
        let value = HeaderValue::try_from(format!("bytes={}-{}", text(first), text(last))).ok()?;
        Some(Self { value, last_bytes: first.is_none(), condition: head.headers.get(IF_RANGE).cloned() })
    }

    /// Whether an answer to this range shows that the whole file should be answered instead.
    pub(super) fn refuted<B>(&self, answer: &Response<B>, now: SystemTime) -> bool {
        let headers = answer.headers();
        match answer.status() {
            StatusCode::PARTIAL_CONTENT => self.changed(headers, now) || length(headers) == Some(0),
            // More last bytes than there are: all of them. `-0` alone can't be satisfied.
            StatusCode::RANGE_NOT_SATISFIABLE => {
                self.changed(headers, now) || self.last_bytes && self.value != "bytes=-0"
            }
            _ => false,
        }
    }

    /// Whether If-Range names another version of the file than this one (RFC 9110, section 13.1.5).
    fn changed(&self, headers: &HeaderMap, now: SystemTime) -> bool {
        let Some(condition) = &self.condition else { return false };
        let condition = condition.as_bytes();
        if condition.starts_with(b"\"") {
            return headers.get(ETAG).is_none_or(|tag| tag.as_bytes() != condition);
        }
        // A weak tag never matches. A date must be the very one, and old enough that no later version can have it too.
        let modified = headers.get(LAST_MODIFIED).filter(|date| date.as_bytes() == condition);
        let modified = modified.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        modified.is_none_or(|modified| now < modified + Duration::from_secs(1))
    }
}

/// A position in a range, if it is there: `Some(None)` for an empty one, `None` for one that isn't a number.
fn position(text: &str) -> Option<Option<u64>> {
    if text.is_empty() {
        return Some(None);
    }
    // Beyond what a u64 holds is beyond any file's end.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| Some(text.parse().unwrap_or(u64::MAX)))
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http::request::Builder;

    use super::*;

    fn range(request: Builder) -> Option<Range> {
        Range::asked(&request.body(()).unwrap().into_parts().0)
    }

    fn asked(field: &str) -> Option<String> {
        range(Request::builder().header(RANGE, field)).map(|range| range.value.to_str().unwrap().to_owned())
    }

    #[test]
    fn one_range_in_its_plainest_form() {
        for (field, plain) in [
            ("bytes=0-15", "bytes=0-15"),
            ("Bytes=007-0015", "bytes=7-15"),
            ("bytes= 5- ", "bytes=5-"),
            ("bytes=-3", "bytes=-3"),
            ("bytes=-0", "bytes=-0"),
            ("bytes=0-99999999999999999999", "bytes=0-18446744073709551615"),
        ] {
            assert_eq!(asked(field).as_deref(), Some(plain), "{field}");
        }
    }

    #[test]
    fn what_is_ignored() {
        for field in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=2-1",
            "bytes=1-2-3",
            "bytes=1",
            "items=0-1",
            "bytes=0-1,2-3",
            "bytes=0-1,",
            "bytes=--1",
        ] {
            assert_eq!(asked(field), None, "{field}");
        }
        assert!(range(Request::builder().method(Method::HEAD).header(RANGE, "bytes=0-1")).is_none());
        assert!(range(Request::builder().header(RANGE, "bytes=0-1").header(RANGE, "bytes=3-4")).is_none());
    }

    #[test]
    fn if_range() {
        const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        let answer = Response::builder()
            .status(StatusCode::PARTIAL_CONTENT)
            .header(ETAG, "\"one\"")
            .header(LAST_MODIFIED, MODIFIED)
            .body(())
            .unwrap();
        let modified = httpdate::parse_http_date(MODIFIED).unwrap();
        let refuted = |condition: &str, now: SystemTime| {
            let request = Request::builder().header(RANGE, "bytes=0-1").header(IF_RANGE, condition);
            range(request).unwrap().refuted(&answer, now)
        };
        let later = modified + Duration::from_secs(60);
        assert!(!refuted("\"one\"", later));
        assert!(!refuted(MODIFIED, later));
        assert!(refuted(MODIFIED, modified), "another version may come within the same second");
        assert!(refuted("\"two\"", later));
        assert!(refuted("W/\"one\"", later));
        assert!(refuted("Sun, 06 Nov 1994 08:49:38 GMT", later));
        assert!(refuted("", later));
    }
}
