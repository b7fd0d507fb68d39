//! What the operator asks for: arguments as typed, and the plan that they make once checked.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::class;
use super::target::{Target, UsageError};

/// Put load on an HTTP server while a command restarts it, and count what its clients lose.
///
/// Clients of up to six kinds use the server at once, and none of them ever retries: what a retry would hide is what is
/// counted here. Meanwhile the command given after `--` is run --rounds times. Without a command it just watches.
///
/// Each round: half clients send half of a request's head, idle clients lie still, the command runs; once it has ended
/// the half clients send the rest, spread over the remainder of the round, and at the round's end idle and half clients
/// make one more request each on the connection that they have. A close announced by `Connection: close`, by
/// GOAWAY or by a Close frame is no failure: it is counted as closed in good order, and the client opens another.
///
/// Exit status: 0 if nothing failed (no request, no connection, and no run of the command), 1 if anything did, 64 for
/// bad usage. With --all-survive a connection that did not survive is a failure in this sense. Only the given URLs are ever contacted.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = class::definitions(80))]
pub struct Arguments {
    /// What to ask for, `http://HOST[:PORT][/PATH]`
    #[arg(long, value_name = "URL")]
    pub url: String,

    /// Busy clients: a kept-alive connection each, think times of 0-20 ms
    #[arg(long, help_heading = "Clients", value_name = "N", default_value_t = 64)]
    pub connections: u32,

    /// Fresh clients: each opens a new connection every --fresh-every, on a fixed schedule
    ///
    /// The schedule does not wait for answers, so a stall is felt by every request that falls into it (up to 32 are
    /// under way for each client; further ones start when there is room, and their latency counts from when they were
    /// due). The latency includes connecting.
    #[arg(long, help_heading = "Clients", value_name = "N", default_value_t = 16)]
    pub fresh: u32,

    /// Time between a fresh client's connections
    #[arg(long, help_heading = "Clients", value_name = "TIME", default_value = "20ms", value_parser = duration)]
    pub fresh_every: Duration,

    /// Idle clients: lie still through each round, then ask again on the same connection
    #[arg(long, help_heading = "Clients", value_name = "N", default_value_t = 1000)]
    pub idle: u32,

    /// Half clients: send half a request head before the command and the rest after it
    ///
    /// Every other one sends it on a new connection, the rest on one that has been answered before.
    #[arg(long, help_heading = "Clients", value_name = "N", default_value_t = 50)]
    pub half: u32,

    /// HTTP/2 clients (cleartext, with prior knowledge): a connection each, think times as of busy ones
    #[arg(long, help_heading = "Clients", value_name = "N", default_value_t = 0)]
    pub http2: u32,

    /// WebSocket clients: send a running number, which must come back, at busy clients' pace
    #[arg(long, help_heading = "Clients", value_name = "N", default_value_t = 0, requires = "websocket_url")]
    pub websocket: u32,

    /// The WebSocket endpoint, which must echo, `ws://HOST[:PORT][/PATH]`
    #[arg(long, help_heading = "Clients", value_name = "URL")]
    pub websocket_url: Option<String>,

    /// How often the command is run
    #[arg(long, help_heading = "Rounds", value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,

    /// Time from one run of the command to the next; more if the command or the idle clients take longer
    #[arg(long, help_heading = "Rounds", value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub every: Duration,

    /// Size of the body that every other request of busy and HTTP/2 clients posts; 0: no POST, only GET
    #[arg(long, help_heading = "Requests and answers", value_name = "SIZE", default_value = "1KiB", value_parser = size)]
    pub post: usize,

    /// The exact body that every answer must have; without it, only its framing is checked
    #[arg(long, help_heading = "Requests and answers", value_name = "BODY")]
    pub expect: Option<OsString>,

    /// How long an answer may take
    #[arg(long, help_heading = "Requests and answers", value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,

    /// How long connecting may take
    #[arg(long, help_heading = "Requests and answers", value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub connect_timeout: Duration,

    /// Take it for a failure, too, if a connection does not survive, even one that is closed in good order
    ///
    /// The connections meant are the kept-alive ones that are open when a command starts.
    #[arg(long, help_heading = "Requests and answers")]
    pub all_survive: bool,

    /// Write a report for people here: one HTML file, with nothing from elsewhere
    #[arg(long, help_heading = "Results", value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Write the results for scripts here; `-`: to standard output, and the summary to standard error
    #[arg(long, help_heading = "Results", value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Allow a target that is not on this machine: it is yours, and may be loaded
    #[arg(long)]
    pub yes_it_is_mine: bool,

    /// The command that restarts the server; without it, just watch
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Arguments that have been checked.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub target: Target,
    pub websocket: Option<Target>,
    pub busy: u32,
    pub fresh: u32,
    pub fresh_every: Duration,
    pub idle: u32,
    pub half: u32,
    pub http2: u32,
    pub websockets: u32,
    pub rounds: u32,
    pub every: Duration,
    pub post: usize,
    pub expect: Option<Vec<u8>>,
    pub timeout: Duration,
    pub connect_timeout: Duration,
    pub all_survive: bool,
    pub report: Option<PathBuf>,
    pub json: Option<PathBuf>,
    pub command: Vec<OsString>,
}

impl Plan {
    /// Checks the arguments; looks names up, but contacts no target.
    pub(super) fn new(arguments: Arguments) -> Result<Self, UsageError> {
        use std::os::unix::ffi::OsStringExt;
        let mine = arguments.yes_it_is_mine;
        let websocket = match &arguments.websocket_url {
            Some(url) => Some(Target::new(url, "ws", mine)?),
            None => None,
        };
        if arguments.fresh_every.is_zero() || arguments.timeout.is_zero() || arguments.connect_timeout.is_zero() {
            return Err(UsageError::Zero);
        }
        let clients = [arguments.connections, arguments.fresh, arguments.idle, arguments.half, arguments.http2];
        if clients.iter().all(|&count| count == 0) && arguments.websocket == 0 {
            return Err(UsageError::NoClients);
        }
        Ok(Self {
            target: Target::new(&arguments.url, "http", mine)?,
            websocket,
            busy: arguments.connections,
            fresh: arguments.fresh,
            fresh_every: arguments.fresh_every,
            idle: arguments.idle,
            half: arguments.half,
            http2: arguments.http2,
            websockets: arguments.websocket,
            rounds: arguments.rounds,
            every: arguments.every,
            post: arguments.post,
            expect: arguments.expect.map(OsString::into_vec),
            timeout: arguments.timeout,
            connect_timeout: arguments.connect_timeout,
            all_survive: arguments.all_survive,
            report: arguments.report,
            json: arguments.json,
            command: arguments.command,
        })
    }

    /// The command as one line, for people.
    pub(super) fn command_line(&self) -> String {
        self.command.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }
}

/// Parses `250ms`, `2s`, `1.5s`, `3m`.
fn duration(text: &str) -> Result<Duration, String> {
    let wanted = || format!("\"{text}\" is not a time: write it as 250ms, 2s or 3m");
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wanted)?;
    let (number, unit) = text.split_at(unit_at);
    let number: f64 = number.parse().map_err(|_| wanted())?;
    let seconds = match unit {
        "ms" => number / 1e3,
        "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(wanted()),
    };
    // A day bounds what arithmetic on instants must bear.
    Duration::try_from_secs_f64(seconds).ok().filter(|time| time.as_secs() <= 86_400).ok_or_else(wanted)
}

/// Parses `512`, `1KiB`, `4kB`, `1MiB`; at most 64 MiB.
fn size(text: &str) -> Result<usize, String> {
    const MOST: usize = 64 << 20;
    let wanted = || format!("\"{text}\" is not a size up to 64MiB: write it as 512, 1KiB or 2MiB");
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let factor = match unit {
        "" | "B" => 1,
        "kB" => 1000,
        "K" | "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "M" | "MiB" => 1 << 20,
        _ => return Err(wanted()),
    };
    let number: usize = number.parse().map_err(|_| wanted())?;
    number.checked_mul(factor).filter(|&bytes| bytes <= MOST).ok_or_else(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("3m"), Ok(Duration::from_secs(180)));
        for bad in ["", "2", "s", "-1s", "2 days", "NaNs", "1e99s", "infs"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("1KiB"), Ok(1024));
        assert_eq!(size("4kB"), Ok(4000));
        for bad in ["", "KiB", "-1", "1.5K", "1GiB", "99999999999999999999", "65MiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
