//! What one write says.

use weir_flow::wire::{self, LossEntry};

use super::Segment;
use super::bytes::{Reader, put, put_bytes, put_list, put_option};
use crate::kernel::{Plain, Positions, ScanMark, Totals, Which};
use crate::ledger::{Accounts, Class, Tally};

/// Everything that becomes true at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Step {
    /// New batches, and others in the place of those that have their numbers.
    pub(crate) batches: Vec<Batch>,
    /// The relay has these, and those of the same epoch before them.
    pub(crate) acknowledged: Vec<BatchNumber>,
    /// Up to where the events of the rings are in batches.
    pub(crate) positions: Option<Positions>,
    /// What of the tables' entries is in batches: of those that this step's rows are of.
    pub(crate) totals: Totals,
    /// A scan is in batches as a whole.
    pub(crate) mark: Option<ScanMark>,
    /// What of the kernel's counters is in batches and ledger.
    pub(crate) accounts: Option<Accounts>,
    /// All entries of the ledger that are in no batch.
    pub(crate) pending: Option<Vec<LossEntry>>,
}

/// A batch on its way to the relay, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Which one.
    pub(crate) number: BatchNumber,
    /// The first of the numbers that it stands for. Several of them only where batches that were
    /// given up have become one; all but the last of them are sent as batches of nothing.
    pub(crate) first: u64,
    /// None: there are none, or they were given up.
    pub(crate) rows: Option<Rows>,
    /// Entries of the ledger that go with it.
    pub(crate) losses: Vec<LossEntry>,
}

/// The rows of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) class: Class,
    pub(crate) tally: Tally,
    /// None: in memory only.
    pub(crate) place: Option<Place>,
}

/// Where the bytes of a batch are, in the segments of its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    /// Where its frame begins.
    pub(crate) at: u64,
    /// Bytes of the frame.
    pub(crate) len: u64,
}

/// Which batch of a collector: [`BatchId::epoch`](weir_flow::wire::BatchId::epoch) and
/// [`BatchId::sequence`](weir_flow::wire::BatchId::sequence).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BatchNumber {
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
}

impl Step {
    pub(super) fn write(&self, into: &mut Vec<u8>) {
        put_list(&self.batches, into, Batch::write);
        put_list(&self.acknowledged, into, |number, into| number.write(into));
        put_option(self.positions.as_ref(), into, |positions, into| put(*positions, into));
        put_list(&self.totals.connections, into, |(which, totals), into| {
            put_which(which, into);
            put(*totals, into);
        });
        put_list(&self.totals.denies, into, |(which, totals), into| {
            put_which(which, into);
            put(*totals, into);
        });
        put_option(self.mark.as_ref(), into, put_mark);
        put_option(self.accounts.as_ref(), into, |accounts, into| put(*accounts, into));
        put_option(self.pending.as_ref(), into, put_losses);
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        let step = Self {
            batches: from.list(Batch::read)?,
            acknowledged: from.list(BatchNumber::read)?,
            positions: from.option(Reader::get)?,
            totals: Totals {
                connections: from.list(|from| Some((which(from)?, from.get()?)))?,
                denies: from.list(|from| Some((which(from)?, from.get()?)))?,
            },
            mark: from.option(mark)?,
            accounts: from.option(Reader::get)?,
            pending: from.option(losses)?,
        };
        from.0.is_empty().then_some(step)
    }
}

impl Batch {
    /// Where the bytes of its rows are.
    pub(crate) fn segment(&self) -> Option<Segment> {
        let rows = self.rows?;
        Some((rows.class, rows.place?.segment))
    }

    /// Its rows are given up: the ledger tells of them instead.
    pub(crate) fn give_up(&mut self, stage: &str, reason: &str) {
        if let Some(rows) = self.rows.take() {
            self.losses.extend(rows.tally.losses(stage, reason));
        }
    }

    fn write(&self, into: &mut Vec<u8>) {
        self.number.write(into);
        put(self.first, into);
        put_option(self.rows.as_ref(), into, |rows, into| {
            rows.head().write(into);
            put_option(rows.place.as_ref(), into, |place, into| {
                [place.segment, place.at, place.len].iter().for_each(|part| put(*part, into));
            });
        });
        put_losses(&self.losses, into);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            number: BatchNumber::read(from)?,
            first: from.get()?,
            rows: from.option(|from| {
                let Head { class, tally } = Head::read(from)?;
                let place = from.option(|from| {
                    Some(Place { segment: from.get()?, at: from.get()?, len: from.get()? })
                })?;
                Some(Rows { class, tally, place })
            })?,
            losses: losses(from)?,
        })
    }
}

impl Rows {
    fn head(&self) -> Head {
        Head { class: self.class, tally: self.tally }
    }
}

/// What journal and segment both say of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) class: Class,
    pub(super) tally: Tally,
}

impl Head {
    pub(super) fn write(self, into: &mut Vec<u8>) {
        put(u64::from(self.class == Class::Allows), into);
        let Tally { rows, allow, deny, audit, continued, from_ns, to_ns } = self.tally;
        [rows, allow, deny, audit, continued, from_ns as u64, to_ns as u64]
            .iter()
            .for_each(|number| put(*number, into));
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Option<Self> {
        let class = if from.flag()? { Class::Allows } else { Class::Denies };
        let tally = Tally {
            rows: from.get()?,
            allow: from.get()?,
            deny: from.get()?,
            audit: from.get()?,
            continued: from.get()?,
            from_ns: from.get::<u64>()? as i64,
            to_ns: from.get::<u64>()? as i64,
        };
        Some(Self { class, tally })
    }
}

impl BatchNumber {
    pub(super) fn write(self, into: &mut Vec<u8>) {
        put(self.epoch, into);
        put(self.sequence, into);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self { epoch: from.get()?, sequence: from.get()? })
    }

    /// Whether the relay has it when it has `acknowledged`.
    pub(crate) fn is_in(self, acknowledged: Self) -> bool {
        self.epoch == acknowledged.epoch && self.sequence <= acknowledged.sequence
    }
}

/// Few and seldom, so in the form that they have on the wire.
fn put_losses(losses: &Vec<LossEntry>, into: &mut Vec<u8>) {
    if losses.is_empty() {
        put_bytes(&[], into);
    } else {
        put_bytes(&wire::encode(losses), into);
    }
}

fn losses(from: &mut Reader<'_>) -> Option<Vec<LossEntry>> {
    match from.bytes()? {
        [] => Some(Vec::new()),
        bytes => wire::decode(bytes).ok(),
    }
}

fn put_which<K: Plain>((key, first_ns): &Which<K>, into: &mut Vec<u8>) {
    put(*key, into);
    put(*first_ns, into);
}

fn which<K: Plain>(from: &mut Reader<'_>) -> Option<Which<K>> {
    Some((from.get()?, from.get()?))
}

fn put_mark(mark: &ScanMark, into: &mut Vec<u8>) {
    for number in [mark.begun_ns, mark.before_ns, mark.connections_removed, mark.denies_removed] {
        put(number, into);
    }
    put_list(&mark.over, into, put_which);
    put_list(&mark.closed, into, |key, into| put(*key, into));
    put_list(&mark.denies_over, into, put_which);
}

fn mark(from: &mut Reader<'_>) -> Option<ScanMark> {
    Some(ScanMark {
        begun_ns: from.get()?,
        before_ns: from.get()?,
        connections_removed: from.get()?,
        denies_removed: from.get()?,
        over: from.list(which)?,
        closed: from.list(Reader::get)?,
        denies_over: from.list(which)?,
    })
}
