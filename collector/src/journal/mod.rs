//! What a collector that is killed at any moment leaves to the next one, so that every packet is
//! reported once: which batches the relay does not have yet, up to where the rings are read, and
//! what was reported of each entry of the tables.
//!
//! One file. It begins with a snapshot; each [`Step`] appends a record, and has happened if its
//! record is whole. A batch is sent, ring space given back and an entry removed only after the
//! step that tells of it. What a step costs on disk ends with the next snapshot, which is written
//! aside and takes the file's place; that is due when the steps have outgrown the snapshot, so the
//! file stays within a few times what is unacknowledged, whose bytes the outbox bounds.
//!
//! The journal may fail (a full disk, a file system that is read-only). The collector then goes on
//! without it, under another epoch, so that no two batches ever have one number, and tries to begin
//! anew with a snapshot. A collector that is killed meanwhile goes on from the journal's last step:
//! rows made since are lost if they were not acknowledged, and those of the tables reported again
//! if they were.

mod bytes;
mod frame;
mod restored;
mod step;
mod store;

use std::io::{self, ErrorKind};

use bytes::{Reader, put};
use frame::Frames;
use restored::Adding;
pub(crate) use restored::{KernelPart, Restored};
pub(crate) use step::{Batch, BatchNumber, GivenUp, Settled, Step};
pub(crate) use store::{Directory, Store};

/// First bytes of a journal of this form.
const FORM: u64 = u64::from_le_bytes(*b"weirjr01");
/// Bytes of steps that are always worth keeping.
pub(crate) const SLACK_BYTES: u64 = 16 << 20;

/// The rings and tables that a journal tells of: which since which boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Maps {
    /// The kernel's random number.
    pub(crate) boot: [u8; 16],
    /// Rings, then tables.
    pub(crate) ids: [u32; 5],
}

/// Everything that a journal has to say at a moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The last batch that was numbered.
    pub(crate) last: BatchNumber,
    /// Batches to send, oldest first.
    pub(crate) batches: Vec<Batch>,
    /// Batches given up that the relay may have.
    pub(crate) uncertain: Vec<GivenUp>,
    pub(crate) lost_rows: u64,
    pub(crate) kernel: KernelPart,
}

/// The journal of a node.
pub(crate) struct Journal {
    /// None: nothing is to outlive the process.
    store: Option<Box<dyn Store>>,
    maps: Maps,
    slack_bytes: u64,
    /// Of what is whole.
    len: u64,
    /// Of it, the snapshot.
    snapshot_len: u64,
    /// Why nothing can be appended.
    broken: Option<String>,
    buffer: Vec<u8>,
}

impl Journal {
    /// A journal that keeps nothing.
    pub(crate) fn none() -> Self {
        Self {
            store: None,
            maps: Maps::default(),
            slack_bytes: 0,
            len: 0,
            snapshot_len: 0,
            broken: None,
            buffer: Vec::new(),
        }
    }

    /// Reads what is there. Where it cannot be read, the next snapshot replaces it.
    pub(crate) fn open(
        mut store: Box<dyn Store>,
        maps: Maps,
        slack_bytes: u64,
    ) -> (Self, Restored) {
        let mut adding = Adding::default();
        let read = read(&mut *store, &mut adding);
        let same_maps = adding.maps == maps;
        let restored = adding.finish(maps);
        let mut journal = Self { maps, slack_bytes, ..Self::none() };
        journal.broken = match read {
            Ok(0) => Some("it does not begin yet".into()),
            Ok(_) if !same_maps => Some("it is about other maps".into()),
            Ok(len) => {
                journal.len = len;
                store.cut(len).err().map(|error| error.to_string())
            }
            Err(error) => {
                tracing::error!("the journal cannot be read: {error}");
                Some(error.to_string())
            }
        };
        journal.store = Some(store);
        (journal, restored)
    }

    /// Makes it true, whatever happens to this process from now on.
    ///
    /// # Errors
    /// It is not written, and nothing will be until the next snapshot.
    pub(crate) fn append(&mut self, step: &Step) -> io::Result<()> {
        let Some(store) = &mut self.store else { return Ok(()) };
        if let Some(problem) = &self.broken {
            return Err(io::Error::other(problem.clone()));
        }
        self.buffer.clear();
        let appended = record(&mut self.buffer, |into| step.write(into))
            .and_then(|()| store.append(&self.buffer));
        match appended {
            Ok(()) => {
                self.len += self.buffer.len() as u64;
                Ok(())
            }
            Err(error) => {
                // What is there of it is no whole record; without it others might fit.
                let _ = store.cut(self.len);
                self.broken = Some(error.to_string());
                Err(error)
            }
        }
    }

    /// Begins anew.
    ///
    /// # Errors
    /// It is as it was.
    pub(crate) fn begin(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let Some(store) = &mut self.store else { return Ok(()) };
        let mut len = 0;
        let (maps, buffer) = (self.maps, &mut self.buffer);
        store.replace(&mut |to| {
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
                settled: Settled { acknowledged: Vec::new(), given_up: snapshot.uncertain.clone() },
                lost_rows: snapshot.lost_rows,
                batch: None,
            };
            write(&mut |into| first.write(into))?;
            for batch in &snapshot.batches {
                let lost_rows = snapshot.lost_rows;
                let step = Step { batch: Some(batch.clone()), lost_rows, ..Step::default() };
                write(&mut |into| step.write(into))?;
            }
            Ok(())
        })?;
        (self.len, self.snapshot_len, self.broken) = (len, len, None);
        Ok(())
    }

    /// Whether it is time for [`begin`](Self::begin).
    pub(crate) fn wants_snapshot(&self) -> bool {
        let outgrown = self.len > self.slack_bytes + 2 * self.snapshot_len;
        self.store.is_some() && (self.broken.is_some() || outgrown)
    }

    /// Why nothing is written at present.
    pub(crate) fn problem(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Bytes of it.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }
}

/// Returns how many bytes of what is there are whole.
fn read(store: &mut dyn Store, adding: &mut Adding) -> io::Result<u64> {
    let Some(from) = store.read()? else { return Ok(0) };
    let mut frames = Frames::new(from);
    let (maps, last) = match frames.next()?.map(begin) {
        Some(Some(begun)) => begun,
        Some(None) => {
            let text = "it is of another version, or damaged: its batches are not sent";
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
        None => return Ok(0),
    };
    adding.begin(maps, last);
    let mut len = frames.len;
    while let Some(record) = frames.next()? {
        // Whole and yet not readable: nothing after it can be relied on.
        let Some(step) = Step::read(record) else { break };
        adding.add(step);
        len = frames.len;
    }
    Ok(len)
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
