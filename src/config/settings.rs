//! A configuration that has been validated: everything here can be acted on as it stands.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};

use super::diagnostic::{Diagnostic, counted};
use super::source::Texts;
pub use crate::Address;
use crate::Limits;

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it came from, in the order read; empty: the embedded default.
    pub sources: Vec<PathBuf>,
    /// What the files say, word for word, so that they can be kept.
    pub texts: Texts,
    /// Whether a start with a broken configuration fails, instead of serving the last good one.
    pub strict: bool,
    /// Worker threads; `None`: one a core.
    pub workers: Option<NonZeroUsize>,
    /// Most connections at a time; `None`: derived from RLIMIT_NOFILE.
    pub max_connections: Option<NonZeroUsize>,
    /// Listeners by name.
    pub listeners: BTreeMap<String, Listen>,
    /// What clients may ask for.
    pub limits: Limits,
    /// How the service ends.
    pub drain: Drain,
    /// How the service changes its process.
    pub reload: Reload,
    /// What is written to the journal.
    pub log: Log,
    /// The routes, in the order written.
    pub routes: Vec<Route>,
    /// What works, but likely does something else than was meant.
    pub warnings: Vec<Diagnostic>,
}

impl Config {
    /// What it comes to, in a few words: `12 routes on 2 listeners`.
    #[must_use]
    pub fn summary(&self) -> String {
        format!("{} on {}", counted(self.routes.len(), "route"), counted(self.listeners.len(), "listener"))
    }

    /// Where it came from, in a few words: `/etc/outlive/outlive.toml, /etc/outlive/outlive.toml.d/site.toml`.
    #[must_use]
    pub fn origin(&self) -> String {
        if self.sources.is_empty() {
            return "built in".to_owned();
        }
        self.sources.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    }
}

/// `[listen.NAME]`.
#[derive(Clone, Debug, Default)]
pub struct Listen {
    /// Where to bind when systemd passes no socket of that name.
    pub bind: Option<Address>,
}

/// `[drain]`.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    /// From SIGTERM to exit; `None`: `"auto"`.
    pub window: Option<Duration>,
    /// How long at most everything is still served for the sake of the requests that ran; `None`: `"auto"`.
    pub settle: Option<Duration>,
}

/// `[reload]`.
#[derive(Clone, Debug)]
pub struct Reload {
    /// How long the old process may take for the requests that run, and the connections that don't move.
    pub linger: Duration,
    /// How long the new one may take until it is ready.
    pub ready_timeout: Duration,
}

impl Default for Reload {
    fn default() -> Self {
        Self { linger: Duration::from_secs(600), ready_timeout: Duration::from_secs(10) }
    }
}

/// `[log]`.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Which requests get an entry.
    pub access: Access,
    /// Requests that took longer get an entry in any case; `None`: off.
    pub slow: Option<Duration>,
    /// Whether the query string is part of PATH.
    pub query: bool,
    /// Request fields whose values are logged, by name.
    pub headers: Vec<http::HeaderName>,
}

/// Which requests the access log shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// None.
    Off,
    /// Those that failed: answered with 5xx, cut, or broken off.
    #[default]
    Errors,
    /// All.
    All,
}

/// `[[route]]`.
#[derive(Clone, Debug)]
pub struct Route {
    /// Exact host (`app.example.com`), any subdomain (`*.example.com`), or any at all (`None`); lower case, no port.
    pub host: Option<String>,
    /// A path in matchit's syntax: `/hello`, `/users/{id}`, `/static/{*file}`.
    pub path: String,
    /// Methods it answers, `None`: those that its action knows (`respond`: any; `files`, `health`: GET and HEAD).
    pub methods: Option<Vec<Method>>,
    /// Most bytes of a request's body; beyond it the answer is 413. Default: 1 MiB.
    pub max_body: u64,
    /// What it does.
    pub action: Action,
}

impl Route {
    /// Whether there are requests that both would answer: same host and path, and a method in common.
    pub(super) fn collides_with(&self, other: &Self) -> bool {
        let named = [self, other].into_iter().filter_map(|route| route.methods.as_ref()).flatten();
        self.host == other.host
            && self.path == other.path
            && named.chain(&[Method::GET, Method::HEAD]).any(|method| self.answers(method) && other.answers(method))
    }

    /// GET includes HEAD (RFC 9110, section 9.3.2).
    fn answers(&self, method: &Method) -> bool {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        match &self.methods {
            Some(methods) => methods.contains(method) || (*method == Method::HEAD && methods.contains(&Method::GET)),
            None => reads || matches!(self.action, Action::Respond { .. }),
        }
    }
}

/// What a route does.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Action {
    /// `respond = { status, headers, body, delay }`.
    Respond {
        /// The status; default 200.
        status: StatusCode,
        /// Fields of the answer. `Content-Type: text/plain; charset=utf-8` is among them if there is a body and the
        /// configuration says no other.
        headers: HeaderMap,
        /// The body.
        body: bytes::Bytes,
        /// How long to wait before answering.
        delay: Duration,
    },
    /// `files = "/srv/www"`.
    Files {
        /// The folder; absolute.
        root: PathBuf,
    },
    /// `health = {}`.
    Health,
    /// `welcome = {}`: the page that shows the process, live.
    Welcome,
}
