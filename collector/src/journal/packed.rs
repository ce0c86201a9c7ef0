//! The bytes of a batch as they lie in the spool: compressed, since the disk bounds how long a relay
//! may be away, and rows of Arrow with all their names shrink to a fraction.
//!
//! What an earlier release wrote is not compressed. Its first bytes tell: a Flight message begins with
//! the small offset of its table, never with zstd's mark.

use std::io;

use arrow_flight::FlightData;
use bytes::Bytes;

/// Of zstd: the fastest of its ordinary ones.
const LEVEL: i32 = 1;
/// How a zstd frame begins (RFC 8878, 3.1.1).
const MARK: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();

/// Headers and bodies of messages, one after the other, compressed.
///
/// # Errors
/// There is no memory for it.
pub(crate) fn pack(messages: &[FlightData]) -> io::Result<Vec<u8>> {
    let bytes = |message: &FlightData| message.data_header.len() + message.data_body.len();
    let mut plain = Vec::with_capacity(messages.iter().map(bytes).sum());
    for message in messages {
        plain.extend_from_slice(&message.data_header);
        plain.extend_from_slice(&message.data_body);
    }
    zstd::bulk::compress(&plain, LEVEL)
}

/// The `len` bytes that were packed; none if these are others.
pub(super) fn unpack(packed: Bytes, len: usize) -> Option<Bytes> {
    let plain = if packed.starts_with(&MARK) {
        zstd::bulk::decompress(&packed, len).ok()?.into()
    } else {
        packed
    };
    (plain.len() == len).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_is_unpacked_and_what_never_was_is_left() {
        let part = |byte: u8| Bytes::from(vec![byte; 10_000]);
        let message = FlightData::new().with_data_header(part(1)).with_data_body(part(2));
        let packed = Bytes::from(pack(&[message.clone(), message]).unwrap());
        assert!(packed.len() < 1_000);
        let plain = unpack(packed.clone(), 40_000).unwrap();
        assert_eq!((plain[9_999], plain[10_000], plain[39_999]), (1, 2, 2));
        assert_eq!(unpack(packed.clone(), 39_999), None);
        assert_eq!(unpack(packed.slice(..packed.len() - 1), 40_000), None);
        assert_eq!(unpack(plain.clone(), 40_000), Some(plain));
    }
}
