//! What one connection is in the middle of, as 64 bytes that the next process reads: the same for every way across.
//!
//! All numbers are little-endian. The version stands first in every version there will ever be; a reader that doesn't
//! know it reads no further. Eight bytes are left for what later versions need.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 2 | format version |
//! | 2 | 1 | standing: 1 fresh, 2 idle, 3 in a head, 4 upgraded; all else is unknown to this version |
//! | 3 | 1 | protocol: 1 is HTTP/1.1, 2 the application's own, of an upgraded connection |
//! | 4 | 2 | listener: its place in the table of names that goes along |
//! | 6 | 1 | peer: 0 a Unix socket's, 4 and 6 an IP address of that version |
//! | 7 | 1 | state: 0 it waits, 1 busy, 2 gone; all but 0 are written while its process still serves it |
//! | 8 | 2 | peer's port |
//! | 10 | 2 | zero |
//! | 12 | 4 | peer's IPv6 scope |
//! | 16 | 16 | peer's address; of version 4, the first four bytes |
//! | 32 | 8 | since when it stands so: milliseconds of CLOCK_MONOTONIC |
//! | 40 | 8 | requests served on it |
//! | 48 | 8 | bytes read ahead: where they are |
//! | 56 | 4 | how many |
//! | 60 | 4 | zero |
//!
//! What was read ahead of an upgraded connection begins with its [parcel](super::parcel). The first version that was
//! released knew neither standing 4 nor protocol 2; like every version with what it doesn't know, it closes such a
//! connection and counts it, so that they needed no new format.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The format that this version writes, and the only one that it reads.
pub const VERSION: u16 = super::FORMAT;

/// Bytes of a record.
pub const SIZE: usize = 64;

/// Most bytes that can have been read ahead on a connection: more than any limit on a request's head lets through.
pub const AHEAD_AT_MOST: u32 = 4 << 20;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Standing {
    /// The first byte.
    Fresh = 1,
    /// The next request.
    Idle = 2,
    /// The rest of a request's head; there may be whole requests, too, that were read and not yet looked at.
    Head = 3,
    /// Nothing of HTTP: the application has upgraded it, and another one is to go on with it.
    Upgraded = 4,
}

impl Standing {
    /// What a connection that stands so speaks.
    #[must_use]
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Fresh | Self::Idle | Self::Head => Protocol::Http1,
            Self::Upgraded => Protocol::Upgraded,
        }
    }
}

/// How a connection stands whose copy was deposited before its process was done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// It waits, as its record says.
    Waits = 0,
    /// It is in the middle of something that its record says nothing of: who adopted it would lose bytes.
    Busy = 1,
    /// It has ended, or is elsewhere.
    Gone = 2,
}

/// Where in a record its state is.
pub(super) const STATE_AT: usize = 7;

impl State {
    /// Reads a record's state.
    ///
    /// # Errors
    ///
    /// When the record is of another version or contradicts its own.
    pub fn of(bytes: &[u8; SIZE]) -> Result<Self, RecordError> {
        check_version(bytes)?;
        match bytes[STATE_AT] {
            0 => Ok(Self::Waits),
            1 => Ok(Self::Busy),
            2 => Ok(Self::Gone),
            other => Err(RecordError::Field { field: "state", value: other.into() }),
        }
    }
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Protocol {
    /// HTTP/1.1 or 1.0.
    Http1 = 1,
    /// The application's own.
    Upgraded = 2,
}

/// A moment that every process of this boot understands: milliseconds of CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        Self(seconds.saturating_mul(1000).saturating_add(u64::try_from(now.tv_nsec / 1_000_000).unwrap_or(0)))
    }

    /// How long ago it was; nothing if it is yet to come, which only a broken writer can have meant.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Duration::from_millis(Self::now().0.saturating_sub(self.0))
    }

    /// The same moment as this process reckons.
    #[must_use]
    pub fn instant(self) -> Instant {
        let now = Instant::now();
        now.checked_sub(self.elapsed()).unwrap_or(now)
    }
}

impl From<Instant> for Moment {
    fn from(instant: Instant) -> Self {
        Self(Self::now().0.saturating_sub(u64::try_from(instant.elapsed().as_millis()).unwrap_or(u64::MAX)))
    }
}

/// Where the bytes are that were read ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// Their offset, in whatever carries them.
    pub at: u64,
    /// How many there are.
    pub length: u32,
}

/// What one connection is in the middle of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it waits for.
    pub standing: Standing,
    /// What it speaks.
    pub protocol: Protocol,
    /// Which listener accepted it: a place in the table of names that goes along.
    pub listener: u16,
    /// Who is at the other end; nobody worth a name on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Since when it waits: its timeout goes on from there.
    pub since: Moment,
    /// Requests served on it.
    pub requests: u64,
    /// Bytes read ahead.
    pub ahead: Ahead,
}

/// A record that this version can't go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Another version has written it, or nobody has (version 0).
    #[error("its format is version {found}, and this process knows version {VERSION} only")]
    Version {
        /// The version found.
        found: u16,
    },
    /// A field says what no writer of this version says.
    #[error("its {field} is {value}, which no writer of version {VERSION} writes")]
    Field {
        /// Which.
        field: &'static str,
        /// What it says.
        value: u64,
    },
}

impl Record {
    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &VERSION.to_le_bytes());
        put(2, &[self.standing as u8, self.protocol as u8]);
        put(4, &self.listener.to_le_bytes());
        if let Some(peer) = self.peer {
            put(8, &peer.port().to_le_bytes());
            match peer {
                SocketAddr::V4(peer) => {
                    put(6, &[4]);
                    put(16, &peer.ip().octets());
                }
                SocketAddr::V6(peer) => {
                    put(6, &[6]);
                    put(12, &peer.scope_id().to_le_bytes());
                    put(16, &peer.ip().octets());
                }
            }
        }
        put(32, &self.since.0.to_le_bytes());
        put(40, &self.requests.to_le_bytes());
        put(48, &self.ahead.at.to_le_bytes());
        put(56, &self.ahead.length.to_le_bytes());
        bytes
    }

    /// Reads a record. What it says of other things (the listener, the bytes read ahead) is for the caller to check.
    ///
    /// # Errors
    ///
    /// When it is of another version or contradicts its own.
    pub fn decode(bytes: &[u8; SIZE]) -> Result<Self, RecordError> {
        check_version(bytes)?;
        let field = |field: &'static str, value: u64| RecordError::Field { field, value };
        let standing = match bytes[2] {
            1 => Standing::Fresh,
            2 => Standing::Idle,
            3 => Standing::Head,
            4 => Standing::Upgraded,
            other => return Err(field("standing", other.into())),
        };
        let protocol = match bytes[3] {
            1 => Protocol::Http1,
            2 => Protocol::Upgraded,
            other => return Err(field("protocol", other.into())),
        };
        if protocol != standing.protocol() {
            return Err(field("protocol", bytes[3].into()));
        }
        let port = u16::from_le_bytes(array(bytes, 8));
        let peer = match bytes[6] {
            0 => None,
            4 => Some((IpAddr::from(Ipv4Addr::from(array::<4>(bytes, 16))), port).into()),
            6 => {
                let scope = u32::from_le_bytes(array(bytes, 12));
                Some(SocketAddrV6::new(Ipv6Addr::from(array::<16>(bytes, 16)), port, 0, scope).into())
            }
            other => return Err(field("peer", other.into())),
        };
        let ahead = Ahead { at: u64::from_le_bytes(array(bytes, 48)), length: u32::from_le_bytes(array(bytes, 56)) };
        if ahead.length > AHEAD_AT_MOST || (ahead.length > 0) != matches!(standing, Standing::Head | Standing::Upgraded)
        {
            return Err(field("number of bytes read ahead", ahead.length.into()));
        }
        Ok(Self {
            standing,
            protocol,
            listener: u16::from_le_bytes(array(bytes, 4)),
            peer,
            since: Moment(u64::from_le_bytes(array(bytes, 32))),
            requests: u64::from_le_bytes(array(bytes, 40)),
            ahead,
        })
    }
}

fn check_version(bytes: &[u8; SIZE]) -> Result<(), RecordError> {
    match u16::from_le_bytes(array(bytes, 0)) {
        VERSION => Ok(()),
        found => Err(RecordError::Version { found }),
    }
}

/// The `N` bytes at an offset that the layout above knows to be there.
fn array<const N: usize>(bytes: &[u8; SIZE], at: usize) -> [u8; N] {
    std::array::from_fn(|index| bytes[at + index])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peers() -> impl Strategy<Value = Option<SocketAddr>> {
        prop_oneof![
            Just(None),
            any::<([u8; 4], u16)>().prop_map(|(ip, port)| Some((Ipv4Addr::from(ip), port).into())),
            any::<([u8; 16], u16, u32)>()
                .prop_map(|(ip, port, scope)| Some(SocketAddrV6::new(ip.into(), port, 0, scope).into())),
        ]
    }

    fn records() -> impl Strategy<Value = Record> {
        (0..4, any::<(u16, u64, u64, u64)>(), 1..=AHEAD_AT_MOST, peers()).prop_map(|(standing, some, length, peer)| {
            let (listener, since, requests, at) = some;
            let (standing, length) =
                [(Standing::Fresh, 0), (Standing::Idle, 0), (Standing::Head, length), (Standing::Upgraded, length)]
                    [standing as usize];
            let (protocol, ahead) = (standing.protocol(), Ahead { at, length });
            Record { standing, protocol, listener, peer, since: Moment(since), requests, ahead }
        })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(record in records()) {
            prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in any::<[[u8; 32]; 2]>(), version in any::<bool>()) {
            let mut bytes: [u8; SIZE] = bytes.concat().try_into().unwrap();
            if version {
                let (standing, protocol) = (bytes[2] % 6, bytes[3] % 3);
                bytes[..4].copy_from_slice(&[1, 0, standing, protocol]);
            }
            if let Ok(record) = Record::decode(&bytes) {
                let _ = (record.since.elapsed(), record.since.instant());
                prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
            }
        }
    }

    /// The layout is a promise to other versions: this fails when it changes without a new version.
    #[test]
    fn the_layout_stays_as_it_is() {
        let record = Record {
            standing: Standing::Head,
            protocol: Protocol::Http1,
            listener: 0x0102,
            peer: Some("[fe80::1%7]:258".parse().unwrap()),
            since: Moment(3),
            requests: 4,
            ahead: Ahead { at: 5, length: 6 },
        };
        let mut expected = [0; SIZE];
        for (at, byte) in [
            (0, 1),
            (2, 3),
            (3, 1),
            (4, 2),
            (5, 1),
            (6, 6),
            (8, 2),
            (9, 1),
            (12, 7),
            (16, 0xfe),
            (17, 0x80),
            (31, 1),
            (32, 3),
            (40, 4),
            (48, 5),
            (56, 6),
        ] {
            expected[at] = byte;
        }
        assert_eq!(record.encode(), expected);
    }

    #[test]
    fn a_state_is_read() {
        let record = |state: u8| {
            let mut bytes = [0; SIZE];
            bytes[..2].copy_from_slice(&VERSION.to_le_bytes());
            bytes[STATE_AT] = state;
            State::of(&bytes)
        };
        assert_eq!([0, 1, 2].map(record), [Ok(State::Waits), Ok(State::Busy), Ok(State::Gone)]);
        assert_eq!(record(3), Err(RecordError::Field { field: "state", value: 3 }));
        assert_eq!(State::of(&[0; SIZE]), Err(RecordError::Version { found: 0 }));
    }

    #[test]
    fn other_versions_are_told_apart() {
        assert_eq!(Record::decode(&[0; SIZE]), Err(RecordError::Version { found: 0 }));
        let mut later = [0xff; SIZE];
        later[..2].copy_from_slice(&2u16.to_le_bytes());
        assert_eq!(Record::decode(&later), Err(RecordError::Version { found: 2 }));
    }

    #[test]
    fn a_moment_is_the_same_in_both_reckonings() {
        let began = Instant::now().checked_sub(Duration::from_secs(5)).unwrap();
        let moment = Moment::from(began);
        assert!((4_990..6_000).contains(&moment.elapsed().as_millis()), "{:?}", moment.elapsed());
        assert!(moment.instant().duration_since(began) < Duration::from_millis(100));
        assert_eq!(Moment(u64::MAX).elapsed(), Duration::ZERO);
    }
}
