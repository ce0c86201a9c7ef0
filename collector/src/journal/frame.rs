//! Records in a file: four bytes of length, four of checksum (CRC-32 of the rest), the record.

use std::io::{self, ErrorKind, Read};

/// Bytes before a record.
const HEADER_LEN: usize = 8;
/// No record is longer: the largest batch, and what goes with it.
const LONGEST: usize = 512 << 20;

/// Begins a record at the end of `into`; [`end`] ends it.
pub(super) fn begin(into: &mut Vec<u8>) -> usize {
    let at = into.len();
    into.extend([0; HEADER_LEN]);
    at
}

/// Ends the record that was begun at `at`.
///
/// # Errors
/// It is too long.
pub(super) fn end(into: &mut [u8], at: usize) -> io::Result<()> {
    let (header, record) = into[at..].split_at_mut(HEADER_LEN);
    let len = u32::try_from(record.len()).ok().filter(|len| *len as usize <= LONGEST);
    let len =
        len.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "the record is too long"))?;
    header[..4].copy_from_slice(&len.to_le_bytes());
    header[4..].copy_from_slice(&crc32fast::hash(record).to_le_bytes());
    Ok(())
}

/// Reads records until the end, or until one that is not whole.
pub(super) struct Frames<R> {
    from: R,
    /// Bytes of whole records so far.
    pub(super) len: u64,
    record: Vec<u8>,
}

impl<R: Read> Frames<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, len: 0, record: Vec::new() }
    }

    /// The next whole record.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let mut header = [0; HEADER_LEN];
        if !fill(&mut self.from, &mut header)? {
            return Ok(None);
        }
        let [a, b, c, d, checksum @ ..] = header;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        if len > LONGEST {
            return Ok(None);
        }
        self.record.clear();
        // Grows as it reads: the length may be nonsense.
        (&mut self.from).take(len as u64).read_to_end(&mut self.record)?;
        if self.record.len() < len || crc32fast::hash(&self.record).to_le_bytes() != checksum {
            return Ok(None);
        }
        self.len += (HEADER_LEN + len) as u64;
        Ok(Some(&self.record))
    }
}

/// False: there is less.
fn fill(from: &mut impl Read, into: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(into) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(records: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for record in records {
            let at = begin(&mut bytes);
            bytes.extend_from_slice(record);
            end(&mut bytes, at).unwrap();
        }
        bytes
    }

    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, u64) {
        let mut frames = Frames::new(bytes);
        let mut records = Vec::new();
        while let Some(record) = frames.next().unwrap() {
            records.push(record.to_vec());
        }
        (records, frames.len)
    }

    #[test]
    fn whatever_is_cut_off_or_changed_the_records_before_it_are_read() {
        let bytes = written(&[b"one", b"", b"three"]);
        let whole = read(&bytes);
        assert_eq!(whole, (vec![b"one".to_vec(), Vec::new(), b"three".to_vec()], 32));
        for len in 0..bytes.len() {
            let (records, read) = read(&bytes[..len]);
            assert_eq!(records, whole.0[..records.len()]);
            assert_eq!(read, [0, 11, 19, 32][records.len()]);
            assert!((read as usize) <= len);
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            let (records, _) = read(&changed);
            assert_eq!(records, whole.0[..records.len()]);
            assert!(records.len() < 3);
        }
    }
}
