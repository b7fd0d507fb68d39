//! The program as systemd runs it, without systemd: any number of them at a time, and each notification can be seen.

#![allow(clippy::unwrap_used, reason = "a test may panic; Clippy only knows that of functions marked as tests")]

#[path = "../support/mod.rs"]
mod support;

mod access_log;
mod activation;
mod bind;
mod command_line;
mod drain;
mod exhaustion;
mod files;
mod gaps;
mod hostile;
mod journald;
mod lines;
mod notify;
mod panic;
mod refused;
mod signals;
mod status;
mod watchdog;
mod window;

/// Routes to ask for, and a window that tests have the patience for.
const CONFIG: &str = r#"
[limits]
request_timeout = "2h" # or the route that never answers would be warned of

[drain]
window = "1s"

[[route]]
path = "/hello"
respond = { body = "hello\n" }

[[route]]
path = "/never"
respond = { body = "never\n", delay = "1h" }
"#;
