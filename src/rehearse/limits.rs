//! This machine's own limits: raised where possible, or named before the start.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::arguments::Plan;
use super::fresh;
use super::target::UsageError;

/// Descriptors for everything that is not a client: standard streams, the runtime, the command, the reports.
const SPARE_DESCRIPTORS: u64 = 64;

/// Where Linux says which local ports it gives out.
const PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// The range if that cannot be read: the kernel's default.
const USUAL_PORTS: u64 = 28_232;

/// The local addresses that idle connections come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sources {
    /// The kernel chooses.
    Default,
    /// 127.0.0.2 and up, so many connections each: one address has not ports enough.
    Loopback {
        /// Connections from each address.
        each: u32,
    },
}

impl Sources {
    /// The address that the idle client of this number binds to.
    pub(super) fn of(self, client: u32) -> Option<IpAddr> {
        match self {
            Self::Default => None,
            Self::Loopback { each } => {
                let first = u32::from(Ipv4Addr::new(127, 0, 0, 2));
                Some(Ipv4Addr::from(first + client / each).into())
            }
        }
    }
}

/// Raises the limit of open descriptors to what the plan needs, and finds out where its connections come from.
pub(super) fn prepare(plan: &Plan) -> Result<Sources, UsageError> {
    raise_descriptors(descriptors(plan))?;
    let range = std::fs::read_to_string(PORT_RANGE).ok().and_then(|text| ports(&text)).unwrap_or(USUAL_PORTS);
    sources(plan, range)
}

/// The most descriptors that the plan's clients hold at once. An HTTP/2 client looks at its socket through a second one.
fn descriptors(plan: &Plan) -> u64 {
    let single = u64::from(plan.busy) + u64::from(plan.idle) + u64::from(plan.half) + u64::from(plan.websockets);
    let fresh = u64::from(plan.fresh) * fresh::MOST_UNDER_WAY as u64;
    single + fresh + 2 * u64::from(plan.http2) + SPARE_DESCRIPTORS
}

fn raise_descriptors(needed: u64) -> Result<(), UsageError> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let wanted = match maximum {
        Some(most) if most < needed => Some(needed),
        most => most,
    };
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: wanted });
    raised.map_err(|_| UsageError::Descriptors { needed, most: maximum.unwrap_or(needed) })
}

/// The number of ports in a line such as `32768 60999`.
fn ports(line: &str) -> Option<u64> {
    let mut bounds = line.split_whitespace().map(str::parse::<u64>);
    let (low, high) = (bounds.next()?.ok()?, bounds.next()?.ok()?);
    (high + 1).checked_sub(low)
}

fn sources(plan: &Plan, ports: u64) -> Result<Sources, UsageError> {
    // Half of the range stays free: closed connections keep their ports in TIME_WAIT, and a nearly full range makes
    // the kernel's search for a free port slow.
    let each = (ports / 2).max(1);
    let needed = descriptors(plan) - u64::from(plan.http2) - SPARE_DESCRIPTORS;
    if needed <= each {
        return Ok(Sources::Default);
    }
    let on_loopback = matches!(plan.target.address, SocketAddr::V4(address) if address.ip().is_loopback());
    let movable = u64::from(plan.idle);
    if !on_loopback || needed - movable > each {
        return Err(UsageError::Ports { needed, ports });
    }
    Ok(Sources::Loopback { each: u32::try_from(each).unwrap_or(u32::MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_range_is_read() {
        assert_eq!(ports("32768\t60999\n"), Some(28_232));
        assert_eq!(ports("1 x"), None);
        assert_eq!(ports("9 1"), None);
    }

    #[test]
    fn sources_change_when_one_is_full() {
        let sources = Sources::Loopback { each: 14_116 };
        assert_eq!(sources.of(0), Some("127.0.0.2".parse().unwrap()));
        assert_eq!(sources.of(14_115), Some("127.0.0.2".parse().unwrap()));
        assert_eq!(sources.of(14_116), Some("127.0.0.3".parse().unwrap()));
        assert_eq!(sources.of(49_999), Some("127.0.0.5".parse().unwrap()));
        assert_eq!(Sources::Default.of(7), None);
    }
}
