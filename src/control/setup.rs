//! How a server is to be run.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::address::Address;
use super::draining::DrainTeller;
use super::hooks::Hooks;
use super::tasks::Tasks;
use crate::handover::successor::Program;
use crate::server::app::Observer;
use crate::server::gauges::Gauges;
use crate::server::limits::Limits;
use crate::server::upgrade::Handlers;
use crate::status::InUse;

/// Where the control socket is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ControlSocketAt {
    /// Where `outlive status` looks for it.
    #[default]
    Usual,
    /// There.
    Path(PathBuf),
    /// Nowhere.
    Nowhere,
}

/// How a server is to be run.
pub(crate) struct Setup {
    /// Where listeners are to be bound that systemd doesn't pass, by name.
    pub(crate) listeners: BTreeMap<String, Address>,
    /// Names of listeners that there must be, because an application was given for each.
    pub(crate) served: Vec<String>,
    /// Worker threads; `None`: one a core.
    pub(crate) workers: Option<NonZeroUsize>,
    /// Most connections at a time; `None`: derived from RLIMIT_NOFILE.
    pub(crate) max_connections: Option<NonZeroUsize>,
    pub(crate) limits: Limits,
    /// From the signal to the exit; `None`: what systemd says.
    pub(crate) window: Option<Duration>,
    /// How long at most everything is still served; `None`: half the window.
    pub(crate) settle: Option<Duration>,
    /// `None`: SIGHUP starts no successor.
    pub(crate) reload: Option<ReloadSetup>,
    /// Whether connections go on in the next process.
    pub(crate) handover: bool,
    /// Whether the watchdog is fed, if there is one.
    pub(crate) watchdog: bool,
    pub(crate) control: ControlSocketAt,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    /// Who goes on with upgraded connections.
    pub(crate) handlers: Handlers,
    /// What is served, in a word or two: `12 routes`.
    pub(crate) serves: String,
    /// What people should know beside that.
    pub(crate) notes: Vec<String>,
    /// What configuration that is, for people.
    pub(crate) configuration: InUse,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) hooks: Hooks,
    /// Called once it serves.
    pub(crate) when_ready: Vec<Box<dyn FnOnce() + Send>>,
    pub(crate) draining: DrainTeller,
    pub(crate) tasks: Tasks,
}

/// How a reload is to go.
#[derive(Clone, Debug)]
pub(crate) struct ReloadSetup {
    /// What is started.
    pub(crate) program: Program,
    /// How long the new process may take until it is ready.
    pub(crate) ready_timeout: Duration,
    /// How long the old one may take for the requests that run.
    pub(crate) linger: Duration,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = f.debug_struct("Setup");
        all.field("listeners", &self.listeners).field("workers", &self.workers).field("limits", &self.limits);
        all.field("window", &self.window).field("settle", &self.settle).field("reload", &self.reload);
        all.field("handover", &self.handover).field("hooks", &self.hooks).finish_non_exhaustive()
    }
}
