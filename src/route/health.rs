//! `health`: whether to send this process more requests, for load balancers.

use std::sync::Arc;

use http::header::CACHE_CONTROL;
use http::{HeaderValue, Response, StatusCode};

use super::body::Body;
use super::refusal::plain;
use crate::Gauges;

/// 200, and 503 from the first moment of a drain, so that a load balancer looks elsewhere while everything is still
/// served.
pub(super) struct Health {
    gauges: Arc<Gauges>,
}

impl Health {
    pub(super) fn new(gauges: Arc<Gauges>) -> Self {
        Self { gauges }
    }

    pub(super) fn answer(&self) -> Response<Body> {
        let mut answer = if self.gauges.draining() {
            plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        } else {
            plain(StatusCode::OK, "ok\n")
        };
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_at_the_first_moment_of_a_drain() {
        let gauges = Arc::new(Gauges::new(1, 1));
        let health = Health::new(Arc::clone(&gauges));
        let before = health.answer();
        gauges.set_draining();
        let after = health.answer();
        assert_eq!((before.status(), before.body().remaining()), (StatusCode::OK, "ok\n".len() as u64));
        assert_eq!(after.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(after.body().remaining(), "draining\n".len() as u64);
        for answer in [before, after] {
            assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
        }
    }
}
