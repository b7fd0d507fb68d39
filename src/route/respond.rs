//! `respond`: the same answer to everyone, from memory.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, Response, StatusCode};

use super::body::Body;
use super::error::RouteError;
use super::refusal::PLAIN_TEXT;
use super::reply::Reply;

/// What the server writes itself (RFC 9110, section 7.6.1; RFC 9112, sections 6 and 9): a second opinion on where a
/// message ends is how requests get smuggled.
const FRAMING: [HeaderName; 7] =
    [CONNECTION, CONTENT_LENGTH, HeaderName::from_static("keep-alive"), TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// An answer that is made once and given to each request.
pub(super) struct Respond {
    answer: Response<Bytes>,
    delay: Duration,
}

impl Respond {
    pub(super) fn new(
        label: &str,
        status: StatusCode,
        headers: &HeaderMap,
        body: &Bytes,
        delay: Duration,
    ) -> Result<Self, RouteError> {
        if !(200..=599).contains(&status.as_u16()) {
            return Err(RouteError::Status { route: label.to_owned(), status });
        }
        if let Some(field) = FRAMING.into_iter().find(|field| headers.contains_key(field)) {
            return Err(RouteError::Framing { route: label.to_owned(), field });
        }
        // These never have content (RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5).
        let bodiless = matches!(status.as_u16(), 204 | 205 | 304);
        let mut answer = Response::new(if bodiless { Bytes::new() } else { body.clone() });
        *answer.status_mut() = status;
        *answer.headers_mut() = headers.clone();
        if !answer.body().is_empty() {
            answer.headers_mut().entry(CONTENT_TYPE).or_insert(PLAIN_TEXT);
        }
        Ok(Self { answer, delay })
    }

    pub(super) fn answer(&self) -> Reply {
        let answer = self.answer.clone().map(Body::from);
        if self.delay.is_zero() {
            return Reply::now(answer);
        }
        let delay = self.delay;
        Reply::later(async move {
            tokio::time::sleep(delay).await;
            answer
        })
    }
}
