//! How a reload is to go.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::control::ReloadSetup;
use crate::handover::successor::Program;

/// How another process takes over, when SIGHUP or [`Control::reload`](crate::Control::reload) asks for it: the program
/// that is on disk then is started as the *successor*, gets all listeners, and once it serves this process lets its
/// connections go over to it, finishes its requests, and ends. If the successor can't serve, nothing has changed.
///
/// ```
/// use std::time::Duration;
/// use outlive::Reload;
///
/// let reload = Reload::new().ready_timeout(Duration::from_secs(60)).linger(Duration::from_secs(3600));
/// ```
#[derive(Clone, Debug)]
pub struct Reload {
    program: Option<(PathBuf, Vec<OsString>)>,
    ready_timeout: Duration,
    linger: Duration,
}

impl Default for Reload {
    fn default() -> Self {
        Self { program: None, ready_timeout: Duration::from_secs(10), linger: Duration::from_secs(600) }
    }
}

impl Reload {
    /// The successor is what is found where this program was started from, with the same arguments; it has 10 s to get
    /// ready, and this process 600 s to finish its requests.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts this program with these arguments. It must serve by this library, too.
    #[must_use]
    pub fn program<A>(mut self, path: impl Into<PathBuf>, arguments: impl IntoIterator<Item = A>) -> Self
    where
        A: Into<OsString>,
    {
        self.program = Some((path.into(), arguments.into_iter().map(Into::into).collect()));
        self
    }

    /// The successor has so long until it accepts connections, everything included that it does before
    /// [`serve`](crate::Server::serve).
    #[must_use]
    pub fn ready_timeout(mut self, timeout: Duration) -> Self {
        self.ready_timeout = timeout;
        self
    }

    /// This process has so long to finish its requests once it was succeeded; what still runs then is cut.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    pub(super) fn into_setup(self) -> ReloadSetup {
        let Self { program, ready_timeout, linger } = self;
        let program = program.map_or_else(Program::of_this_process, |(path, arguments)| Program::new(path, arguments));
        ReloadSetup { program, ready_timeout, linger }
    }
}
