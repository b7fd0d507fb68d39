//! What an upgraded connection takes along: the bytes that go where those lie that were read ahead of other
//! connections.
//!
//! All numbers are little-endian.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | length of the handler's name |
//! | 1 | 1 | zero |
//! | 2 | 2 | length of the route's name |
//! | 4 | 4 | length of the state |
//! | 8 | | handler's name, route's name, state, and to the end the bytes that were read from the socket and by nobody yet |

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of state that an application can send along with a connection.
pub const STATE_AT_MOST: usize = 4096;

/// Bytes of a handler's name.
pub const NAME_AT_MOST: usize = u8::MAX as usize;

const HEADER: usize = 8;

/// What an upgraded connection takes along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Who is to go on with it.
    pub handler: Arc<str>,
    /// The route that the connection came by, for the journal; empty if it has none.
    pub route: Arc<str>,
    /// The application's own.
    pub state: Bytes,
}

/// Bytes that are no parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an upgraded connection came with {bytes} bytes that this version can't read")]
pub struct ParcelError {
    /// How many.
    pub bytes: usize,
}

impl Parcel {
    /// The parcel's bytes, followed by `ahead`. Names that are too long are cut short.
    #[must_use]
    pub fn encode(&self, ahead: &[u8]) -> Bytes {
        let handler = &self.handler[..self.handler.floor_char_boundary(NAME_AT_MOST)];
        let route = &self.route[..self.route.floor_char_boundary(usize::from(u16::MAX))];
        let mut bytes = BytesMut::with_capacity(HEADER + handler.len() + route.len() + self.state.len() + ahead.len());
        bytes.put_u8(u8::try_from(handler.len()).unwrap_or(u8::MAX)); // it is no longer than that
        bytes.put_u8(0);
        bytes.put_u16_le(u16::try_from(route.len()).unwrap_or(u16::MAX)); // nor is this
        bytes.put_u32_le(u32::try_from(self.state.len()).unwrap_or(u32::MAX)); // nor this, by far
        for part in [handler.as_bytes(), route.as_bytes(), &self.state, ahead] {
            bytes.put_slice(part);
        }
        bytes.freeze()
    }

    /// Reads a parcel, and returns what was read ahead beside it.
    ///
    /// # Errors
    ///
    /// When it isn't one.
    pub fn decode(bytes: &Bytes) -> Result<(Self, Bytes), ParcelError> {
        let broken = ParcelError { bytes: bytes.len() };
        let header: &[u8; HEADER] = bytes.first_chunk().ok_or(broken)?;
        let [handler, _, r0, r1, s0, s1, s2, s3] = *header;
        let lengths = [
            usize::from(handler),
            usize::from(u16::from_le_bytes([r0, r1])),
            usize::try_from(u32::from_le_bytes([s0, s1, s2, s3])).map_err(|_| broken)?,
        ];
        let mut rest = bytes.slice(HEADER..);
        let mut take = |length: usize| (length <= rest.len()).then(|| rest.split_to(length)).ok_or(broken);
        let [handler, route, state] = [take(lengths[0])?, take(lengths[1])?, take(lengths[2])?];
        let text = |bytes: Bytes| std::str::from_utf8(&bytes).map(Arc::from).map_err(|_| broken);
        // Copied, because a slice would keep the whole parcel for as long as the connection lives.
        let state = Bytes::copy_from_slice(&state);
        Ok((Self { handler: text(handler)?, route: text(route)?, state }, Bytes::copy_from_slice(&rest)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(
            handler in "\\PC{0,60}",
            route in "\\PC{0,200}",
            state in prop::collection::vec(any::<u8>(), 0..STATE_AT_MOST),
            ahead in prop::collection::vec(any::<u8>(), 0..2000),
        ) {
            let parcel = Parcel { handler: handler.into(), route: route.into(), state: state.into() };
            prop_assert_eq!(Parcel::decode(&parcel.encode(&ahead)), Ok((parcel, ahead.into())));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), short in any::<bool>()) {
            let mut bytes = bytes;
            if short && bytes.len() >= HEADER {
                bytes[0] &= 7;
                bytes[2..8].copy_from_slice(&[3, 0, 5, 0, 0, 0]);
            }
            let bytes = Bytes::from(bytes);
            if let Ok((parcel, ahead)) = Parcel::decode(&bytes) {
                prop_assert_eq!(Parcel::decode(&parcel.encode(&ahead)), Ok((parcel, ahead)));
            }
        }
    }

    /// The layout is a promise to other versions.
    #[test]
    fn the_layout_stays_as_it_is() {
        let parcel = Parcel { handler: "chat".into(), route: "/ws".into(), state: Bytes::from_static(b"anna") };
        assert_eq!(&parcel.encode(b"\x81")[..], b"\x04\x00\x03\x00\x04\x00\x00\x00chat/wsanna\x81");
    }

    #[test]
    fn a_name_too_long_is_cut_between_letters() {
        let parcel = Parcel { handler: "ä".repeat(200).into(), route: "".into(), state: Bytes::new() };
        let (read, _) = Parcel::decode(&parcel.encode(b"")).unwrap();
        assert_eq!(*read.handler, *"ä".repeat(127));
    }
}
