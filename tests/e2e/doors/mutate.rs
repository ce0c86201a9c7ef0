//! Bytes that were right once.

use crate::random::Random;

/// Changes a few things: bytes, lengths, pieces that are missing, twice or elsewhere, and the end.
pub(super) fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() + 1);
        let rest = bytes.len() - at;
        let length = random.below(rest.min(40) + 1);
        match random.below(9) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..at + length)),
            2 => {
                let piece = bytes[at..at + length].to_vec();
                let to = random.below(bytes.len() + 1);
                drop(bytes.splice(to..to, piece));
            }
            3 => {
                let count = 1 + random.below(20);
                let more = random.bytes(count);
                drop(bytes.splice(at..at, more));
            }
            4 if rest >= 4 => {
                // A length, most likely.
                let number = [0, 1, 0x7f, 0xffff, 0x7fff_ffff, 0xffff_ffff_u32][random.below(6)];
                bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
            }
            _ if rest > 0 => {
                let value = random.within(0..256) as u8;
                bytes[at] = [bytes[at] ^ (1 << (value & 7)), value, 0, 0xff][random.below(4)];
            }
            _ => {}
        }
    }
}
