//! The table of routes: which of them a host and a path lead to.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use http::{HeaderValue, Method};
use matchit::InsertError;

use super::error::RouteError;
use super::methods::{self, Methods};
use super::router::Action;

/// One route, ready to answer.
pub(super) struct Endpoint {
    /// Its host, if any, and path as configured: how the journal names it.
    pub(super) label: Arc<str>,
    pub(super) methods: Methods,
    pub(super) max_body: u64,
    pub(super) action: Action,
}

/// A path as it is configured, and the routes that share it: each answers methods of its own.
pub(super) struct Place {
    endpoints: Vec<Endpoint>,
    allow: Option<HeaderValue>,
}

impl Place {
    pub(super) fn endpoint(&self, method: &Method) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.methods.contains(method))
    }

    /// The `Allow` field; `None` where every method is answered.
    pub(super) fn allow(&self) -> Option<&HeaderValue> {
        self.allow.as_ref()
    }
}

/// What a host and a path lead to.
pub(super) struct Found<'table, 'path> {
    pub(super) place: &'table Place,
    /// The part of the path that a final catch-all matched; `None`: the path lacks the slash before it.
    pub(super) rest: Option<&'path str>,
}

/// The routes of all hosts.
#[derive(Default)]
pub(super) struct Table {
    exact: HashMap<String, Paths>,
    /// Keyed by what follows `*.`.
    below: HashMap<String, Paths>,
    any: Paths,
}

impl Table {
    /// Adds a route. `host` and `path` are as configured.
    pub(super) fn add(&mut self, host: Option<&str>, path: &str, endpoint: Endpoint) -> Result<(), RouteError> {
        let paths = match host {
            None => &mut self.any,
            Some(host) => match host.strip_prefix("*.") {
                Some(suffix) => self.below.entry(suffix.to_owned()).or_default(),
                None => self.exact.entry(host.to_owned()).or_default(),
            },
        };
        paths.add(path, endpoint)
    }

    /// To be called once all routes have been added.
    pub(super) fn finish(&mut self) {
        for paths in self.exact.values_mut().chain(self.below.values_mut()).chain([&mut self.any]) {
            paths.finish();
        }
    }

    /// The routes of the most specific host that has the path.
    ///
    /// A host without the path leaves the request to the less specific ones, so that one `/healthz` without a host
    /// serves them all.
    pub(super) fn find<'path>(&self, host: Option<&str>, path: &'path str) -> Option<Found<'_, 'path>> {
        if let Some(host) = host.filter(|_| !(self.exact.is_empty() && self.below.is_empty())) {
            let exact = self.exact.get(host);
            let below = parents(host).filter_map(|parent| self.below.get(parent));
            if let Some(found) = exact.into_iter().chain(below).find_map(|paths| paths.find(path)) {
                return Some(found);
            }
        }
        self.any.find(path)
    }
}

/// `b.example.com`, `example.com`, `com` for `a.b.example.com`.
fn parents(host: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(host.split_once('.'), |(_, parent)| parent.split_once('.')).map(|(_, parent)| parent)
}

/// The routes of one host, by path.
#[derive(Default)]
struct Paths {
    tree: matchit::Router<Target>,
    places: Vec<Place>,
    by_path: HashMap<String, usize>,
}

/// What the tree of paths leads to.
#[derive(Clone, Copy)]
struct Target {
    place: usize,
    rest: Rest,
}

/// Where the part that a final catch-all stands for is found.
#[derive(Clone, Copy, PartialEq)]
enum Rest {
    /// In the last parameter.
    Parameter,
    /// Nowhere: there is no catch-all, or it stands for nothing.
    Empty,
    /// Nowhere, and the slash before it is missing too.
    NoSlash,
}

impl Paths {
    fn add(&mut self, path: &str, endpoint: Endpoint) -> Result<(), RouteError> {
        if !path.starts_with('/') {
            return Err(RouteError::Relative { route: endpoint.label.to_string() });
        }
        match self.by_path.entry(path.to_owned()) {
            Entry::Occupied(entry) => {
                let endpoints = &mut self.places[*entry.get()].endpoints;
                if endpoints.iter().any(|other| other.methods.overlaps(&endpoint.methods)) {
                    return Err(RouteError::Twice { route: endpoint.label.to_string() });
                }
                endpoints.push(endpoint);
            }
            Entry::Vacant(entry) => {
                let rest = if catch_all(path).is_some() { Rest::Parameter } else { Rest::Empty };
                let target = Target { place: self.places.len(), rest };
                self.tree.insert(path, target).map_err(|source| match source {
                    InsertError::Conflict { with } => RouteError::Conflict { route: endpoint.label.to_string(), with },
                    source => RouteError::Path { route: endpoint.label.to_string(), source },
                })?;
                self.places.push(Place { endpoints: vec![endpoint], allow: None });
                entry.insert(target.place);
            }
        }
        Ok(())
    }

    /// Lets `/static/{*file}` answer `/static/` too, and `/static` where a folder can say that its slash is missing:
    /// in matchit a catch-all stands for at least one character.
    fn finish(&mut self) {
        for (path, &place) in &self.by_path {
            let Some(folder) = catch_all(path) else { continue };
            // A conflict means that a route of its own has that path, which goes first.
            let _ = self.tree.insert(folder, Target { place, rest: Rest::Empty });
            let redirects = self.places[place].endpoints.iter().all(|endpoint| endpoint.action.redirects());
            if let Some(bare) = folder.strip_suffix('/').filter(|bare| redirects && !bare.is_empty()) {
                let _ = self.tree.insert(bare, Target { place, rest: Rest::NoSlash });
            }
        }
        for place in &mut self.places {
            place.allow = methods::allow(place.endpoints.iter().map(|endpoint| &endpoint.methods));
        }
    }

    fn find<'path>(&self, path: &'path str) -> Option<Found<'_, 'path>> {
        let found = self.tree.at(path).ok()?;
        let target = *found.value;
        let rest = match target.rest {
            Rest::Parameter => found.params.iter().last().map(|(_, rest)| rest),
            Rest::Empty => Some(""),
            Rest::NoSlash => None,
        };
        Some(Found { place: &self.places[target.place], rest })
    }
}

/// `/static/` for `/static/{*file}`; `None` where the path has no catch-all at its end.
pub(super) fn catch_all(path: &str) -> Option<&str> {
    let (before, last) = path.rsplit_once('/')?;
    last.starts_with("{*").then(|| &path[..=before.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_of_a_host() {
        assert_eq!(parents("a.b.example.com").collect::<Vec<_>>(), ["b.example.com", "example.com", "com"]);
        assert_eq!(parents("localhost").count(), 0);
        assert_eq!(parents("").count(), 0);
    }

    #[test]
    fn folder_of_a_catch_all() {
        assert_eq!(catch_all("/static/{*file}"), Some("/static/"));
        assert_eq!(catch_all("/{*rest}"), Some("/"));
        assert_eq!(catch_all("/{user}/files/{*f}"), Some("/{user}/files/"));
        assert_eq!(catch_all("/static/{file}"), None);
        assert_eq!(catch_all("/static/{{*file}}"), None);
        assert_eq!(catch_all("/"), None);
        assert_eq!(catch_all(""), None);
    }
}
