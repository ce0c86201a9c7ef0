//! Frames of a segment: where each begins, what it is, and whether it is whole.
//!
//! A header, then the payload:
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | [`MAGIC`] |
//! | 4..8 | length of the payload |
//! | 8..16 | position |
//! | 16..24 | every position up to this one was acknowledged when the frame was written |
//! | 24..28 | kind |
//! | 28..32 | CRC-32 of the payload |
//! | 32..36 | CRC-32 of the bytes before |
//!
//! Numbers are little endian. Both checksums begin with the log's salt, so that frames of another
//! log, or bytes in a payload that look like a frame, are none. What is damaged is stepped over to
//! the next whole frame.

use std::ops::Range;

use arrow::buffer::Buffer;
use crc32fast::Hasher;

/// Bytes before a payload.
pub(super) const HEADER_LEN: usize = 36;
/// Longest payload: all that one batch may bring.
pub(super) const LONGEST: usize = 256 << 20;
const MAGIC: [u8; 4] = *b"wlf1";

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The begin of a segment.
    Begin = 1,
    /// A batch of flows, and what was lost before it.
    Flows = 2,
    /// Versions of objects.
    Objects = 3,
    /// What this relay lost.
    Notes = 4,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) position: u64,
    pub(super) acknowledged: u64,
}

impl Head {
    /// The header of a payload that is these parts; `None` if it is too long.
    pub(super) fn encode(&self, parts: &[Buffer], salt: u32) -> Option<[u8; HEADER_LEN]> {
        let len: usize = parts.iter().map(Buffer::len).sum();
        let len = u32::try_from(len).ok().filter(|len| *len as usize <= LONGEST)?;
        let mut payload = Hasher::new_with_initial(salt);
        parts.iter().for_each(|part| payload.update(part));
        let mut header = [0; HEADER_LEN];
        header[..4].copy_from_slice(&MAGIC);
        header[4..8].copy_from_slice(&len.to_le_bytes());
        header[8..16].copy_from_slice(&self.position.to_le_bytes());
        header[16..24].copy_from_slice(&self.acknowledged.to_le_bytes());
        header[24..28].copy_from_slice(&(self.kind as u32).to_le_bytes());
        header[28..32].copy_from_slice(&payload.finalize().to_le_bytes());
        let checksum = checksum(&header[..32], salt);
        header[32..36].copy_from_slice(&checksum.to_le_bytes());
        Some(header)
    }
}

fn checksum(bytes: &[u8], salt: u32) -> u32 {
    let mut hasher = Hasher::new_with_initial(salt);
    hasher.update(bytes);
    hasher.finalize()
}

/// Reads the whole frames of a segment, in order.
pub(super) struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
    salt: u32,
}

impl<'a> Frames<'a> {
    pub(super) fn new(bytes: &'a [u8], salt: u32) -> Self {
        Self { bytes, at: 0, salt }
    }
}

impl Iterator for Frames<'_> {
    /// What it is, and where its payload lies.
    type Item = (Head, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((head, payload)) = read(self.bytes, self.at, self.salt) {
                self.at = payload.end;
                return Some((head, payload));
            }
            let rest = self.bytes.get(self.at + 1..)?;
            self.at += 1 + rest.windows(MAGIC.len()).position(|window| window == MAGIC)?;
        }
    }
}

fn read(bytes: &[u8], at: usize, salt: u32) -> Option<(Head, Range<usize>)> {
    let header: &[u8; HEADER_LEN] = bytes.get(at..)?.first_chunk()?;
    if header[..4] != MAGIC || checksum(&header[..32], salt).to_le_bytes() != header[32..36] {
        return None;
    }
    let kind = match u32::from_le_bytes(*header[24..].first_chunk()?) {
        1 => Kind::Begin,
        2 => Kind::Flows,
        3 => Kind::Objects,
        4 => Kind::Notes,
        _ => return None,
    };
    let len = u32::from_le_bytes(*header[4..].first_chunk()?) as usize;
    let payload = at + HEADER_LEN..(at + HEADER_LEN).checked_add(len)?;
    if checksum(bytes.get(payload.clone())?, salt).to_le_bytes() != header[28..32] {
        return None;
    }
    let head = Head {
        kind,
        position: u64::from_le_bytes(*header[8..].first_chunk()?),
        acknowledged: u64::from_le_bytes(*header[16..].first_chunk()?),
    };
    Some((head, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: u32 = 77;

    fn written(payloads: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (position, payload) in (1..).zip(payloads) {
            let head = Head { kind: Kind::Flows, position, acknowledged: position - 1 };
            let parts = [Buffer::from(*payload)];
            bytes.extend(head.encode(&parts, SALT).unwrap());
            bytes.extend(*payload);
        }
        bytes
    }

    fn positions(bytes: &[u8], salt: u32) -> Vec<u64> {
        Frames::new(bytes, salt).map(|(head, _)| head.position).collect()
    }

    #[test]
    fn whatever_is_damaged_the_other_frames_are_read() {
        let payloads: [&[u8]; 3] = [b"one", b"", b"three"];
        let bytes = written(&payloads);
        let read: Vec<&[u8]> = Frames::new(&bytes, SALT).map(|(_, at)| &bytes[at]).collect();
        assert_eq!(read, payloads);
        assert_eq!(positions(&bytes, SALT + 1), [0u64; 0]);
        let end_of_first = HEADER_LEN + 3;
        let end_of_second = end_of_first + HEADER_LEN;
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            let hit = if at < end_of_first { 1 } else { 2 + u64::from(at >= end_of_second) };
            let expected: Vec<u64> = (1..=3).filter(|position| *position != hit).collect();
            assert_eq!(positions(&changed, SALT), expected, "byte {at}");
        }
        for len in 0..bytes.len() {
            let whole = [end_of_first, end_of_second].iter().filter(|end| **end <= len).count();
            assert_eq!(positions(&bytes[..len], SALT), (1..=whole as u64).collect::<Vec<_>>());
        }
    }

    /// A collector may send anything, frames too.
    #[test]
    fn a_frame_within_a_payload_is_none() {
        let inner = written(&[b"forged"]);
        let mut bytes = Vec::new();
        let head = Head { kind: Kind::Flows, position: 9, acknowledged: 0 };
        bytes.extend(head.encode(&[Buffer::from(inner.as_slice())], SALT + 1).unwrap());
        bytes.extend(&inner);
        assert_eq!(positions(&bytes, SALT + 1), [9]);
        bytes[0] ^= 1;
        assert_eq!(positions(&bytes, SALT + 1), [0u64; 0]);
    }
}
