//! What a client may ask of the server: sizes and times.

use std::time::Duration;

/// Limits on one connection and its requests.
///
/// The defaults suit a server that faces the public: generous enough for browsers, tight enough that a slow or greedy
/// client holds little.
///
/// ```
/// use std::time::Duration;
///
/// let mut limits = outlive::Limits::default();
/// limits.request_timeout = Duration::from_secs(3600); // for answers that take their time
/// let server = outlive::Server::new().limits(limits);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes in a request head, request line and fields together; beyond it the answer is 431 (RFC 6585, section 5).
    pub head_size: usize,
    /// Header fields in a request head; beyond it the answer is 431.
    pub head_fields: usize,
    /// From the first byte of a request head to its last; beyond it the answer is 408 (RFC 9110, section 15.5.9).
    pub head_timeout: Duration,
    /// How long a connection may lie between two requests before it is closed.
    pub idle_timeout: Duration,
    /// From the end of a request's head to the beginning of its answer. Beyond it the answer is 408 if the request's
    /// body was still missing, else 503.
    pub request_timeout: Duration,
    /// How long a client may take no byte of an answer that waits for it before the connection is cut.
    pub send_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_size: 64 * 1024,
            head_fields: 100,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            request_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
        }
    }
}
