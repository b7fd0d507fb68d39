//! The classes of failure. This is the one place that defines them: `--help`, the documentation, the table, the JSON and
//! the HTML report all take names and definitions from here.

use std::fmt;
use std::io;

use rustix::io::Errno;

/// How a request, or a connection that was meant to stay, failed. Every failure has exactly one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No listener.
    Refused,
    /// The connection was not made in time.
    ConnectTimeout,
    /// A new connection was reset.
    Reset,
    /// A new connection was closed.
    Closed,
    /// A kept-alive connection was closed before the next request.
    Stale,
    /// A kept-alive connection was closed as the request was sent.
    Race,
    /// The answer broke off.
    Cut,
    /// The answer did not come in time.
    Timeout,
    /// An answer of 500 or above.
    ServerError,
    /// Another status than before the first round.
    WrongStatus,
    /// Another body than `--expect`.
    WrongBody,
    /// Not HTTP.
    Garbled,
    /// An HTTP/2 stream was lost.
    LostStream,
    /// A WebSocket broke.
    BrokenSocket,
    /// Not the server's doing: a limit of the machine that rehearses.
    OwnLimit,
}

impl Failure {
    /// All classes, in the order in which they are shown.
    pub const ALL: [Self; 15] = [
        Self::Refused,
        Self::ConnectTimeout,
        Self::Reset,
        Self::Closed,
        Self::Stale,
        Self::Race,
        Self::Cut,
        Self::Timeout,
        Self::ServerError,
        Self::WrongStatus,
        Self::WrongBody,
        Self::Garbled,
        Self::LostStream,
        Self::BrokenSocket,
        Self::OwnLimit,
    ];

    /// The name that `--help`, the table, the JSON and the report use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::ConnectTimeout => "connect-timeout",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::Stale => "stale",
            Self::Race => "race",
            Self::Cut => "cut",
            Self::Timeout => "timeout",
            Self::ServerError => "5xx",
            Self::WrongStatus => "wrong-status",
            Self::WrongBody => "wrong-body",
            Self::Garbled => "garbled",
            Self::LostStream => "lost-stream",
            Self::BrokenSocket => "broken-socket",
            Self::OwnLimit => "own-limit",
        }
    }

    /// A few words for the summary table.
    #[must_use]
    pub const fn gist(self) -> &'static str {
        match self {
            Self::Refused => "nobody listened",
            Self::ConnectTimeout => "no connection in time",
            Self::Reset => "a new connection was reset unanswered",
            Self::Closed => "a new connection was closed unanswered",
            Self::Stale => "closed while idle, before the client sent",
            Self::Race => "kept-alive, closed as the request was sent",
            Self::Cut => "broke off in mid-answer",
            Self::Timeout => "no whole answer in time",
            Self::ServerError => "answered with 500 or above",
            Self::WrongStatus => "another status than before the first round",
            Self::WrongBody => "another body than expected",
            Self::Garbled => "what came was not an HTTP answer",
            Self::LostStream => "an HTTP/2 stream ended without an answer",
            Self::BrokenSocket => "a WebSocket broke, or lost a message",
            Self::OwnLimit => "this machine's limit: the run proves nothing",
        }
    }

    /// The exact definition.
    #[must_use]
    pub const fn definition(self) -> &'static str {
        match self {
            Self::Refused => {
                "The connection could not be made: the target's kernel answered that nobody listens (ECONNREFUSED), or \
                 the network that there is no way there."
            }
            Self::ConnectTimeout => "The connection was not made within --connect-timeout.",
            Self::Reset => {
                "A new connection was reset (ECONNRESET, or EPIPE on sending) before the first byte of its first answer."
            }
            Self::Closed => "A new connection was closed (end of file) before the first byte of its first answer.",
            Self::Stale => {
                "A kept-alive connection was closed or reset while idle, without `Connection: close` in the answer \
                 before, and that close had arrived when the client was about to send (looked for with a non-blocking \
                 read just before sending; an unasked-for answer, such as a 408, counts too). The request was not \
                 sent, so it was not lost: it is a failure, but not counted under \"lost\"."
            }
            Self::Race => {
                "A kept-alive connection, on which at least one answer had come, was closed or reset after the client \
                 began to send the next request and before the first byte of its answer. The client cannot know \
                 whether the request was carried out."
            }
            Self::Cut => {
                "The connection was closed or reset after the first byte of an answer and before its end as framed by \
                 Content-Length or chunked coding; for HTTP/2, the stream ended so between its head and its end."
            }
            Self::Timeout => "The whole answer had not come within --timeout after the client began to send.",
            Self::ServerError => "A whole answer came, with a status of 500 or above.",
            Self::WrongStatus => {
                "A whole answer came, with a status below 500 that is not the one that the same method got before the \
                 first round; or a WebSocket's opening was answered with something other than 101."
            }
            Self::WrongBody => {
                "A whole answer came with the right status, but its body is not exactly --expect; or a WebSocket \
                 brought another message than the running number that was sent."
            }
            Self::Garbled => {
                "What came is not an answer of the protocol: a head, a chunk or a frame that cannot be read."
            }
            Self::LostStream => {
                "An HTTP/2 stream ended before the head of its answer, by RST_STREAM or with its connection, and the \
                 server had not said by REFUSED_STREAM or by a GOAWAY with a lower last stream that it was not worked \
                 on. Those two allow a retry without loss: they are counted as \"declined\" and are no failure."
            }
            Self::BrokenSocket => {
                "A WebSocket ended without a Close frame, or with a Close frame while a message had not come back."
            }
            Self::OwnLimit => {
                "This machine could not make the connection: out of descriptors, local ports or memory. It says \
                 nothing of the server, and the run proves nothing."
            }
        }
    }

    /// Whether something was lost; if not, the client could have known and taken another connection.
    #[must_use]
    pub const fn lost(self) -> bool {
        !matches!(self, Self::Stale | Self::OwnLimit)
    }

    /// The class of a failed `connect(2)`.
    pub(super) fn of_connecting(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::CONNRESET) => Self::Reset,
            Some(Errno::TIMEDOUT) => Self::ConnectTimeout,
            Some(
                Errno::MFILE
                | Errno::NFILE
                | Errno::NOMEM
                | Errno::NOBUFS
                | Errno::ADDRNOTAVAIL
                | Errno::ADDRINUSE
                | Errno::AGAIN,
            ) => Self::OwnLimit,
            _ => Self::Refused,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Every class and its definition, wrapped to `width` columns, for `--help`.
pub(super) fn definitions(width: usize) -> String {
    const INDENT: &str = "                   ";
    let mut text = String::from("Classes of failure (each failure has exactly one):\n");
    for class in Failure::ALL {
        let mut line = format!("  {:<15}  ", class.name());
        for word in class.definition().split(' ') {
            if line.len() + word.len() > width {
                text.push_str(line.trim_end());
                text.push('\n');
                line = INDENT.to_owned();
            }
            line.push_str(word);
            line.push(' ');
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A count for each class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts([u64; Failure::ALL.len()]);

impl Counts {
    pub(super) fn add(&mut self, class: Failure) {
        self.0[class as usize] += 1;
    }

    pub(super) fn of(&self, class: Failure) -> u64 {
        self.0[class as usize]
    }

    pub(super) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Those by which something was lost.
    pub(super) fn lost(&self) -> u64 {
        self.some().filter(|(class, _)| class.lost()).map(|(_, count)| count).sum()
    }

    /// The classes that occurred.
    pub(super) fn some(&self) -> impl Iterator<Item = (Failure, u64)> + '_ {
        Failure::ALL.into_iter().map(|class| (class, self.of(class))).filter(|&(_, count)| count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_shown_is_the_order_declared() {
        for (place, class) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, place, "{class}");
        }
    }

    #[test]
    fn names_are_unique_and_gists_fit_the_table() {
        for (place, class) in Failure::ALL.into_iter().enumerate() {
            assert!(Failure::ALL[..place].iter().all(|other| other.name() != class.name()));
            assert!(class.name().len() <= 15 && class.gist().len() <= 46, "{class}");
        }
    }

    #[test]
    fn definitions_fit_the_width() {
        assert!(definitions(80).lines().all(|line| line.len() <= 80), "{}", definitions(80));
    }
}
