//! Parquet's hybrid of run lengths and packed bits, for levels and for keys into a dictionary
//! (`Encodings.md` of apache/parquet-format, "Run Length Encoding / Bit-Packing Hybrid").

/// Values packed together: the format counts in groups of that many.
const GROUP: usize = 8;

/// Bits that hold 0..=`greatest`.
pub(super) fn bit_width(greatest: u32) -> u32 {
    u32::BITS - greatest.leading_zeros()
}

/// Appends the values, each below `1 << width`. Runs of eight and more become a run, what is
/// between them packed bits.
pub(super) fn encode(values: &[u32], width: u32, out: &mut Vec<u8>) {
    let mut packed_from = 0;
    let mut at = 0;
    while at < values.len() {
        let value = values[at];
        let run = values[at..].iter().take_while(|other| **other == value).count();
        // Packed bits before a run have to be whole groups: it lends what they lack.
        let lent = (packed_from..at).len().next_multiple_of(GROUP) - (at - packed_from);
        if run >= lent + GROUP {
            pack(&values[packed_from..at + lent], width, out);
            put_number(((run - lent) as u64) << 1, out);
            out.extend_from_slice(&value.to_le_bytes()[..width.div_ceil(8) as usize]);
            packed_from = at + run;
        }
        at += run;
    }
    pack(&values[packed_from..], width, out);
}

/// Packs values, and as many zeros as the last group lacks.
fn pack(values: &[u32], width: u32, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(GROUP);
    put_number((groups as u64) << 1 | 1, out);
    let mut bits: u64 = 0;
    let mut filled = 0;
    let zeros = std::iter::repeat_n(&0, groups * GROUP - values.len());
    for value in values.iter().chain(zeros) {
        bits |= u64::from(*value) << filled;
        filled += width;
        if filled >= 32 {
            out.extend_from_slice(&(bits as u32).to_le_bytes());
            bits >>= 32;
            filled -= 32;
        }
    }
    // A group is as many bytes as a value has bits.
    out.extend_from_slice(&(bits as u32).to_le_bytes()[..filled.div_ceil(8) as usize]);
}

fn put_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(bytes: &mut &[u8]) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return number;
            }
        }
    }

    /// As the format describes it, bit by bit.
    fn decode(mut bytes: &[u8], width: u32) -> Vec<u32> {
        let mut values = Vec::new();
        while !bytes.is_empty() {
            let header = number(&mut bytes);
            if header & 1 == 0 {
                let length = width.div_ceil(8) as usize;
                let mut value = [0; 4];
                value[..length].copy_from_slice(&bytes[..length]);
                bytes = &bytes[length..];
                values.extend((0..header >> 1).map(|_| u32::from_le_bytes(value)));
            } else {
                let packed = (header >> 1) as usize * width as usize;
                let bit = |at: usize| u32::from(bytes[at / 8] >> (at % 8) & 1);
                let width = width as usize;
                values.extend(
                    (0..(header >> 1) as usize * GROUP).map(|value| {
                        (0..width).map(|at| bit(value * width + at) << at).sum::<u32>()
                    }),
                );
                bytes = &bytes[packed..];
            }
        }
        values
    }

    proptest! {
        #[test]
        fn every_value_comes_back(
            runs in prop::collection::vec((any::<u32>(), 1_usize..40), 0..30), width in 1_u32..=32
        ) {
            let mask = u32::MAX >> (32 - width);
            let values: Vec<u32> =
                runs.iter().flat_map(|&(value, run)| std::iter::repeat_n(value & mask, run)).collect();
            let mut out = Vec::new();
            encode(&values, width, &mut out);
            let decoded = decode(&out, width);
            prop_assert!(decoded.len() < values.len() + GROUP);
            prop_assert_eq!(&decoded[..values.len()], &values);
        }
    }

    #[test]
    fn runs_are_short() {
        let mut out = Vec::new();
        encode(&[3; 1000], 2, &mut out);
        assert_eq!(out, [0xd0, 0x0f, 3]);
        assert_eq!((bit_width(0), bit_width(1), bit_width(4)), (0, 1, 3));
    }
}
