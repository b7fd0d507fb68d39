//! How a drain is to go.

use std::time::Duration;

/// How a server ends: see the [crate's documentation](crate) for what happens when.
///
/// ```
/// use std::time::Duration;
/// use outlive::Drain;
///
/// // As systemd allows (TimeoutStopSec= of the unit), or 30 s where there is none. This is what goes without saying.
/// let auto = Drain::auto();
/// // Five seconds from the signal to the end, whoever has started the program.
/// let short = Drain::window(Duration::from_secs(5));
/// // No new connection is served by this process once the signal has come: they wait for the next one.
/// let abrupt = Drain::auto().settle(Duration::ZERO);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    pub(super) window: Option<Duration>,
    pub(super) settle: Option<Duration>,
}

impl Drain {
    /// The drain may take what the unit's `TimeoutStopSec=` allows, less a margin of a tenth (five seconds at most), drop-ins
    /// included; 30 s where no service manager has started the process.
    #[must_use]
    pub fn auto() -> Self {
        Self::default()
    }

    /// The drain may take so long, from the signal to the end; what still runs then is cut. It should be shorter than
    /// `TimeoutStopSec=`, after which the process is killed.
    #[must_use]
    pub fn window(window: Duration) -> Self {
        Self { window: Some(window), settle: None }
    }

    /// So long at most everything is still served for the sake of requests that ran when the signal came: until they
    /// have finished, there is no gap. Unless said otherwise it is half the window.
    #[must_use]
    pub fn settle(mut self, settle: Duration) -> Self {
        self.settle = Some(settle);
        self
    }
}
