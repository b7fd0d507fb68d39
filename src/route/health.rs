//! `health`: whether to send this process more requests, for load balancers.

use std::sync::Arc;

use http::header::CACHE_CONTROL;
use http::{HeaderValue, Response, StatusCode};

use super::body::Body;
use super::refusal::plain;
use crate::server::gauges::Gauges;

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
