//! What one write says.

use arrow_flight::FlightData;

use super::bytes::{Reader, put, put_bytes, put_list, put_option};
use crate::kernel::{Plain, Positions, ScanMark, Totals, Which};

/// Everything that becomes true at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Step {
    /// Rows for the relay.
    pub(crate) batch: Option<Batch>,
    /// Up to where the events of the rings are in batches.
    pub(crate) positions: Option<Positions>,
    /// What of the tables' entries is in batches: of those that this step's rows are of.
    pub(crate) totals: Totals,
    /// A scan is in batches as a whole.
    pub(crate) mark: Option<ScanMark>,
    /// What became of earlier batches.
    pub(crate) settled: Settled,
    /// Rows given up since the journal began.
    pub(crate) lost_rows: u64,
}

/// A batch on its way to the relay.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Batch {
    /// Which one.
    pub(crate) number: BatchNumber,
    /// Dictionaries, then the rows; without metadata.
    pub(crate) messages: Vec<FlightData>,
    /// Rows in it.
    pub(crate) rows: u64,
    /// Whether any row is a deny.
    pub(crate) has_denies: bool,
}

/// Which batch of a collector: [`BatchId::epoch`](weir_flow::wire::BatchId::epoch) and
/// [`BatchId::sequence`](weir_flow::wire::BatchId::sequence).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BatchNumber {
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
}

/// Batches that nobody needs to send any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The relay has these, and those of the same epoch before them.
    pub(crate) acknowledged: Vec<BatchNumber>,
    /// Given up for want of room.
    pub(crate) given_up: Vec<GivenUp>,
}

/// A batch that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GivenUp {
    pub(crate) number: BatchNumber,
    pub(crate) rows: u64,
    /// It was sent, so the relay may have it; until it says so, its rows are not counted as lost.
    pub(crate) may_have_arrived: bool,
}

impl Step {
    pub(super) fn write(&self, into: &mut Vec<u8>) {
        put_option(self.batch.as_ref(), into, Batch::write);
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
        put_list(&self.settled.acknowledged, into, |number, into| number.write(into));
        put_list(&self.settled.given_up, into, GivenUp::write);
        put(self.lost_rows, into);
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        let step = Self {
            batch: from.option(Batch::read)?,
            positions: from.option(Reader::get)?,
            totals: Totals {
                connections: from.list(|from| Some((which(from)?, from.get()?)))?,
                denies: from.list(|from| Some((which(from)?, from.get()?)))?,
            },
            mark: from.option(mark)?,
            settled: Settled {
                acknowledged: from.list(BatchNumber::read)?,
                given_up: from.list(GivenUp::read)?,
            },
            lost_rows: from.get()?,
        };
        from.0.is_empty().then_some(step)
    }
}

impl Batch {
    fn write(&self, into: &mut Vec<u8>) {
        self.number.write(into);
        put(self.rows, into);
        put(u64::from(self.has_denies), into);
        put_list(&self.messages, into, |message, into| {
            put_bytes(&message.data_header, into);
            put_bytes(&message.data_body, into);
        });
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let number = BatchNumber::read(from)?;
        let rows = from.get()?;
        let has_denies = from.flag()?;
        let messages = from.list(|from| {
            let header = from.bytes()?;
            Some(FlightData::new().with_data_header(header).with_data_body(from.bytes()?))
        })?;
        Some(Self { number, messages, rows, has_denies })
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

impl GivenUp {
    fn write(&self, into: &mut Vec<u8>) {
        self.number.write(into);
        put(self.rows, into);
        put(u64::from(self.may_have_arrived), into);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let number = BatchNumber::read(from)?;
        Some(Self { number, rows: from.get()?, may_have_arrived: from.flag()? })
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
