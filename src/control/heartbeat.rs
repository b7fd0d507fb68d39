//! Signs of life for systemd's watchdog.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::journal::{self, Event, Pace};
use crate::server::Pulse;
use crate::systemd::notify::{Notification, Notifier};

/// How often a worker that is stuck is reported.
const STUCK_REPORTED_EVERY: Duration = Duration::from_secs(10);

/// Tells the watchdog `every` so long that all is well, but only as long as every worker answers.
pub(super) async fn feed_watchdog(pulse: Pulse, notifier: Notifier, every: Duration) {
    let reports = Pace::new(STUCK_REPORTED_EVERY);
    for number in 1.. {
        pulse.beat(number);
        notifier.send(Notification::Watchdog);
        let asked = Instant::now();
        sleep(every).await;
        // The next one is only sent once this one was answered by all; until then systemd's patience runs, and half of
        // it is over. So a worker that is late is looked at more often: it should not cost the process its life.
        while let Some(worker) = pulse.silent(number) {
            if reports.permits() {
                journal::log(Event::WorkerStuck { worker, silent: asked.elapsed() });
            }
            sleep(every / 8).await;
        }
    }
}
