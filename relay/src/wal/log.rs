//! The log itself: segments of frames, what is in them, and when they may go.
//!
//! In: groups of records with positions that count up by one, how far rows are stored. Out: what
//! is there when it is opened, each position once and in order.
//!
//! * A group is there when [`Log::append`] returns; with [`Fsync::Batch`] also after a power failure.
//! * A segment once written is never changed. After an error, and in each life of the process, a new
//!   one is begun; a group that failed is written there again as a whole, and the later copy counts.
//! * Each frame says which positions were acknowledged before it. So what is missing when the log is
//!   read was either never acknowledged, or is lost and counted.
//! * A segment goes when all of its records are stored. The begin of the next one says how far that
//!   is, so positions go on and nothing is read twice even if nobody else remembers.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, IoSlice};
use std::ops::Range;

use arrow::buffer::Buffer;

use super::folder::Folder;
use super::frame::{Frames, HEADER_LEN, Head, Kind};
use super::record::{Entry, Record};
use crate::config::Fsync;

/// Where the payload of a position lies.
type Place = (u64, Range<usize>, Kind);

/// The log of a relay.
#[derive(Debug)]
pub(crate) struct Log<F> {
    folder: F,
    salt: u32,
    fsync: Fsync,
    /// A segment of that many bytes gets no further record.
    segment_bytes: u64,
    closed: VecDeque<Segment>,
    active: Option<Segment>,
    next_number: u64,
    /// Last position that is there.
    last: u64,
    /// Last position that was acknowledged.
    acknowledged: u64,
    /// Every position up to this one is stored elsewhere.
    flushed: u64,
    unsynced: bool,
    headers: Vec<[u8; HEADER_LEN]>,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    number: u64,
    /// No position in it is higher.
    last: u64,
    bytes: u64,
    /// Holds more than its begin.
    is_used: bool,
}

/// What one position of the log brings when it is opened.
#[derive(Debug)]
pub(crate) enum Replayed {
    /// A record.
    Entry(Entry),
    /// Nothing that was ever acknowledged.
    Absent,
    /// Nothing, and a record of [`Notes`](Entry::Notes) speaks of it.
    Known,
    /// Acknowledged and not readable, for this reason.
    Lost(String),
}

impl<F: Folder> Log<F> {
    /// Reads what is there behind `flushed` and calls `each` with every position, in order. If it
    /// finds any absent or lost, the first record appended has to be notes that speak of them.
    ///
    /// # Errors
    /// The folder or a segment cannot be read.
    pub(crate) fn open(
        mut folder: F,
        salt: u32,
        fsync: Fsync,
        segment_bytes: u64,
        flushed: u64,
        mut each: impl FnMut(u64, Replayed),
    ) -> io::Result<Self> {
        let mut numbers = folder.list()?;
        numbers.sort_unstable();
        let mut found = Found { flushed, ..Found::default() };
        let mut closed = VecDeque::new();
        for number in &numbers {
            let bytes = read(&mut folder, *number)?;
            // A process that was killed may not have come to it, and what is read counts as there.
            if fsync != Fsync::Never {
                folder.sync_again(*number)?;
            }
            let last = found.index(*number, &bytes, salt);
            closed.push_back(Segment {
                number: *number,
                last,
                bytes: bytes.len() as u64,
                is_used: true,
            });
        }
        let last = found.last();
        replay(&mut folder, &found, last, &mut each)?;
        let mut log = Self {
            folder,
            salt,
            fsync,
            segment_bytes,
            closed,
            active: None,
            next_number: numbers.last().map_or(1, |last| last + 1),
            last,
            acknowledged: found.acknowledged,
            flushed: found.flushed,
            unsynced: false,
            headers: Vec::new(),
        };
        // Before anything goes: its begin remembers the position.
        match log.begin() {
            Ok(()) => log.drop_stored(),
            Err(error) => tracing::warn!(%error, "cannot begin a segment of the write-ahead log"),
        }
        Ok(log)
    }

    /// Last position that is there.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.closed.iter().chain(&self.active).map(|segment| segment.bytes).sum()
    }

    /// How many segments there are.
    pub(crate) fn segments(&self) -> usize {
        self.closed.len() + usize::from(self.active.is_some())
    }

    /// Writes records with the positions that follow [`last`](Self::last), all or none.
    ///
    /// # Errors
    /// They are not there; the same group may be tried again.
    pub(crate) fn append(&mut self, group: &[Record]) -> io::Result<()> {
        let Some(last) = group.last().map(|record| record.position) else { return Ok(()) };
        if self.active.is_none_or(|active| active.bytes >= self.segment_bytes) {
            self.begin()?;
        }
        let Some(mut active) = self.active.take() else { return Ok(()) };
        let written = self.write(group);
        let synced = match written {
            Ok(_) if self.fsync == Fsync::Batch => self.folder.sync(),
            _ => Ok(()),
        };
        match (written, synced) {
            (Ok(bytes), Ok(())) => {
                active = Segment { bytes: active.bytes + bytes, last, is_used: true, ..active };
                self.active = Some(active);
                self.unsynced = self.fsync == Fsync::Interval;
                (self.last, self.acknowledged) = (last, last);
                Ok(())
            }
            (Err(error), _) => {
                // A part of it may be there.
                match self.folder.cut(active.bytes) {
                    Ok(()) => self.active = Some(active),
                    Err(_) => self.closed.push_back(Segment { last, ..active }),
                }
                Err(error)
            }
            (_, Err(error)) => {
                // Nobody knows what is there, and a second sync would not tell.
                let cut = self.folder.cut(active.bytes);
                if active.is_used || cut.is_err() || self.folder.remove(active.number).is_err() {
                    self.closed.push_back(Segment { last, ..active });
                }
                Err(error)
            }
        }
    }

    /// With [`Fsync::Interval`]: what is there survives a power failure.
    ///
    /// # Errors
    /// A part of it may not.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.unsynced) {
            return Ok(());
        }
        self.folder.sync().inspect_err(|_| self.closed.extend(self.active.take()))
    }

    /// Everything up to a position is stored: the segments that hold only such records go.
    pub(crate) fn release(&mut self, flushed: u64) {
        self.flushed = self.flushed.max(flushed);
        let is_active_stored =
            self.active.is_none_or(|active| active.last <= self.flushed && active.is_used);
        // Where there is no room for a new one, this one stays until there is.
        if is_active_stored && let Err(error) = self.begin() {
            tracing::warn!(%error, "cannot begin a segment of the write-ahead log");
        }
        self.drop_stored();
    }

    /// Begins a segment; the one before gets no further record.
    fn begin(&mut self) -> io::Result<()> {
        self.sync()?;
        let number = self.next_number;
        self.next_number += 1;
        self.folder.create(number)?;
        let head = Head { kind: Kind::Begin, position: self.last, acknowledged: self.acknowledged };
        let payload = [Buffer::from(self.flushed.to_le_bytes().as_slice())];
        let header = head.encode(&payload, self.salt).ok_or(ErrorKind::InvalidInput)?;
        let begun = self
            .folder
            .append(&mut [IoSlice::new(&header), IoSlice::new(&payload[0])])
            .and_then(|()| if self.fsync == Fsync::Never { Ok(()) } else { self.folder.sync() });
        self.closed.extend(self.active.take());
        if begun.is_err() {
            let _ = self.folder.remove(number);
            return begun;
        }
        let bytes = (HEADER_LEN + payload[0].len()) as u64;
        self.active = Some(Segment { number, last: self.last, bytes, is_used: false });
        Ok(())
    }

    fn write(&mut self, group: &[Record]) -> io::Result<u64> {
        self.headers.clear();
        for record in group {
            let (kind, position) = (record.kind, record.position);
            let head = Head { kind, position, acknowledged: self.acknowledged };
            let header = head.encode(&record.parts, self.salt);
            let too_long = || io::Error::new(ErrorKind::InvalidInput, "a record is too long");
            self.headers.push(header.ok_or_else(too_long)?);
        }
        let mut parts: Vec<IoSlice<'_>> = Vec::new();
        for (header, record) in self.headers.iter().zip(group) {
            parts.push(IoSlice::new(header));
            parts.extend(record.parts.iter().map(|part| IoSlice::new(part)));
        }
        self.folder.append(&mut parts)?;
        Ok(group.iter().map(|record| record.len() as u64).sum())
    }

    fn drop_stored(&mut self) {
        while let Some(oldest) = self.closed.front()
            && oldest.last <= self.flushed
        {
            match self.folder.remove(oldest.number) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    tracing::warn!(%error, "cannot remove a segment of the write-ahead log");
                    return;
                }
                _ => drop(self.closed.pop_front()),
            }
        }
    }
}

/// What the segments hold.
#[derive(Debug, Default)]
struct Found {
    places: BTreeMap<u64, Place>,
    flushed: u64,
    acknowledged: u64,
    /// From the begins of segments.
    begun: u64,
}

impl Found {
    /// Takes in a segment; returns the highest position in it.
    fn index(&mut self, number: u64, bytes: &[u8], salt: u32) -> u64 {
        let mut last = 0;
        for (head, payload) in Frames::new(bytes, salt) {
            self.acknowledged = self.acknowledged.max(head.acknowledged);
            last = last.max(head.position);
            if head.kind == Kind::Begin {
                self.begun = self.begun.max(head.position);
                let flushed =
                    bytes[payload].first_chunk().map_or(0, |text| u64::from_le_bytes(*text));
                self.flushed = self.flushed.max(flushed);
            } else {
                self.places.insert(head.position, (number, payload, head.kind));
            }
        }
        last
    }

    /// The last position that was ever given.
    fn last(&self) -> u64 {
        let there = self.places.last_key_value().map_or(0, |(position, _)| *position);
        there.max(self.begun).max(self.acknowledged).max(self.flushed)
    }
}

fn read(folder: &mut impl Folder, number: u64) -> io::Result<Vec<u8>> {
    folder.read(number).map_err(|error| {
        let text = format!(
            "segment {number} cannot be read: {error}; repair the disk, or move the file away: what is in it is \
             then counted as lost"
        );
        io::Error::new(error.kind(), text)
    })
}

/// Calls `each` with every position behind what is stored.
fn replay(
    folder: &mut impl Folder,
    found: &Found,
    last: u64,
    each: &mut impl FnMut(u64, Replayed),
) -> io::Result<()> {
    let mut segment = (0, Vec::new());
    let mut entry = |position: u64| -> io::Result<Option<Result<Entry, String>>> {
        let Some((number, payload, kind)) = found.places.get(&position) else { return Ok(None) };
        if segment.0 != *number {
            segment = (*number, read(folder, *number)?);
        }
        let payload = segment.1.get(payload.clone());
        let payload = payload.ok_or_else(|| io::Error::other("a segment became shorter"))?;
        Ok(Some(Entry::read(*kind, payload)))
    };
    // What earlier lives found to be lost is counted in their notes.
    let mut counted = Vec::new();
    for (position, (_, _, kind)) in found.places.range(found.flushed + 1..) {
        if *kind == Kind::Notes
            && let Some(Ok(Entry::Notes(notes))) = entry(*position)?
        {
            counted.extend(notes.positions);
        }
    }
    for position in found.flushed + 1..=last {
        let is_counted = counted.iter().any(|(from, to)| (*from..=*to).contains(&position));
        let replayed = match entry(position)? {
            Some(Ok(entry)) => Replayed::Entry(entry),
            _ if is_counted => Replayed::Known,
            Some(Err(cause)) => Replayed::Lost(cause),
            None if position <= found.acknowledged => Replayed::Lost("it is damaged".into()),
            None => Replayed::Absent,
        };
        each(position, replayed);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
