//! What one file says: every value checked for itself, none yet against another file's.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use toml::de::DeTable;

use super::diagnostic::Diagnostic;
use super::names::{address, header_name};
use super::route::route;
use super::section::{Findings, Section, Value, Wrong};
use super::settings::{Access, Address, Route};
use super::source::{Located, Source};
use super::value::{boolean, duration, integer, one_of, size, text, unless};

/// Beyond a thousand threads, more of them don't serve more.
const WORKERS: RangeInclusive<u64> = 1..=1024;
const MAX_CONNECTIONS: RangeInclusive<u64> = 1..=10_000_000;
/// hyper's buffer has at least 8 KiB; a mebibyte is more than any browser sends.
const HEAD_SIZE: RangeInclusive<u64> = 8 * 1024..=1024 * 1024;
const HEAD_FIELDS: RangeInclusive<u64> = 1..=1000;
/// Longer ones are likelier a slip than a wish.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=LONGEST;
/// systemd's own bound on a socket unit's `FileDescriptorName=` (systemd.socket(5)).
const LONGEST_NAME: usize = 255;

/// A value that a file may give or leave out.
pub(super) type Given<T> = Option<Located<T>>;
/// The same, where `"auto"` or `"off"` is a value too: the inner `None`.
type GivenOr<T> = Given<Option<T>>;

/// What one file says.
#[derive(Debug, Default)]
pub(super) struct Fragment {
    pub(super) strict: Given<bool>,
    pub(super) workers: GivenOr<NonZeroUsize>,
    pub(super) max_connections: GivenOr<NonZeroUsize>,
    pub(super) listeners: BTreeMap<String, Given<Address>>,
    pub(super) limits: Limits,
    pub(super) drain: Drain,
    pub(super) reload: Reload,
    pub(super) log: Log,
    pub(super) routes: Routes,
}

/// `[limits]`.
#[derive(Debug, Default)]
pub(super) struct Limits {
    pub(super) head_size: Given<usize>,
    pub(super) head_fields: Given<usize>,
    pub(super) head_timeout: Given<Duration>,
    pub(super) idle_timeout: Given<Duration>,
    pub(super) request_timeout: Given<Duration>,
    pub(super) send_timeout: Given<Duration>,
}

/// `[drain]`.
#[derive(Debug, Default)]
pub(super) struct Drain {
    pub(super) window: GivenOr<Duration>,
    pub(super) settle: GivenOr<Duration>,
}

/// `[reload]`.
#[derive(Debug, Default)]
pub(super) struct Reload {
    pub(super) linger: Given<Duration>,
    pub(super) ready_timeout: Given<Duration>,
}

/// `[log]`.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) access: Given<Access>,
    pub(super) slow: GivenOr<Duration>,
    pub(super) query: Given<bool>,
    pub(super) headers: Given<Vec<HeaderName>>,
}

/// `[[route]]`.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// `route = []`: the routes of earlier files don't count.
    pub(super) reset: bool,
    pub(super) list: Vec<Located<Route>>,
}

/// Reads a file's tables.
pub(super) fn read(source: &Arc<Source>, table: &DeTable<'_>, findings: &mut Findings) -> Fragment {
    Section::read_root(source, findings, table, |top| Fragment {
        strict: top.take("strict", boolean),
        workers: top.take("workers", |value| unless("auto", value, |value| count(value, WORKERS))),
        max_connections: top
            .take("max_connections", |value| unless("auto", value, |value| count(value, MAX_CONNECTIONS))),
        listeners: top.named_tables("listen", listener).into_iter().flatten().collect(),
        limits: top.table("limits", "[limits]", limits).unwrap_or_default(),
        drain: top.table("drain", "[drain]", drain).unwrap_or_default(),
        reload: top.table("reload", "[reload]", reload).unwrap_or_default(),
        log: top.table("log", "[log]", log).unwrap_or_default(),
        routes: routes(top),
    })
}

fn count(value: &Value<'_>, range: RangeInclusive<u64>) -> Result<NonZeroUsize, Wrong> {
    let number = integer(value, range)?;
    let number = usize::try_from(number).ok().and_then(NonZeroUsize::new);
    number.ok_or_else(|| Wrong::new("is not a number that can be counted to"))
}

fn listener(name: &Located<String>, section: &mut Section<'_>) -> Option<(String, Given<Address>)> {
    let bind = section.take("bind", address);
    let valid = (1..=LONGEST_NAME).contains(&name.value.len())
        && name.value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b':');
    if !valid {
        let what = format!("{:?} can't be a listener's name", name.value);
        let cure = "as FileDescriptorName= has it: 1 to 255 printable ASCII characters, no `:`";
        section.error(Diagnostic::error(&name.place, what).cure(cure));
        return None;
    }
    Some((name.value.clone(), bind))
}

fn limits(section: &mut Section<'_>) -> Limits {
    let timeout = |value: &Value<'_>| duration(value, TIMEOUT);
    Limits {
        head_size: section.take("head_size", |value| size(value, HEAD_SIZE).map(|size| size as usize)),
        head_fields: section.take("head_fields", |value| integer(value, HEAD_FIELDS).map(|fields| fields as usize)),
        head_timeout: section.take("head_timeout", timeout),
        idle_timeout: section.take("idle_timeout", timeout),
        request_timeout: section.take("request_timeout", timeout),
        send_timeout: section.take("send_timeout", timeout),
    }
}

fn drain(section: &mut Section<'_>) -> Drain {
    Drain {
        window: section.take("window", |value| unless("auto", value, |value| duration(value, TIMEOUT))),
        settle: section
            .take("settle", |value| unless("auto", value, |value| duration(value, Duration::ZERO..=LONGEST))),
    }
}

fn reload(section: &mut Section<'_>) -> Reload {
    let time = |value: &Value<'_>| duration(value, TIMEOUT);
    Reload { linger: section.take("linger", time), ready_timeout: section.take("ready_timeout", time) }
}

fn log(section: &mut Section<'_>) -> Log {
    let words = [("off", Access::Off), ("errors", Access::Errors), ("all", Access::All)];
    let access = section.take("access", |value| one_of(value, &words));
    let slow = section.take("slow", |value| unless("off", value, |value| duration(value, TIMEOUT)));
    let query = section.take("query", boolean);
    let headers = section.take_list("headers", |value| header_name(text(value)?));
    if let Some(headers) = &headers
        && let Some(secret) =
            headers.value.iter().find(|name| [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].contains(name))
    {
        let warning =
            Diagnostic::warning(&headers.place, format!("`{secret}` carries secrets, which the journal will hold"));
        section.warn(warning.cure("leave it out, unless everyone who reads the journal may know them"));
    }
    Log { access, slow, query, headers }
}

fn routes(section: &mut Section<'_>) -> Routes {
    let mut given = 0;
    let list = section.tables("route", |section| {
        given += 1;
        route(section)
    });
    Routes { reset: list.is_some() && given == 0, list: list.unwrap_or_default().into_iter().flatten().collect() }
}
