//! Records in a file: a mark, the length and a checksum (CRC-32 of the rest), four bytes each, then
//! the record. The mark is what the search goes for after a record that is damaged.

use std::io::{self, ErrorKind};

use super::files::Files;

/// Bytes before a record.
pub(super) const HEADER_LEN: usize = 12;
const MARK: [u8; 4] = *b"wrec";
/// No record is longer: the largest batch, and what goes with it.
pub(super) const LONGEST: usize = 512 << 20;

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
    header.copy_from_slice(&self::header(&[record])?);
    Ok(())
}

/// What goes before a record of these parts.
///
/// # Errors
/// It is too long.
pub(super) fn header(parts: &[&[u8]]) -> io::Result<[u8; HEADER_LEN]> {
    let len = parts.iter().map(|part| part.len()).sum::<usize>();
    let len = u32::try_from(len).ok().filter(|len| *len as usize <= LONGEST);
    let len =
        len.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "the record is too long"))?;
    let mut checksum = crc32fast::Hasher::new();
    parts.iter().for_each(|part| checksum.update(part));
    let mut header = [0; HEADER_LEN];
    header[..4].copy_from_slice(&MARK);
    header[4..8].copy_from_slice(&len.to_le_bytes());
    header[8..].copy_from_slice(&checksum.finalize().to_le_bytes());
    Ok(header)
}

/// The record of a frame that is whole and no longer than its record.
pub(super) fn record(frame: &[u8]) -> Option<&[u8]> {
    let (header, record) = frame.split_at_checked(HEADER_LEN)?;
    (self::header(&[record]).ok()? == header).then_some(record)
}

/// Reads the records of a file, and goes on behind those that are damaged.
pub(super) struct Frames<'a> {
    files: &'a dyn Files,
    name: &'a str,
    /// Where the next record may be.
    at: u64,
    /// Up to where the file makes sense: the end of the last whole record.
    pub(super) len: u64,
    /// Stretches without a whole record that were followed by one.
    pub(super) damaged: u64,
    /// Bytes of the file from `at` on.
    buffer: Vec<u8>,
    /// How many at its front are done with.
    used: usize,
    ended: bool,
}

/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;

impl<'a> Frames<'a> {
    pub(super) fn new(files: &'a dyn Files, name: &'a str) -> Self {
        let buffer = Vec::new();
        Self { files, name, at: 0, len: 0, damaged: 0, buffer, used: 0, ended: false }
    }

    /// The next whole record, and where its frame begins.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        let begun = self.at;
        loop {
            if !self.fill(HEADER_LEN)? {
                return Ok(None);
            }
            let header = &self.buffer[self.used..self.used + HEADER_LEN];
            let [a, b, c, d, len @ .., _, _, _, _] = header else { return Ok(None) };
            let len = len.try_into().map_or(usize::MAX, |len| u32::from_le_bytes(len) as usize);
            let marked = [*a, *b, *c, *d] == MARK && len <= LONGEST;
            if marked && self.fill(HEADER_LEN + len)? {
                let frame = self.used..self.used + HEADER_LEN + len;
                if record(&self.buffer[frame.clone()]).is_some() {
                    self.damaged += u64::from(begun != self.at);
                    let at = self.at;
                    self.skip(frame.len());
                    self.len = self.at;
                    return Ok(Some((at, &self.buffer[frame.start + HEADER_LEN..frame.end])));
                }
            }
            self.search()?;
        }
    }

    /// Goes on to the next mark.
    fn search(&mut self) -> io::Result<()> {
        self.skip(1);
        while self.fill(MARK.len())? {
            let rest = &self.buffer[self.used..];
            match rest.windows(MARK.len()).position(|bytes| bytes == MARK) {
                Some(0) => return Ok(()),
                Some(skipped) => self.skip(skipped),
                None => self.skip(rest.len() - (MARK.len() - 1)),
            }
        }
        // Too few bytes for anything.
        self.skip(self.buffer.len() - self.used);
        Ok(())
    }

    fn skip(&mut self, bytes: usize) {
        self.used += bytes;
        self.at += bytes as u64;
    }

    /// Whether there are so many bytes from `at` on.
    fn fill(&mut self, bytes: usize) -> io::Result<bool> {
        while self.buffer.len() - self.used < bytes && !self.ended {
            self.buffer.drain(..self.used);
            self.used = 0;
            let there = self.buffer.len();
            // Grows as it reads: the length may be nonsense.
            self.buffer.resize(there + CHUNK, 0);
            let from = self.at + there as u64;
            let read = self.files.read(self.name, from, &mut self.buffer[there..])?;
            self.buffer.truncate(there + read);
            self.ended = read < CHUNK;
        }
        Ok(self.buffer.len() - self.used >= bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::FakeFiles;
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

    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, u64, u64) {
        let files = FakeFiles::default();
        files.append("f", &[bytes]).unwrap();
        let mut frames = Frames::new(&files, "f");
        let mut records = Vec::new();
        while let Some((at, record)) = frames.next().unwrap() {
            assert!(bytes[at as usize + HEADER_LEN..].starts_with(record));
            records.push(record.to_vec());
        }
        (records, frames.len, frames.damaged)
    }

    #[test]
    fn what_is_cut_off_ends_the_file_and_what_is_changed_costs_one_record() {
        let records: [&[u8]; 4] = [b"one", b"", b"wrecwrec", b"three"];
        let bytes = written(&records);
        assert_eq!(read(&bytes), (records.map(<[u8]>::to_vec).to_vec(), 64, 0));
        for len in 0..bytes.len() {
            let (found, whole, damaged) = read(&bytes[..len]);
            assert_eq!(found, records[..found.len()]);
            assert_eq!(whole, [0, 15, 27, 47, 64][found.len()]);
            assert_eq!(damaged, 0);
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            let (found, _, damaged) = read(&changed);
            let hit = [15, 27, 47, 64].iter().position(|end| at < *end).unwrap();
            let mut left = records.to_vec();
            left.remove(hit);
            assert_eq!(found, left, "byte {at}");
            assert_eq!(damaged, u64::from(hit < 3));
        }
    }

    #[test]
    fn records_larger_than_what_is_read_at_once_are_whole() {
        let large = vec![7; 3 * CHUNK];
        let (found, len, _) = read(&written(&[&large, b"small", &large]));
        assert_eq!(found, [large.clone(), b"small".to_vec(), large.clone()]);
        assert_eq!(len as usize, 6 * CHUNK + 5 + 3 * HEADER_LEN);
    }
}
