//! What the service itself has to say in the journal, beside what the library says: its ids and its words.
//!
//! It says so by [`crate::log`], as any program on the library can.

use std::time::Duration;

use tracing::{error, info, warn};

use crate::log;

/// The ids: random, never reused, never changed. See journald's `MESSAGE_ID=` in systemd.journal-fields(7).
pub mod message_id {
    /// The configuration is broken, and the last good one is served instead.
    pub const LAST_GOOD_SERVED: &str = "d9e6ff999c10418c8352acaec6f96bc5";
    /// There is no last good configuration, or it can't be kept.
    pub const LAST_GOOD_LACKING: &str = "2fea8775a4964c2c81580f87638d7dc1";
    /// A request has ended: the access log.
    pub const REQUEST: &str = "91acd0608e58448e870613971440b0c0";
    /// Something that a client sent was no request: the access log.
    pub const REQUEST_REJECTED: &str = "14898315b89546e2b278374f2435f60c";
    /// Something is odd about the configuration, but it can be served.
    pub const CONFIGURATION_WARNING: &str = "cae596cd78154f1384d7ae159b65c3cf";
}

/// The last good configuration, first served at that time, is served, because of what is wrong with the one on disk.
pub(crate) fn last_good_served(problem: String, since: String) {
    log(move || {
        error!(
            MESSAGE_ID = message_id::LAST_GOOD_SERVED,
            "The configuration is broken, so the last good one is served (of {since}): {problem}"
        );
    });
}

/// There is no last good configuration to fall back on, now or when it will be needed.
pub(crate) fn last_good_lacking(text: String) {
    log(move || warn!(MESSAGE_ID = message_id::LAST_GOOD_LACKING, "{text}"));
}

/// Something is odd about the configuration: what, where, and what to do.
pub(crate) fn configuration_warning(text: String) {
    log(move || warn!(MESSAGE_ID = message_id::CONFIGURATION_WARNING, "{text}"));
}

/// Something that a client sent was no request.
pub(crate) fn request_rejected(peer: String, listener: String, status: u16, reason: String) {
    log(move || {
        info!(
            MESSAGE_ID = message_id::REQUEST_REJECTED,
            STATUS = status,
            PEER = peer,
            LISTENER = listener,
            "{peer} sent no request: {status}, {reason}"
        );
    });
}

/// One line of the access log.
#[derive(Debug)]
pub(crate) struct RequestEntry {
    /// Whether it deserves attention: priority warning instead of info.
    pub(crate) failed: bool,
    pub(crate) method: String,
    /// The path, with the query string only if asked for.
    pub(crate) path: String,
    pub(crate) route: Option<String>,
    /// The answer's status; none if no answer had begun.
    pub(crate) status: Option<u16>,
    /// Until the last byte of the answer was given to the connection.
    pub(crate) duration: Duration,
    /// Of the answer's body.
    pub(crate) bytes: u64,
    pub(crate) peer: String,
    pub(crate) listener: String,
    /// `X-Request-Id`.
    pub(crate) request_id: Option<String>,
    /// `complete`, `aborted`, `failed`, `cut`.
    pub(crate) outcome: &'static str,
    /// Request fields that the configuration asks for, `user-agent="curl/8"`.
    pub(crate) headers: Option<String>,
}

/// A request has ended.
pub(crate) fn request(entry: RequestEntry) {
    log(move || entry.emit());
}

impl RequestEntry {
    fn emit(&self) {
        macro_rules! entry {
            ($level:ident) => {
                $level!(
                    MESSAGE_ID = message_id::REQUEST,
                    METHOD = self.method,
                    PATH = self.path,
                    ROUTE = self.route,
                    STATUS = self.status,
                    DURATION_USEC = u64::try_from(self.duration.as_micros()).unwrap_or(u64::MAX),
                    BYTES = self.bytes,
                    PEER = self.peer,
                    LISTENER = self.listener,
                    REQUEST_ID = self.request_id,
                    OUTCOME = self.outcome,
                    HEADERS = self.headers,
                    "{}",
                    self.line(),
                )
            };
        }
        if self.failed { entry!(warn) } else { entry!(info) }
    }

    fn line(&self) -> String {
        let status = self.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        let outcome = if self.outcome == "complete" { String::new() } else { format!(" ({})", self.outcome) };
        let headers = self.headers.as_ref().map_or_else(String::new, |headers| format!(" {headers}"));
        format!(
            "{} {} {}: {status}{outcome}, {} bytes in {:.1?}{headers}",
            self.peer, self.method, self.path, self.bytes, self.duration,
        )
    }
}
