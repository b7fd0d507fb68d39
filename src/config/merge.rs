//! What several files say together.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use super::fragment::{Drain, Fragment, Given, Limits, Log, Reload};
use super::settings::{Address, Route};
use super::source::Located;

/// What the files read so far say together.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) strict: Given<bool>,
    pub(super) workers: Given<Option<NonZeroUsize>>,
    pub(super) max_connections: Given<Option<NonZeroUsize>>,
    pub(super) listeners: BTreeMap<String, Given<Address>>,
    pub(super) limits: Limits,
    pub(super) drain: Drain,
    pub(super) reload: Reload,
    pub(super) log: Log,
    pub(super) routes: Vec<Located<Route>>,
}

impl Merged {
    /// Adds a later file, which wins key by key. Its routes come after the earlier ones, less those that would answer
    /// the same requests.
    pub(super) fn add(&mut self, later: Fragment) {
        win(&mut self.strict, later.strict);
        win(&mut self.workers, later.workers);
        win(&mut self.max_connections, later.max_connections);
        for (name, bind) in later.listeners {
            win(self.listeners.entry(name).or_default(), bind);
        }
        self.limits.add(later.limits);
        self.drain.add(later.drain);
        self.reload.add(later.reload);
        self.log.add(later.log);
        if later.routes.reset {
            self.routes.clear();
        }
        let later = later.routes.list;
        self.routes.retain(|earlier| !later.iter().any(|route| route.value.collides_with(&earlier.value)));
        self.routes.extend(later);
    }
}

impl Limits {
    fn add(&mut self, later: Self) {
        win(&mut self.head_size, later.head_size);
        win(&mut self.head_fields, later.head_fields);
        win(&mut self.head_timeout, later.head_timeout);
        win(&mut self.idle_timeout, later.idle_timeout);
        win(&mut self.request_timeout, later.request_timeout);
        win(&mut self.send_timeout, later.send_timeout);
    }
}

impl Drain {
    fn add(&mut self, later: Self) {
        win(&mut self.window, later.window);
        win(&mut self.settle, later.settle);
    }
}

impl Reload {
    fn add(&mut self, later: Self) {
        win(&mut self.linger, later.linger);
        win(&mut self.ready_timeout, later.ready_timeout);
    }
}

impl Log {
    fn add(&mut self, later: Self) {
        win(&mut self.access, later.access);
        win(&mut self.slow, later.slow);
        win(&mut self.query, later.query);
        win(&mut self.headers, later.headers);
    }
}

fn win<T>(earlier: &mut Given<T>, later: Given<T>) {
    if later.is_some() {
        *earlier = later;
    }
}
