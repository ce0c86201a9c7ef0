//! A disk that loses what was not synced.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Arc, Mutex};

use super::folder::Folder;

/// What is in the folder; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(pub(crate) Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(crate) struct State {
    segments: BTreeMap<u64, Segment>,
    /// Removed, but not yet for ever.
    removed: BTreeMap<u64, Segment>,
    newest: Option<u64>,
    /// Bytes until it is full.
    pub(crate) room: Option<usize>,
    /// The next sync fails.
    pub(crate) fail_sync: bool,
    /// The next sync is not made: the process dies first.
    pub(crate) die_at_sync: bool,
    /// Cuts fail.
    pub(crate) fail_cut: bool,
    /// Chooses what is lost.
    pub(crate) dice: u64,
}

#[derive(Clone, Debug, Default)]
struct Segment {
    bytes: Vec<u8>,
    synced: usize,
}

impl State {
    fn roll(&mut self) -> usize {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.dice >> 33) as usize
    }

    fn newest(&mut self) -> io::Result<&mut Segment> {
        let newest = self.newest.and_then(|number| self.segments.get_mut(&number));
        newest.ok_or_else(|| io::Error::other("no segment"))
    }

    /// Pages that were not synced are lost, any of them.
    fn lose_pages(&mut self, number: u64) {
        let Some(mut segment) = self.segments.remove(&number) else { return };
        let unsynced = segment.bytes.len() - segment.synced;
        if unsynced > 0 {
            let keep = self.roll() % (unsynced + 1);
            segment.bytes.truncate(segment.synced + keep);
            for _ in 0..self.roll() % 3 {
                let at = segment.synced + self.roll() % keep.max(1);
                let end = (at + 1 + self.roll() % 64).min(segment.bytes.len());
                segment.bytes[at.min(end)..end].fill(0);
            }
        }
        segment.synced = segment.bytes.len();
        self.segments.insert(number, segment);
    }

    /// The power fails.
    pub(crate) fn fail_power(&mut self) {
        let numbers: Vec<u64> = self.segments.keys().copied().collect();
        for number in numbers {
            let was_synced = self.segments[&number].synced > 0;
            self.lose_pages(number);
            if !was_synced && self.roll().is_multiple_of(2) {
                self.segments.remove(&number);
            }
        }
        // A removal is not synced either.
        for (number, segment) in std::mem::take(&mut self.removed) {
            if self.roll().is_multiple_of(2) {
                self.segments.insert(number, segment);
            }
        }
    }

    pub(crate) fn segments(&self) -> Vec<u64> {
        self.segments.keys().copied().collect()
    }

    pub(crate) fn bytes(&mut self, number: u64) -> &mut Vec<u8> {
        &mut self.segments.get_mut(&number).unwrap().bytes
    }
}

impl Folder for Disk {
    fn list(&mut self) -> io::Result<Vec<u64>> {
        Ok(self.0.lock().unwrap().segments())
    }

    fn read(&mut self, number: u64) -> io::Result<Vec<u8>> {
        let state = self.0.lock().unwrap();
        let segment = state.segments.get(&number);
        segment.map(|segment| segment.bytes.clone()).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn create(&mut self, number: u64) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if state.room == Some(0) {
            return Err(ErrorKind::StorageFull.into());
        }
        assert!(state.segments.insert(number, Segment::default()).is_none());
        state.removed.remove(&number);
        state.newest = Some(number);
        Ok(())
    }

    fn append(&mut self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let room = state.room.unwrap_or(usize::MAX);
        let fits = bytes.len().min(room);
        state.newest()?.bytes.extend(&bytes[..fits]);
        if state.room.is_some() {
            state.room = Some(room - fits);
        }
        if fits < bytes.len() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if std::mem::take(&mut state.die_at_sync) {
            return Err(io::Error::other("killed"));
        }
        if std::mem::take(&mut state.fail_sync) {
            let newest = state.newest.ok_or(ErrorKind::NotFound)?;
            state.lose_pages(newest);
            return Err(io::Error::other("input/output error"));
        }
        let newest = state.newest()?;
        newest.synced = newest.bytes.len();
        Ok(())
    }

    fn sync_again(&mut self, number: u64) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let segment = state.segments.get_mut(&number).ok_or(ErrorKind::NotFound)?;
        segment.synced = segment.bytes.len();
        Ok(())
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if state.fail_cut {
            return Err(ErrorKind::ReadOnlyFilesystem.into());
        }
        let newest = state.newest()?;
        newest.bytes.truncate(len as usize);
        newest.synced = newest.synced.min(len as usize);
        Ok(())
    }

    fn remove(&mut self, number: u64) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let segment = state.segments.remove(&number).ok_or(ErrorKind::NotFound)?;
        state.removed.insert(number, segment);
        Ok(())
    }
}
