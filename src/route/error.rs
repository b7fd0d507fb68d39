//! What can be wrong with a set of routes. All of it comes out when the router is built, before anything is served.

use std::io;
use std::path::PathBuf;

/// Routes that cannot be served as they are configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// The path isn't in matchit's syntax.
    #[error(
        "route {route}: the path is not valid: {source}; a path begins with \"/\", a parameter is a whole \
         \"{{name}}\", and \"{{*name}}\" stands at the end"
    )]
    Path {
        /// The route's label.
        route: String,
        /// What matchit says of it.
        source: matchit::InsertError,
    },
    /// The path doesn't begin with a slash, so that no request can match it.
    #[error("route {route}: the path must begin with \"/\"")]
    Relative {
        /// The route's label.
        route: String,
    },
    /// Two routes would match the same paths.
    #[error("route {route}: its path matches the same requests as \"{with}\"; name their parameters alike or drop one")]
    Conflict {
        /// The label of the route that came second.
        route: String,
        /// The path that it conflicts with.
        with: String,
    },
    /// Two routes have the same host and path and answer the same method.
    #[error("route {route} is there twice; drop one, or give each its own `methods`")]
    Twice {
        /// The label of both.
        route: String,
    },
    /// `methods = []`.
    #[error("route {route}: `methods` is empty, so it would never answer; leave it out, or name one")]
    NoMethods {
        /// The route's label.
        route: String,
    },
    /// A method that the route's action cannot answer.
    #[error("route {route}: `{action}` answers GET and HEAD, not {method}; drop it from `methods`")]
    Method {
        /// The route's label.
        route: String,
        /// The action.
        action: &'static str,
        /// The method.
        method: http::Method,
    },
    /// `respond` with a status that is no final answer.
    #[error("route {route}: {status} is not a final status; choose one from 200 to 599")]
    Status {
        /// The route's label.
        route: String,
        /// The status.
        status: http::StatusCode,
    },
    /// `respond` with a field that says how the message is framed or what becomes of the connection.
    #[error("route {route}: the server itself writes the field \"{field}\"; drop it from `headers`")]
    Framing {
        /// The route's label.
        route: String,
        /// The field's name.
        field: http::HeaderName,
    },
    /// `files` on a path that says nothing about which file.
    #[error(
        "route {route}: the path of `files` must end in a catch-all that names the file, as in \"/static/{{*file}}\""
    )]
    FilesPath {
        /// The route's label.
        route: String,
    },
    /// The folder of `files` cannot be opened.
    #[error("route {route}: cannot open the folder {}: {source}; create it, or let the service's user read it", root.display())]
    Root {
        /// The route's label.
        route: String,
        /// The folder.
        root: PathBuf,
        /// Why not.
        source: io::Error,
    },
}
