//! What the service says of itself when it is asked: `outlive status`, and the way that `outlive reload` takes.
//!
//! The service answers on a [socket] of its own, with one line of JSON for one line of request. [`ask`] asks, and
//! `report` makes of the answer what people read.

pub mod ask;
mod report;
pub mod socket;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::journal::DrainSummary;
use crate::server::census::CensusTaker;
use crate::server::gauges::Gauges;

pub use ask::{Control, ControlError, Status};

/// How long a worker may take to count its connections.
const CENSUS_PATIENCE: Duration = Duration::from_millis(500);

/// The version with the commit that it was built from.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), env!("OUTLIVE_COMMIT_SUFFIX"));

/// Where the last drain is noted down for the next process, in `RuntimeDirectory=`.
const LAST_DRAIN: &str = "last-drain.json";

/// What the service is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It serves.
    Serving,
    /// It serves, and a successor is being started.
    Reloading,
    /// It ends.
    Draining,
    /// Another process is the service; this one finishes its last requests.
    Succeeded,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Reloading => "reloading",
            Self::Draining => "draining",
            Self::Succeeded => "succeeded",
        }
    }
}

/// Which configuration is served, for `outlive status` and the log.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct InUse {
    /// Its files; none: the embedded default.
    pub sources: Vec<PathBuf>,
    /// If it is the last good one: what is wrong with the one on disk.
    pub broken: Option<String>,
    /// If it is the last good one: when it was first served.
    pub since: Option<String>,
}

impl InUse {
    /// The one in these files; without any, the one that is built in.
    #[must_use]
    pub fn files(files: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        Self { sources: files.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// It is the last good one, first served at that time, because the one on disk is broken in that way.
    #[must_use]
    pub fn instead_of_broken(mut self, problem: impl Into<String>, since: impl Into<String>) -> Self {
        self.broken = Some(problem.into());
        self.since = Some(since.into());
        self
    }

    /// Its files, in one line.
    #[must_use]
    pub fn describe(&self) -> String {
        let files: Vec<_> = self.sources.iter().map(|path| path.display().to_string()).collect();
        let files = if files.is_empty() { "built in".to_owned() } else { files.join(", ") };
        if self.broken.is_some() { format!("{files} (the last good one)") } else { files }
    }
}

/// How this process came by connections of the one before.
#[derive(Clone, Copy, Debug)]
pub struct Handover {
    /// `reload`, `restart`.
    pub by: &'static str,
    /// The process before.
    pub from_generation: u64,
    /// When.
    pub at: SystemTime,
    /// From the beginning of this process to its being the service.
    pub took: Duration,
    /// Connections adopted.
    pub adopted: u64,
    /// Connections that couldn't be adopted.
    pub rejected: u64,
}

impl Handover {
    /// One of this moment, with nothing adopted yet.
    #[must_use]
    pub fn now(by: &'static str, from_generation: u64, took: Duration) -> Self {
        Self { by, from_generation, at: SystemTime::now(), took, adopted: 0, rejected: 0 }
    }
}

/// Everything that the service knows of itself.
#[derive(Debug)]
pub struct Facts {
    /// Its numbers.
    pub gauges: Arc<Gauges>,
    /// What counts its connections.
    pub census: CensusTaker,
    /// Where it listens, for people.
    pub listeners: String,
    /// What it serves.
    pub configuration: InUse,
    /// The drain of the process before, as that one noted it.
    pub last_drain: Option<Value>,
    changing: Mutex<Changing>,
}

#[derive(Debug)]
struct Changing {
    state: State,
    handover: Option<Handover>,
    elders: usize,
    reload_failed: Option<(SystemTime, String)>,
}

impl Facts {
    /// Those of a process that has begun to serve.
    #[must_use]
    pub fn new(gauges: Arc<Gauges>, census: CensusTaker, listeners: String, configuration: InUse) -> Self {
        let changing = Changing { state: State::Serving, handover: None, elders: 0, reload_failed: None };
        let last_drain = runtime_directory().and_then(|folder| read_last_drain(&folder));
        Self { gauges, census, listeners, configuration, last_drain, changing: Mutex::new(changing) }
    }

    fn change(&self, change: impl FnOnce(&mut Changing)) {
        change(&mut self.changing.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Says what the service is doing from now on.
    pub fn enter(&self, state: State) {
        self.change(|changing| changing.state = state);
    }

    /// Says how connections came over, or how many more have.
    pub fn handed_over(&self, handover: Handover) {
        self.change(|changing| changing.handover = Some(handover));
    }

    /// Counts more connections that have come over from an older process, or tried to.
    pub fn adopted(&self, more: usize, rejected: usize) {
        self.change(|changing| {
            if let Some(handover) = &mut changing.handover {
                handover.adopted += more as u64;
                handover.rejected += rejected as u64;
            }
        });
    }

    /// Says how many older processes finish their last requests.
    pub fn set_elders(&self, elders: usize) {
        self.change(|changing| changing.elders = elders);
    }

    /// Says that a reload has failed, and why.
    pub fn reload_failed(&self, reason: String) {
        self.change(|changing| changing.reload_failed = Some((SystemTime::now(), reason)));
    }

    /// All of it, as of now.
    pub async fn gather(&self) -> Value {
        let census = self.census.take(CENSUS_PATIENCE).await;
        let gauges = &self.gauges;
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        json!({
            "program": program().unwrap_or_default().to_string_lossy(),
            "version": VERSION,
            "state": changing.state.name(),
            "pid": std::process::id(),
            "generation": gauges.generation(),
            "uptime_seconds": gauges.uptime().as_secs_f64(),
            "configuration": {
                "files": self.configuration.sources,
                "last_good": self.configuration.broken.is_some(),
                "problem": self.configuration.broken,
                "since": self.configuration.since,
            },
            "listeners": self.listeners,
            "workers": gauges.connections_by_worker().len(),
            "connections": {
                "open": gauges.connections(),
                "busy": census.busy,
                "idle": census.idle,
                "fresh": census.fresh,
                "upgraded": census.upgraded,
                "accepted": gauges.accepted(),
            },
            "requests": { "running": gauges.requests(), "answered": gauges.answered() },
            "older_processes": changing.elders,
            "last_handover": changing.handover.map(|handover| json!({
                "by": handover.by,
                "from_generation": handover.from_generation,
                "at": epoch(handover.at),
                "milliseconds": handover.took.as_secs_f64() * 1000.0,
                "adopted": handover.adopted,
                "rejected": handover.rejected,
            })),
            "last_drain": self.last_drain,
            "last_failed_reload": changing.reload_failed.as_ref().map(|(at, reason)| json!({
                "at": epoch(*at),
                "reason": reason,
            })),
        })
    }
}

/// Seconds since 1970.
fn epoch(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// What this program is called where it was started: the name of its file, or of the link to it, and the same after an
/// upgrade.
pub(crate) fn program() -> Option<OsString> {
    let started = std::env::args_os().next()?;
    Path::new(&started).file_name().map(OsStr::to_owned)
}

/// The first of the unit's `RuntimeDirectory=`: `RUNTIME_DIRECTORY` of systemd.exec(5).
#[must_use]
pub fn runtime_directory() -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    let folders = std::env::var_os("RUNTIME_DIRECTORY").filter(|folders| !folders.is_empty())?;
    let first = folders.as_bytes().split(|byte| *byte == b':').next().unwrap_or_default();
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(first)))
}

fn read_last_drain(folder: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(folder.join(LAST_DRAIN)).ok()?).ok()
}

/// Notes a drain down for the next process. It is for people: not worth failing for.
pub fn note_drain(drain: &DrainSummary, generation: u64) {
    let Some(folder) = runtime_directory() else { return };
    let note = json!({
        "cause": drain.cause,
        "generation": generation,
        "at": epoch(SystemTime::now()),
        "settle_milliseconds": drain.settle.as_secs_f64() * 1000.0,
        "close_milliseconds": drain.close.as_secs_f64() * 1000.0,
        "finished": drain.finished,
        "cut": drain.cut,
        "cut_routes": drain.cut_routes,
        "closed": drain.closed,
    });
    let temporary = folder.join(format!(".{LAST_DRAIN}.{}", std::process::id()));
    if fs::write(&temporary, note.to_string()).and_then(|()| fs::rename(&temporary, folder.join(LAST_DRAIN))).is_err() {
        let _ = fs::remove_file(&temporary);
    }
}
