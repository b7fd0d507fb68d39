//! `welcome`: a page that shows the process and follows it live, so that a person can watch a restart in a browser.
//!
//! The page asks for the numbers again and again, with the query `?live`, on a connection that is kept. It asks rather
//! than listens to one long answer (server-sent events, say) because such an answer would be a request that never ends:
//! a drain would have to wait for it and cut it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response, Uri};

use super::body::Body;
use super::refusal;
use crate::Gauges;
use crate::{ConnectionInfo, Peer};

/// The page, with `{{name}}` where a value goes.
const PAGE: &str = include_str!("welcome.html");

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Bytes of randomness in the nonce that lets the page's own script and style run, and no others.
const NONCE_BYTES: usize = 16;

/// The welcome page and the numbers that it follows.
pub(super) struct Welcome {
    gauges: Arc<Gauges>,
}

/// What the page shows, at one moment.
struct Snapshot {
    pid: u32,
    generation: u64,
    uptime: Duration,
    connections: usize,
    requests: usize,
    answered: u64,
    draining: bool,
}

impl Welcome {
    pub(super) fn new(gauges: Arc<Gauges>) -> Self {
        Self { gauges }
    }

    pub(super) fn answer(&self, uri: &Uri, connection: &ConnectionInfo) -> Response<Body> {
        let now = Snapshot::of(&self.gauges);
        let answer = if uri.query() == Some("live") { Ok(now.live(&connection.peer)) } else { now.page() };
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(%error, "the kernel gives no random bytes for the welcome page");
                refusal::internal_error()
            }
        };
        for (name, value) in [
            (CACHE_CONTROL, "no-store"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        ] {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }
}

impl Snapshot {
    fn of(gauges: &Gauges) -> Self {
        Self {
            pid: std::process::id(),
            generation: gauges.generation(),
            uptime: gauges.uptime(),
            connections: gauges.connections(),
            requests: gauges.requests(),
            answered: gauges.answered(),
            draining: gauges.draining(),
        }
    }

    /// The numbers alone, as JSON. `peer` is the asking end of the connection, by which the page can tell whether it
    /// still has the one that it had.
    fn live(&self, peer: &Peer) -> Response<Body> {
        let peer = peer.address().map(|address| address.to_string());
        let numbers = serde_json::json!({
            "pid": self.pid,
            "version": VERSION,
            "generation": self.generation,
            "uptime_ms": u64::try_from(self.uptime.as_millis()).unwrap_or(u64::MAX),
            "connections": self.connections,
            "requests": self.requests,
            "answered": self.answered,
            "draining": self.draining,
            "peer": peer,
        });
        with_type(numbers.to_string(), "application/json")
    }

    /// The page, with the numbers of this moment in it for browsers that run no scripts.
    fn page(&self) -> rustix::io::Result<Response<Body>> {
        let nonce = nonce()?;
        let page = fill(PAGE, |name| match name {
            "nonce" => nonce.clone(),
            "pid" => self.pid.to_string(),
            "version" => VERSION.to_owned(),
            "generation" => self.generation.to_string(),
            "uptime" => duration(self.uptime.as_secs()),
            "connections" => self.connections.to_string(),
            "requests" => self.requests.to_string(),
            "answered" => self.answered.to_string(),
            "state" => if self.draining { "draining" } else { "serving" }.to_owned(),
            _ => String::new(),
        });
        let mut answer = with_type(page, "text/html; charset=utf-8");
        let policy = format!(
            "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        if let Ok(policy) = HeaderValue::try_from(policy) {
            answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
        }
        Ok(answer)
    }
}

fn with_type(text: String, kind: &'static str) -> Response<Body> {
    let mut answer = Response::new(Body::from(Bytes::from(text)));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// Puts values where a template has `{{name}}`.
fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut filled = String::with_capacity(template.len() + 256);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        filled.push_str(before);
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        filled.push_str(&value(name));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

/// Hex digits that nobody can guess.
fn nonce() -> rustix::io::Result<String> {
    let mut bytes = [0; NONCE_BYTES];
    // Up to 256 bytes are never given in part (getrandom(2)).
    rustix::io::retry_on_intr(|| rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty()))?;
    Ok(bytes.iter().fold(String::with_capacity(2 * NONCE_BYTES), |mut digits, byte| {
        // Writing to a string cannot fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    }))
}

/// A time in its two largest units, as the page's script writes it too.
fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_small_and_asks_for_nothing_else() {
        assert!(PAGE.len() < 12 * 1024, "{} bytes", PAGE.len());
        // Elements and attributes that load something. The page's icon is its only link, and has its data in it.
        for loading in ["src=", "@import", "url(", "//cdn", "<iframe", "<object", "<base"] {
            assert!(!PAGE.contains(loading), "{loading}");
        }
        assert_eq!(PAGE.matches("href=").count(), PAGE.matches("href=\"data:").count());
        assert_eq!(PAGE.matches("http").count(), PAGE.matches("http://www.w3.org/2000/svg").count());
    }

    #[test]
    fn everything_inline_is_covered_by_the_nonce() {
        let scripts = PAGE.matches("<script").count() + PAGE.matches("<style").count();
        assert_eq!(PAGE.matches("nonce=\"{{nonce}}\"").count(), scripts);
        // Attributes that a policy with a nonce refuses.
        for inline in [" style=", " onclick=", " onload=", "javascript:"] {
            assert!(!PAGE.contains(inline), "{inline}");
        }
    }

    #[test]
    fn every_place_in_the_page_has_a_value() {
        let gauges = Gauges::new(7, 1);
        let answer = Snapshot::of(&gauges).page().unwrap();
        assert!(answer.body().remaining() > 0);
        let unknown = fill(PAGE, |name| if NAMES.contains(&name) { String::new() } else { panic!("{name}") });
        assert!(!unknown.contains("{{"));
    }

    const NAMES: [&str; 9] =
        ["nonce", "pid", "version", "generation", "uptime", "connections", "requests", "answered", "state"];

    #[test]
    fn template() {
        assert_eq!(fill("a {{b}} c {{b}}", str::to_uppercase), "a B c B");
        assert_eq!(fill("a {{b", str::to_uppercase), "a B");
        assert_eq!(fill("", str::to_uppercase), "");
    }

    #[test]
    fn durations() {
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (192, "3 min 12 s"), (7_260, "2 h 1 min"), (90_000, "1 d 1 h")]
        {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn nonces_differ() {
        let (one, other) = (nonce().unwrap(), nonce().unwrap());
        assert_eq!(one.len(), 2 * NONCE_BYTES);
        assert_ne!(one, other);
    }
}
