//! What a collector that is killed at any moment leaves to the next one, so that every packet is
//! reported once: which batches the relay does not have yet, up to where the rings are read, what
//! was reported of each entry of the tables, and what the ledger has yet to tell.
//!
//! In: batches and [`Step`]s. Out: what the next collector restores, and the batches' bytes for the
//! uplink. Capacity: the outbox's bytes; its module says what is given up.
//!
//! | file | what it holds |
//! |---|---|
//! | `journal` | a snapshot, then the steps since |
//! | `denies-N`, `allows-N` | segments: the bytes of batches of a class |
//!
//! A batch's bytes are written first. A step names them, and has happened if its record is whole;
//! frames that no step names do not count. A batch is sent, ring space given back and an entry removed
//! only after the step that tells of it. A segment goes when none of its batches is needed. What a step
//! costs on disk ends with the next snapshot, which is written aside and takes the file's place; that is
//! due when the steps have outgrown the snapshot.
//!
//! What is damaged costs itself alone. A batch whose bytes are damaged or gone is in the ledger with
//! the counts of its step. Behind a damaged step the next ones hold: what they say is not in terms of
//! it; batches that only it named are known by their frames.
//!
//! The journal may fail (a full disk, a file system that is read-only). The collector then goes on
//! without it, under another epoch, so that no two batches ever have one number, and tries to begin
//! anew with a snapshot. A collector that is killed meanwhile goes on from the journal's last step:
//! rows made since are lost if they were not acknowledged, and those of the tables reported again
//! if they were.

mod bytes;
#[cfg(test)]
pub(crate) mod fake;
mod files;
mod frame;
mod packed;
mod restored;
mod segments;
mod step;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::io::{self, ErrorKind};
use std::sync::Arc;

use arrow_flight::FlightData;
use bytes::{Reader, put};
pub(crate) use files::{Directory, Files};
use frame::Frames;
pub(crate) use packed::pack;
use restored::Adding;
pub(crate) use restored::{KernelPart, Restored};
use segments::Segments;
pub(crate) use segments::{LEAST_BYTES, Segment, SpoolReader};
pub(crate) use step::{Batch, BatchNumber, Place, Rows, Step};
use weir_flow::wire::LossEntry;

use crate::ledger::{Class, Tally, stage};

/// First bytes of a journal of any form.
const MARK: &[u8] = b"weirjr";
/// First bytes of a journal of this form.
const FORM: u64 = u64::from_le_bytes(*b"weirjr03");
/// The file of steps.
const FILE: &str = "journal";
/// Batches in a record of a snapshot.
const BATCHES: usize = 1_000;

/// The rings and tables that a journal tells of: which since which boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Maps {
    /// The kernel's random number.
    pub(crate) boot: [u8; 16],
    /// Rings, then tables.
    pub(crate) ids: [u32; 5],
}

/// Bytes of a journal's files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Bytes of steps that are always worth keeping.
    pub(crate) slack: u64,
    /// Bytes after which another segment is begun.
    pub(crate) segment: u64,
}

/// Everything that a journal has to say at a moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The last batch that was numbered.
    pub(crate) last: BatchNumber,
    /// Batches to send, oldest first.
    pub(crate) batches: Vec<Batch>,
    /// Entries of the ledger that are in no batch.
    pub(crate) pending: Vec<LossEntry>,
    pub(crate) kernel: KernelPart,
}

/// The journal of a node.
pub(crate) struct Journal {
    /// None: nothing is to outlive the process.
    files: Option<Arc<dyn Files>>,
    maps: Maps,
    slack_bytes: u64,
    segments: Segments,
    /// Of what is whole.
    len: u64,
    /// Of it, the snapshot.
    snapshot_len: u64,
    /// Why nothing can be appended.
    broken: Option<String>,
    /// Files with bytes that would not outlive the machine.
    unsynced: BTreeSet<String>,
    buffer: Vec<u8>,
}

impl Journal {
    /// A journal that keeps nothing.
    pub(crate) fn none() -> Self {
        Self {
            files: None,
            maps: Maps::default(),
            slack_bytes: 0,
            segments: Segments::new(0, 0),
            len: 0,
            snapshot_len: 0,
            broken: None,
            unsynced: BTreeSet::new(),
            buffer: Vec::new(),
        }
    }

    /// Reads what is there. Where it cannot be read, the next snapshot replaces it.
    pub(crate) fn open(files: Arc<dyn Files>, maps: Maps, sizes: Sizes) -> (Self, Restored) {
        let mut adding = Adding::default();
        let read = read(&*files, &mut adding);
        let same_maps = adding.maps == maps;
        let mut restored = adding.finish(maps);
        let mut journal = Self { maps, slack_bytes: sizes.slack, ..Self::none() };
        let tidied = tidy(&*files, &mut restored, read.is_ok());
        journal.segments = Segments::new(sizes.segment, *tidied.as_ref().unwrap_or(&0));
        journal.broken = match read.and_then(|len| tidied.map(|_| len)) {
            Ok(0) => Some("it does not begin yet".into()),
            Ok(_) if !same_maps => Some("it is about other maps".into()),
            Ok(len) => {
                journal.len = len;
                files.cut(FILE, len).err().map(|error| error.to_string())
            }
            Err(error) => {
                tracing::error!("the journal cannot be read: {error}");
                Some(error.to_string())
            }
        };
        journal.files = Some(files);
        (journal, restored)
    }

    /// What reads batches back; none if there is nothing to read.
    pub(crate) fn reader(&self) -> Option<SpoolReader> {
        self.files.clone().map(SpoolReader)
    }

    /// Writes the bytes of a batch, for the next step to name. None: there is no place for them.
    ///
    /// # Errors
    /// They are not written.
    pub(crate) fn store(
        &mut self,
        of: (Class, Tally),
        number: BatchNumber,
        messages: &[FlightData],
    ) -> io::Result<Option<Place>> {
        let Some(files) = &self.files else { return Ok(None) };
        let place = self.segments.store(&**files, of, number, messages)?;
        self.unsynced.insert(segments::name((of.0, place.segment)));
        Ok(Some(place))
    }

    /// Removes segments that nobody needs any more, unless they still grow. Returns which are gone.
    pub(crate) fn drop_unused(&mut self, unused: Vec<Segment>) -> Vec<Segment> {
        let gone: Vec<_> =
            unused.into_iter().filter(|segment| !self.segments.keeps(*segment)).collect();
        self.remove(&gone);
        gone
    }

    /// Removes segments, whatever is in them.
    pub(crate) fn remove(&mut self, segments: &[Segment]) {
        let Some(files) = &self.files else { return };
        for segment in segments {
            self.segments.close(*segment);
            let name = segments::name(*segment);
            self.unsynced.remove(&name);
            if let Err(error) = files.remove(&name) {
                // The next collector finds that nobody names it.
                tracing::warn!("{name} cannot be removed from the spool: {error}");
            }
        }
    }

    /// Makes it true, whatever happens to this process from now on.
    ///
    /// # Errors
    /// It is not written. The same step may be tried once more, or [`give_up`](Self::give_up) called.
    pub(crate) fn append(&mut self, step: &Step) -> io::Result<()> {
        let Some(files) = &self.files else { return Ok(()) };
        if let Some(problem) = &self.broken {
            return Err(io::Error::other(problem.clone()));
        }
        self.buffer.clear();
        record(&mut self.buffer, |into| step.write(into))?;
        match files.append(FILE, &[&self.buffer]) {
            Ok(()) => {
                self.len += self.buffer.len() as u64;
                self.unsynced.insert(FILE.to_owned());
                Ok(())
            }
            Err(error) => {
                // What is there of it is no whole record; others must not stand behind it.
                if let Err(error) = files.cut(FILE, self.len) {
                    self.broken = Some(error.to_string());
                }
                Err(error)
            }
        }
    }

    /// A step could not be written: nothing will be until the next snapshot.
    pub(crate) fn give_up(&mut self, problem: &io::Error) {
        self.broken.get_or_insert_with(|| problem.to_string());
    }

    /// Begins anew.
    ///
    /// # Errors
    /// It is as it was.
    pub(crate) fn begin(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let Some(files) = &self.files else { return Ok(()) };
        let mut len = 0;
        let (maps, buffer) = (self.maps, &mut self.buffer);
        files.replace(FILE, &mut |to| {
            len = 0;
            let mut write = |fill: &mut dyn FnMut(&mut Vec<u8>)| {
                buffer.clear();
                record(buffer, fill)?;
                len += buffer.len() as u64;
                to.write_all(buffer)
            };
            write(&mut |into| {
                put(FORM, into);
                into.extend(maps.boot);
                maps.ids.iter().for_each(|id| put(*id, into));
                snapshot.last.write(into);
            })?;
            let kernel = &snapshot.kernel;
            let first = Step {
                positions: Some(kernel.positions),
                totals: kernel.totals.clone(),
                mark: Some(kernel.mark.clone()),
                accounts: kernel.accounts,
                pending: Some(snapshot.pending.clone()),
                ..Step::default()
            };
            write(&mut |into| first.write(into))?;
            for batches in snapshot.batches.chunks(BATCHES) {
                let step = Step { batches: batches.to_vec(), ..Step::default() };
                write(&mut |into| step.write(into))?;
            }
            Ok(())
        })?;
        (self.len, self.snapshot_len, self.broken) = (len, len, None);
        self.unsynced.insert(FILE.to_owned());
        Ok(())
    }

    /// Whether it is time for [`begin`](Self::begin).
    pub(crate) fn wants_snapshot(&self) -> bool {
        let outgrown = self.len > self.slack_bytes + 2 * self.snapshot_len;
        self.files.is_some() && (self.broken.is_some() || outgrown)
    }

    /// Whether steps are written at present.
    pub(crate) fn keeps(&self) -> bool {
        self.files.is_some() && self.broken.is_none()
    }

    /// Where it is.
    pub(crate) fn files(&self) -> Option<Arc<dyn Files>> {
        self.files.clone()
    }

    /// Why nothing is written at present.
    pub(crate) fn problem(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Bytes of the file of steps.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// What is to be synced, in this order, so that the machine may fail: segments, then the journal.
    pub(crate) fn take_unsynced(&mut self) -> Vec<String> {
        let journal = self.unsynced.take(FILE);
        std::mem::take(&mut self.unsynced).into_iter().chain(journal).collect()
    }

    /// Makes all that is written outlive the machine.
    ///
    /// # Errors
    /// Nobody knows what of it does.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        let unsynced = self.take_unsynced();
        let Some(files) = &self.files else { return Ok(()) };
        unsynced.iter().try_for_each(|name| files.sync(name))
    }
}

/// Returns how many bytes of what is there make sense.
fn read(files: &dyn Files, adding: &mut Adding) -> io::Result<u64> {
    if !files.list()?.iter().any(|(name, _)| name == FILE) {
        return Ok(0);
    }
    let mut frames = Frames::new(files, FILE);
    while let Some((_, record)) = frames.next()? {
        let known = if record.starts_with(MARK) {
            begin(record).map(|(maps, last)| adding.begin(maps, last))
        } else {
            Step::read(record).map(|step| adding.add(step))
        };
        if known.is_none() {
            let text = "it is of another version: its batches are not sent";
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
    }
    let (len, damaged) = (frames.len, frames.damaged);
    if damaged > 0 {
        tracing::error!(
            damaged,
            "the journal is damaged: what the tables counted may be reported twice"
        );
        find(files, adding)?;
    }
    Ok(len)
}

/// Looks for batches that damaged steps have named.
fn find(files: &dyn Files, adding: &mut Adding) -> io::Result<()> {
    for (file, _) in files.list()? {
        let Some((_, segment)) = segments::segment(&file) else { continue };
        let mut frames = Frames::new(files, &file);
        while let Some((at, record)) = frames.next()? {
            let Some((number, head)) = segments::head(record) else { continue };
            let len = (frame::HEADER_LEN + record.len()) as u64;
            let place = Some(Place { segment, at, len });
            let rows = Some(Rows { class: head.class, tally: head.tally, place });
            adding.found(Batch { number, first: number.sequence, rows, losses: Vec::new() });
        }
    }
    Ok(())
}

/// Gives up batches whose bytes are gone, and removes segments that nobody names. Returns a number that
/// no segment has.
fn tidy(files: &dyn Files, restored: &mut Restored, all_known: bool) -> io::Result<u64> {
    let there: HashMap<Segment, u64> = files
        .list()?
        .into_iter()
        .filter_map(|(name, len)| Some((segments::segment(&name)?, len)))
        .collect();
    let mut named = BTreeSet::new();
    for batch in &mut restored.batches {
        let Some(Rows { class, place, .. }) = batch.rows else { continue };
        // Without a place it was in memory.
        let place = place.filter(|place| {
            let len = there.get(&(class, place.segment)).copied().unwrap_or(0);
            place.at.saturating_add(place.len) <= len
        });
        match place {
            Some(place) => drop(named.insert((class, place.segment))),
            None => batch.give_up(stage::SPOOL, "gone from the spool"),
        }
    }
    for segment in there.keys().filter(|segment| all_known && !named.contains(segment)) {
        files.remove(&segments::name(*segment))?;
    }
    Ok(there.keys().map(|(_, number)| number + 1).max().unwrap_or(0))
}

/// The first record.
fn begin(record: &[u8]) -> Option<(Maps, BatchNumber)> {
    let mut from = Reader(record);
    if from.get::<u64>()? != FORM {
        return None;
    }
    let (boot, rest) = from.0.split_first_chunk::<16>()?;
    from.0 = rest;
    let mut ids = [0; 5];
    for id in &mut ids {
        *id = from.get()?;
    }
    Some((Maps { boot: *boot, ids }, BatchNumber::read(&mut from)?))
}

fn record(into: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
    let at = frame::begin(into);
    fill(into);
    frame::end(into, at)
}
