//! What has been merged into settings: here values are checked against each other.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::diagnostic::Diagnostic;
use super::fragment::{self, Given};
use super::merge::Merged;
use super::quantity::Time;
use super::section::Findings;
use super::settings::{Action, Address, Config, Drain, Listen, Log, Reload, Route};
use super::source::{Located, Place, Texts};
use crate::Limits;

/// Makes settings of what has been merged. They may only be used if no error was found.
pub(super) fn validate(merged: Merged, sources: Vec<PathBuf>, findings: &mut Findings) -> Config {
    check_drain(&merged.drain, findings);
    check_binds(&merged.listeners, findings);
    check_paths(&merged.routes, findings);
    let limits = limits(merged.limits);
    for route in &merged.routes {
        check_delay(route, &limits, findings);
    }
    let log = Log {
        access: or_default(merged.log.access),
        slow: or_default(merged.log.slow),
        query: or_default(merged.log.query),
        headers: or_default(merged.log.headers),
    };
    let listeners = merged.listeners.into_iter();
    Config {
        sources,
        texts: Texts::default(),
        strict: or_default(merged.strict),
        workers: or_default(merged.workers),
        max_connections: or_default(merged.max_connections),
        listeners: listeners.map(|(name, bind)| (name, Listen { bind: bind.map(|bind| bind.value) })).collect(),
        limits,
        drain: Drain { window: or_default(merged.drain.window), settle: or_default(merged.drain.settle) },
        reload: reload(merged.reload),
        log,
        routes: merged.routes.into_iter().map(|route| route.value).collect(),
        warnings: Vec::new(),
    }
}

fn or_default<T: Default>(given: Given<T>) -> T {
    given.map(|given| given.value).unwrap_or_default()
}

fn or<T>(given: Given<T>, default: T) -> T {
    given.map_or(default, |given| given.value)
}

fn reload(given: fragment::Reload) -> Reload {
    let default = Reload::default();
    Reload { linger: or(given.linger, default.linger), ready_timeout: or(given.ready_timeout, default.ready_timeout) }
}

fn limits(given: fragment::Limits) -> Limits {
    let mut limits = Limits::default();
    limits.head_size = or(given.head_size, limits.head_size);
    limits.head_fields = or(given.head_fields, limits.head_fields);
    limits.head_timeout = or(given.head_timeout, limits.head_timeout);
    limits.idle_timeout = or(given.idle_timeout, limits.idle_timeout);
    limits.request_timeout = or(given.request_timeout, limits.request_timeout);
    limits.send_timeout = or(given.send_timeout, limits.send_timeout);
    limits
}

fn check_drain(drain: &fragment::Drain, findings: &mut Findings) {
    let (Some(window), Some(settle)) = (&drain.window, &drain.settle) else {
        return;
    };
    let (Some(whole), Some(part)) = (window.value, settle.value) else {
        return;
    };
    if part > whole {
        let what = format!("`settle` is {}, longer than the whole window of {}", Time(part), Time(whole));
        let error = Diagnostic::error(&settle.place, what).related(&window.place, "the window");
        findings.errors.push(error.cure("settling is a drain's first part: make it shorter, or the window longer"));
    }
}

fn check_binds(listeners: &BTreeMap<String, Given<Address>>, findings: &mut Findings) {
    let mut seen: Vec<&Located<Address>> = Vec::new();
    let mut binds: Vec<_> = listeners.values().flatten().collect();
    binds.sort_by_key(|bind| (&bind.place.source.name, bind.place.span().start));
    for bind in binds {
        // The kernel picks another port for each.
        let any_port = matches!(bind.value, Address::Tcp(address) if address.port() == 0);
        match seen.iter().find(|other| other.value == bind.value && !any_port) {
            Some(other) => {
                let error = Diagnostic::error(&bind.place, "two listeners can't bind the same address");
                let error = error.cure("give one of them another address or port, or leave one out");
                findings.errors.push(error.related(&other.place, "the other"));
            }
            None => seen.push(bind),
        }
    }
}

/// Finds routes that answer the same requests, as the router would.
fn check_paths(routes: &[Located<Route>], findings: &mut Findings) {
    let mut routers: BTreeMap<Option<&str>, matchit::Router<()>> = BTreeMap::new();
    let mut good: Vec<&Located<Route>> = Vec::new();
    for route in routes {
        let Route { host, path, .. } = &route.value;
        let twin = good.iter().find(|other| other.value.collides_with(&route.value));
        let shared = good.iter().any(|other| other.value.host == *host && other.value.path == *path);
        if let Some(twin) = twin {
            let cure = "give each its own `methods`, or keep one of them";
            findings.errors.push(conflict(route, cure, Some(&twin.place)));
        } else if !shared && routers.entry(host.as_deref()).or_default().insert(path, ()).is_err() {
            let cure = "give their parameters the same names and each route its own `methods`, or keep one of them";
            let other = good.iter().find(|other| other.value.host == *host && exclude(&other.value.path, path));
            findings.errors.push(conflict(route, cure, other.map(|other| &other.place)));
        } else {
            good.push(route);
        }
    }
}

/// Whether no router takes both.
fn exclude(one: &str, other: &str) -> bool {
    let mut router = matchit::Router::new();
    router.insert(one, ()).is_ok() && router.insert(other, ()).is_err()
}

fn conflict(route: &Located<Route>, cure: &str, other: Option<&Place>) -> Diagnostic {
    let Route { host, path, .. } = &route.value;
    let whose = host.as_ref().map_or(String::new(), |host| format!(" of `{host}`"));
    let error = Diagnostic::error(&route.place, format!("two routes answer `{path}`{whose}")).cure(cure);
    match other {
        Some(other) => error.related(other, "the other"),
        None => error,
    }
}

fn check_delay(route: &Located<Route>, limits: &Limits, findings: &mut Findings) {
    let timeout = limits.request_timeout;
    if let Action::Respond { delay, .. } = route.value.action
        && delay >= timeout
    {
        let what = format!("this route waits {}, but `request_timeout` is {}", Time(delay), Time(timeout));
        let cure = "its requests get a 503: lengthen `request_timeout` in [limits], or shorten the delay";
        findings.warnings.push(Diagnostic::warning(&route.place, what).cure(cure));
    }
}
