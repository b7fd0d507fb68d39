//! The small plain answers of the router itself: what was wrong with the request.

use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};

use super::body::Body;

/// `text/plain` in UTF-8.
pub(super) const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// A status and one line that says it in words.
pub(super) fn plain(status: StatusCode, line: &'static str) -> Response<Body> {
    let mut answer = Response::new(Body::from(line));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, PLAIN_TEXT);
    answer
}

pub(super) fn bad_request(line: &'static str) -> Response<Body> {
    plain(StatusCode::BAD_REQUEST, line)
}

pub(super) fn not_found() -> Response<Body> {
    plain(StatusCode::NOT_FOUND, "not found\n")
}

/// RFC 9110, section 15.5.6: with the methods that would have been answered.
pub(super) fn method_not_allowed(allow: Option<&HeaderValue>) -> Response<Body> {
    with_allow(plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n"), allow)
}

/// The answer to OPTIONS (RFC 9110, section 9.3.7), on one path or (`None`) on the server as a whole.
pub(super) fn options(allow: Option<&HeaderValue>) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    with_allow(answer, allow)
}

fn with_allow(mut answer: Response<Body>, allow: Option<&HeaderValue>) -> Response<Body> {
    if let Some(allow) = allow {
        answer.headers_mut().insert(ALLOW, allow.clone());
    }
    answer
}

pub(super) fn too_large() -> Response<Body> {
    plain(StatusCode::PAYLOAD_TOO_LARGE, "the request's body is too large\n")
}

pub(super) fn not_implemented() -> Response<Body> {
    plain(StatusCode::NOT_IMPLEMENTED, "not implemented\n")
}

pub(super) fn internal_error() -> Response<Body> {
    plain(StatusCode::INTERNAL_SERVER_ERROR, "internal server error\n")
}
