//! The access log: which requests get an entry in the journal, and what it says.

use std::sync::Arc;

use http::header::HeaderValue;
use http::{HeaderMap, HeaderName, StatusCode};

use crate::Observer;
use crate::config::settings::{Access, Log};
use crate::entries::{self, RequestEntry};
use crate::{ConnectionInfo, Exchange, Outcome};

/// The longest `X-Request-Id` of a client that is taken over.
const REQUEST_ID_AT_MOST: usize = 128;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Writes the access log.
#[derive(Debug)]
pub struct AccessLog {
    settings: Log,
}

impl AccessLog {
    /// An access log as configured.
    #[must_use]
    pub fn new(settings: Log) -> Arc<Self> {
        Arc::new(Self { settings })
    }

    fn failed(status: Option<StatusCode>, outcome: Outcome) -> bool {
        outcome != Outcome::Complete || status.is_none_or(|status| status.is_server_error())
    }

    /// Whether an answer's status alone earns it an entry, and so an id that its client can quote.
    fn wants(&self, status: StatusCode) -> bool {
        match self.settings.access {
            Access::Off => false,
            Access::Errors => status.is_server_error(),
            Access::All => true,
        }
    }
}

impl Observer for AccessLog {
    fn received(&self, exchange: &Exchange, headers: &HeaderMap) {
        if let Some(id) = headers.get(X_REQUEST_ID).and_then(acceptable) {
            exchange.set_request_id(id);
        }
        if !self.settings.headers.is_empty() {
            exchange.set_logged_fields(fields(&self.settings.headers, headers));
        }
    }

    fn answering(&self, exchange: &Exchange, status: StatusCode, headers: &mut HeaderMap) {
        if exchange.request_id().is_none() && self.wants(status) {
            exchange.set_request_id(random_id());
        }
        if let Some(id) = exchange.request_id().and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.entry(X_REQUEST_ID).or_insert(id);
        }
    }

    fn rejected(&self, connection: &ConnectionInfo, status: StatusCode, reason: &str) {
        if self.settings.access == Access::All {
            let (peer, listener) = (connection.peer.to_string(), connection.listener.to_string());
            entries::request_rejected(peer, listener, status.as_u16(), reason.to_owned());
        }
    }

    fn ended(&self, exchange: &Exchange, status: Option<StatusCode>, outcome: Outcome) {
        let failed = Self::failed(status, outcome);
        let wanted = match self.settings.access {
            Access::Off => false,
            Access::Errors => failed,
            Access::All => true,
        };
        // Most requests on most servers end here, without a look at the clock.
        let slow = |limit| exchange.began.elapsed() >= limit;
        if !wanted && !self.settings.slow.is_some_and(slow) {
            return;
        }
        if exchange.request_id().is_none() {
            exchange.set_request_id(random_id());
        }
        let path = if self.settings.query {
            exchange.uri.path_and_query().map_or(exchange.uri.path(), http::uri::PathAndQuery::as_str)
        } else {
            exchange.uri.path()
        };
        entries::request(RequestEntry {
            failed,
            method: exchange.method.to_string(),
            path: path.to_owned(),
            route: exchange.route().map(ToString::to_string),
            status: status.map(|status| status.as_u16()),
            duration: exchange.began.elapsed(),
            bytes: exchange.bytes(),
            peer: exchange.connection.peer.to_string(),
            listener: exchange.connection.listener.to_string(),
            request_id: exchange.request_id().map(ToOwned::to_owned),
            outcome: outcome.name(),
            headers: exchange.logged_fields().map(ToOwned::to_owned),
        });
    }
}

/// A client's id, if it can stand in a journal and in an answer: visible ASCII, not too long.
fn acceptable(value: &HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?;
    let fits = !text.is_empty() && text.len() <= REQUEST_ID_AT_MOST && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| text.to_owned())
}

/// 128 random bits. An id that nobody can guess isn't needed, one that doesn't repeat is.
fn random_id() -> String {
    let mut bytes = [0_u8; 16];
    // getrandom(2) doesn't fail or wait once the system is up, and gives so few bytes whole.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    format!("{:032x}", u128::from_ne_bytes(bytes))
}

/// `user-agent="curl/8.5" referer="…"`: those of the wanted fields that are there.
fn fields(wanted: &[HeaderName], headers: &HeaderMap) -> String {
    let mut text = String::new();
    for name in wanted {
        for value in headers.get_all(name) {
            let gap = if text.is_empty() { "" } else { " " };
            text.push_str(&format!("{gap}{name}={:?}", String::from_utf8_lossy(value.as_bytes())));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_ids_are_taken_over() {
        let accept = |text: &str| HeaderValue::from_str(text).ok().as_ref().and_then(acceptable);
        assert_eq!(accept("abc-123").as_deref(), Some("abc-123"));
        assert_eq!(accept("with space"), None);
        assert_eq!(accept(""), None);
        assert_eq!(accept(&"x".repeat(129)), None);
    }

    #[test]
    fn made_ids_differ() {
        let (one, other) = (random_id(), random_id());
        assert_eq!(one.len(), 32);
        assert_ne!(one, other);
    }

    #[test]
    fn fields_are_quoted() {
        let mut headers = HeaderMap::new();
        headers.insert("user-agent", HeaderValue::from_static("a \"b\""));
        let wanted = [HeaderName::from_static("user-agent"), HeaderName::from_static("referer")];
        assert_eq!(fields(&wanted, &headers), "user-agent=\"a \\\"b\\\"\"");
    }
}
