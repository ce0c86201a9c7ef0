//! What the relay has not acknowledged yet. No I/O.
//!
//! Bounded in bytes: of segments where batches have a place in the journal's, where a batch takes at
//! least [`LEAST_BYTES`], so that their number is bounded too; of memory where they have none. When it
//! is full the oldest allows go first, a whole segment at once, then the oldest denies; allows never
//! make denies go.
//!
//! A batch has its number from the beginning, and keeps it when its rows are given up: it is sent as
//! a batch without rows that tells the ledger of them. If the relay has the rows already, it knows
//! the number and the ledger learns nothing. So each row is in the relay or in the ledger, once.
//! Neighbours that were given up and never sent are one, so that a relay that is away for weeks costs
//! little memory.

mod room;

use std::collections::{BTreeMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use arrow_flight::FlightData;
use weir_flow::wire::LossEntry;

use crate::journal::{Batch, BatchNumber, LEAST_BYTES, Place, Restored, Rows, Segment};
use crate::ledger::{Class, stage};
pub(crate) use room::FULL;

/// Bytes of batches that are kept in memory besides, so that they need not be read back.
const WINDOW_BYTES: usize = 4 << 20;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of batches with a place.
    pub(crate) stored_bytes: u64,
    /// Bytes of batches without one.
    pub(crate) memory_bytes: usize,
}

/// The bounded queue.
#[derive(Debug)]
pub(crate) struct Outbox {
    limits: Limits,
    /// By number.
    waiting: VecDeque<Waiting>,
    segments: BTreeMap<Segment, Contents>,
    /// The last one that was sent on this connection.
    sent: BatchNumber,
    /// The last one that the relay may have.
    ever_sent: BatchNumber,
    last: BatchNumber,
    rows: u64,
    /// Of batches without a place.
    memory_bytes: usize,
    /// Of those with one that are in memory too.
    window_bytes: usize,
    /// Verdicts whose rows were given up.
    given_up: u64,
    /// The last batch that tells the ledger of what other stages lost.
    told: BatchNumber,
    /// Segments that were given up.
    dropped: Vec<Segment>,
    acknowledged: Vec<BatchNumber>,
    /// Some of what waits is another than the journal says.
    changed: bool,
}

#[derive(Debug)]
struct Waiting {
    batch: Batch,
    messages: Option<Vec<FlightData>>,
    /// Of the messages.
    bytes: usize,
    /// The journal does not say so yet.
    changed: bool,
}

/// What a segment holds.
#[derive(Clone, Copy, Debug, Default)]
struct Contents {
    /// Bytes that it takes of the limit.
    bytes: u64,
    /// Batches that are needed.
    batches: u64,
}

/// What became of batches, for the journal.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Given up: these are in the place of those with their numbers.
    pub(crate) batches: Vec<Batch>,
    /// The relay has these, and those of the same epoch before them.
    pub(crate) acknowledged: Vec<BatchNumber>,
}

/// A batch to be sent.
#[derive(Debug)]
pub(crate) struct Next {
    pub(crate) number: BatchNumber,
    pub(crate) content: Content,
    pub(crate) losses: Vec<LossEntry>,
}

/// Where the rows of a batch are.
#[derive(Debug)]
pub(crate) enum Content {
    /// There are none.
    Nothing,
    /// Here.
    Messages(Vec<FlightData>),
    /// In the journal's segments.
    Stored(Class, Place),
}

impl Outbox {
    /// An empty outbox.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            waiting: VecDeque::new(),
            segments: BTreeMap::new(),
            sent: BatchNumber::default(),
            ever_sent: BatchNumber::default(),
            last: BatchNumber { epoch: new_epoch(0, SystemTime::now()), sequence: 0 },
            rows: 0,
            memory_bytes: 0,
            window_bytes: 0,
            given_up: 0,
            told: BatchNumber::default(),
            dropped: Vec::new(),
            acknowledged: Vec::new(),
            changed: false,
        }
    }

    /// What another process has left: any of it may have been sent.
    pub(crate) fn resume(limits: Limits, restored: Restored) -> Self {
        let mut outbox = Self::new(limits);
        outbox.last = restored.last;
        outbox.ever_sent = restored.last;
        for batch in restored.batches {
            outbox.add(batch, None);
        }
        if restored.kernel.is_none() {
            // What came after the journal's end may be with the relay under these numbers.
            outbox.begin_epoch();
        }
        // The limit may be another one than before.
        while outbox.stored_bytes() > outbox.limits.stored_bytes && outbox.give_up_oldest(FULL) {}
        outbox
    }

    /// Numbers begin anew.
    pub(crate) fn begin_epoch(&mut self) {
        self.last =
            BatchNumber { epoch: new_epoch(self.last.epoch, SystemTime::now()), sequence: 0 };
    }

    /// Adds a batch, numbered after [`last`](Self::last). Those without a place have their messages.
    pub(crate) fn push(&mut self, batch: Batch, messages: Option<Vec<FlightData>>) {
        self.last = batch.number;
        self.add(batch, messages);
    }

    /// The next batch to send on this connection.
    pub(crate) fn next(&mut self) -> Option<Next> {
        let index = self.waiting.partition_point(|waiting| waiting.batch.number <= self.sent);
        let waiting = self.waiting.get_mut(index)?;
        let batch = &waiting.batch;
        let mut number = batch.number;
        if self.sent.epoch == number.epoch {
            number.sequence = batch.first.max(self.sent.sequence + 1);
        } else {
            number.sequence = batch.first;
        }
        self.sent = number;
        self.ever_sent = self.ever_sent.max(number);
        if number < batch.number {
            // One of several that were given up: the last one tells of all.
            return Some(Next { number, content: Content::Nothing, losses: Vec::new() });
        }
        let content = match &batch.rows {
            None => Content::Nothing,
            Some(Rows { class, place: Some(place), .. }) => match waiting.messages.take() {
                Some(messages) => {
                    self.window_bytes -= waiting.bytes;
                    Content::Messages(messages)
                }
                None => Content::Stored(*class, *place),
            },
            Some(_) => Content::Messages(waiting.messages.clone().unwrap_or_default()),
        };
        Some(Next { number, content, losses: batch.losses.clone() })
    }

    /// The epochs of which the relay's answer matters, each with the last number given, oldest
    /// first; the present one comes last.
    pub(crate) fn epochs(&self) -> Vec<BatchNumber> {
        let mut numbers: Vec<BatchNumber> =
            self.waiting.iter().map(|waiting| waiting.batch.number).chain([self.last]).collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        numbers.dedup_by_key(|number| number.epoch);
        numbers.reverse();
        numbers
    }

    /// A connection begins, and the relay says what it has of each of the epochs.
    pub(crate) fn connected(&mut self, acknowledged: &[BatchNumber]) {
        self.sent = BatchNumber::default();
        for number in acknowledged {
            self.acknowledged(*number);
        }
        // What is left the relay does not have.
        self.ever_sent = BatchNumber::default();
    }

    /// The relay has everything of an epoch up to this.
    pub(crate) fn acknowledged(&mut self, number: BatchNumber) {
        let mut index = 0;
        while let Some(waiting) = self.waiting.get_mut(index) {
            if waiting.batch.number.is_in(number) {
                self.remove(index);
            } else if waiting.batch.number.epoch == number.epoch {
                waiting.batch.first = waiting.batch.first.max(number.sequence + 1);
                break;
            } else {
                index += 1;
            }
        }
        let known = &mut self.acknowledged;
        match known.iter_mut().find(|known| known.epoch == number.epoch) {
            Some(known) => *known = (*known).max(number),
            None => known.push(number),
        }
    }

    /// The last number that was given.
    pub(crate) fn last(&self) -> BatchNumber {
        self.last
    }

    /// What became of batches since the last call.
    pub(crate) fn news(&mut self) -> News {
        let mut batches = Vec::new();
        if std::mem::take(&mut self.changed) {
            for waiting in self.waiting.iter_mut().filter(|waiting| waiting.changed) {
                waiting.changed = false;
                batches.push(waiting.batch.clone());
            }
        }
        News { batches, acknowledged: std::mem::take(&mut self.acknowledged) }
    }

    /// Segments that were given up since the last call, whose files are to go before anything is
    /// written.
    pub(crate) fn dropped(&mut self) -> Vec<Segment> {
        std::mem::take(&mut self.dropped)
    }

    /// Segments of which nothing is needed. [`forget`](Self::forget) them when they are gone.
    pub(crate) fn unused(&self) -> Vec<Segment> {
        let unused = self.segments.iter().filter(|(_, contents)| contents.batches == 0);
        unused.map(|(segment, _)| *segment).collect()
    }

    /// Segments that are no more.
    pub(crate) fn forget(&mut self, segments: &[Segment]) {
        for segment in segments {
            self.segments.remove(segment);
        }
    }

    /// Everything that waits, oldest first.
    pub(crate) fn contents(&self) -> Vec<Batch> {
        self.waiting.iter().map(|waiting| waiting.batch.clone()).collect()
    }

    /// The first batch after `after` that is in memory alone, with its messages.
    pub(crate) fn unstored(&self, after: BatchNumber) -> Option<(Batch, Vec<FlightData>)> {
        self.waiting.iter().find_map(|waiting| {
            let in_memory = waiting.batch.rows.is_some_and(|rows| rows.place.is_none());
            let messages = waiting.messages.clone()?;
            (waiting.batch.number > after && in_memory).then(|| (waiting.batch.clone(), messages))
        })
    }

    /// A batch has a place now.
    pub(crate) fn stored(&mut self, number: BatchNumber, place: Place) {
        if let Some(index) = self.index(number)
            && let Some(mut waiting) = self.take(index)
        {
            if let Some(rows) = &mut waiting.batch.rows {
                rows.place = Some(place);
            }
            self.put(index, waiting.batch, waiting.messages);
        }
    }

    /// Whether a batch that waits tells the ledger of something, besides what was given up.
    pub(crate) fn tells_losses(&self) -> bool {
        let index = self.waiting.partition_point(|waiting| waiting.batch.number < self.told);
        self.waiting.get(index).is_some_and(|waiting| {
            let batch = &waiting.batch;
            batch.number.epoch == self.told.epoch && batch.first <= self.told.sequence
        })
    }

    /// Whether everything is acknowledged.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Rows that wait for their acknowledgement.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes that count against the limits.
    pub(crate) fn bytes(&self) -> u64 {
        self.stored_bytes() + self.memory_bytes as u64
    }

    /// Most bytes.
    pub(crate) fn limit_bytes(&self) -> u64 {
        self.limits.stored_bytes.max(self.limits.memory_bytes as u64)
    }

    /// Segments that there are.
    pub(crate) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Time of the oldest row that waits, nanoseconds since 1970.
    pub(crate) fn oldest_ns(&self) -> Option<i64> {
        self.waiting.iter().find_map(|waiting| Some(waiting.batch.rows?.tally.from_ns))
    }

    /// Verdicts whose rows were given up by this process. The relay may have some of them.
    pub(crate) fn given_up(&self) -> u64 {
        self.given_up
    }

    fn stored_bytes(&self) -> u64 {
        self.segments.values().map(|contents| contents.bytes).sum()
    }

    fn index(&self, number: BatchNumber) -> Option<usize> {
        let index = self.waiting.partition_point(|waiting| waiting.batch.number < number);
        (self.waiting.get(index)?.batch.number == number).then_some(index)
    }

    fn add(&mut self, batch: Batch, messages: Option<Vec<FlightData>>) {
        self.put(self.waiting.len(), batch, messages);
    }

    fn put(&mut self, index: usize, batch: Batch, messages: Option<Vec<FlightData>>) {
        if batch.losses.iter().any(|entry| entry.stage != stage::SPOOL) {
            self.told = self.told.max(batch.number);
        }
        let mut messages = messages;
        let bytes = messages.as_deref().map_or(0, size);
        if let Some(Rows { class, tally, place }) = batch.rows {
            self.rows += tally.rows;
            if let Some(place) = place {
                let contents = self.segments.entry((class, place.segment)).or_default();
                contents.bytes += place.len.max(LEAST_BYTES);
                contents.batches += 1;
                if self.window_bytes + bytes <= WINDOW_BYTES {
                    self.window_bytes += bytes;
                } else {
                    messages = None;
                }
            } else {
                self.memory_bytes += bytes;
            }
        }
        self.waiting.insert(index, Waiting { batch, messages, bytes, changed: false });
    }

    fn remove(&mut self, index: usize) {
        self.take(index);
    }

    fn take(&mut self, index: usize) -> Option<Waiting> {
        let waiting = self.waiting.remove(index)?;
        self.account_for_removal(&waiting);
        Some(waiting)
    }

    fn account_for_removal(&mut self, waiting: &Waiting) {
        let Some(Rows { class, tally, place }) = waiting.batch.rows else { return };
        self.rows -= tally.rows;
        let Some(place) = place else {
            self.memory_bytes -= waiting.bytes;
            return;
        };
        if let Some(contents) = self.segments.get_mut(&(class, place.segment)) {
            contents.batches -= 1;
        }
        if waiting.messages.is_some() {
            self.window_bytes -= waiting.bytes;
        }
    }
}

/// Bytes in memory.
pub(crate) fn size(messages: &[FlightData]) -> usize {
    let size = |message: &FlightData| message.data_header.len() + message.data_body.len();
    messages.iter().map(|message| size(message) + size_of::<FlightData>()).sum()
}

/// Now, nanoseconds since 1970, but later than `last`, also when the clock was set back.
fn new_epoch(last: u64, now: SystemTime) -> u64 {
    let now = now.duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
    now.max(last + 1)
}

#[cfg(test)]
mod tests;
