//! Waiting for what has no event to wait for.

use std::time::{Duration, Instant};

/// Long enough for anything that should happen at once, on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(60);

/// How often something is looked at that gives no sign of having changed.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until what is there is what is wanted, and returns it. `look` returns in `Err` what it saw instead.
///
/// # Panics
///
/// If that takes longer than `limit`.
#[track_caller]
pub fn until<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match look() {
            Ok(seen) => return seen,
            Err(instead) => assert!(Instant::now() < deadline, "waited {limit:?} in vain for {what}; last: {instead}"),
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
