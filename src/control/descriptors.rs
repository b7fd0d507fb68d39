//! How many descriptors there are, and how many connections that allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that aren't connections: listeners, epoll, the journal, and files that are being served.
const RESERVED: usize = 64;

/// Raises RLIMIT_NOFILE to what is allowed: nothing here uses select(2), which is why the soft limit is low.
pub(super) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}

fn limit() -> usize {
    getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// How many connections there can be at all.
pub(super) fn connections_at_most() -> usize {
    limit().saturating_sub(RESERVED)
}

/// How many connections are a good limit.
pub(super) fn connections() -> usize {
    connections_within(limit())
}

/// How many connections fit, when one in eight of them has a file open at the same moment.
fn connections_within(descriptors: usize) -> usize {
    let usable = descriptors.saturating_sub(RESERVED);
    (usable - usable / 8).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        assert_eq!(connections_within(1024), 840);
        assert_eq!(connections_within(10), 1);
    }
}
