//! Routes: which request gets which answer.
//!
//! A [`Router`] is built once from the configuration's validated routes. Building it does all that can fail: paths that
//! conflict, folders that cannot be opened. Then it answers, in this order:
//!
//! 1. `host` and `path` say which host and which path the request is for, in one spelling each; a request that doesn't
//!    say gets a 400.
//! 2. `table` finds the route: by host (exact, then `*.` with the longest suffix, then routes without a host), by path
//!    (matchit), by method. What finds none gets a 404 or a 405.
//! 3. A request whose body is known to be longer than the route allows gets a 413.
//! 4. The route's action answers: `respond` and `health` from memory, `welcome` from a page and the gauges, `files`
//!    from a folder, which `beneath` never lets anyone leave.
//!
//! What is in memory is answered without waiting, allocating little: no future is boxed for it, nor a body. Nothing
//! here knows of connections, drains or handovers; the gauges say what is going on.

pub mod access_log;
mod beneath;
mod body;
mod error;
mod files;
mod health;
mod host;
mod methods;
mod path;
mod range;
mod refusal;
mod reply;
mod respond;
mod router;
mod table;
mod welcome;

pub use body::Body;
pub use error::RouteError;
pub use router::Router;
