//! The watchdog's interval: sd_watchdog_enabled(3).

use std::time::Duration;

/// How often systemd wants to hear `WATCHDOG=1`, halved as its manual asks; `None` if it doesn't want to.
#[must_use]
pub fn interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|half| !half.is_zero())
}
