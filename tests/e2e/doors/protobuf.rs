//! Messages of Protocol Buffers by hand, so that they may say anything.

/// A field that is a number.
pub(super) fn number(field: u32, value: u64) -> Vec<u8> {
    let mut bytes = varint(u64::from(field) << 3);
    bytes.extend(varint(value));
    bytes
}

/// A field that is a text, bytes or a message.
pub(super) fn bytes(field: u32, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    let mut bytes = varint(u64::from(field) << 3 | 2);
    bytes.extend(varint(value.len() as u64));
    bytes.extend(value);
    bytes
}

/// A message of that field in itself, so deep.
pub(super) fn nested(field: u32, depth: usize) -> Vec<u8> {
    (0..depth).fold(Vec::new(), |inner, _| bytes(field, inner))
}

/// What a message has of a field that is bytes, first of them.
pub(super) fn find(message: &[u8], wanted: u32) -> Option<Vec<u8>> {
    let mut rest = message;
    while !rest.is_empty() {
        let (key, after) = read_varint(rest)?;
        rest = match key & 7 {
            0 => read_varint(after)?.1,
            1 => after.get(8..)?,
            5 => after.get(4..)?,
            2 => {
                let (length, after) = read_varint(after)?;
                let (value, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
                if key >> 3 == u64::from(wanted) {
                    return Some(value.to_vec());
                }
                after
            }
            _ => return None,
        };
    }
    None
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().take(10).position(|byte| byte & 0x80 == 0)?;
    let (number, rest) = bytes.split_at(end + 1);
    let value = number.iter().rev().fold(0_u64, |sum, byte| sum << 7 | u64::from(byte & 0x7f));
    Some((value, rest))
}
