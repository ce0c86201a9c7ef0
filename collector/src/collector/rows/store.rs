//! Batches and what they stand for, written down.
//!
//! When the disk is full, allows that wait for the relay go until there is room, the oldest first.
//! What finds none even then is kept in memory; only when that is full do the oldest denies go, for
//! newer ones.

use std::io;
use std::sync::atomic::Ordering;

use arrow_flight::FlightData;

use super::super::config::SpoolFsync;
use super::{Made, Rows, add_news, lock};
use crate::journal::{self, Batch, BatchNumber, Journal, KernelPart, Snapshot, Step};
use crate::ledger::{Class, Tally, stage};
use crate::uplink::{FULL, encode, size};

impl Rows {
    /// Writes batches and step. Returns the batches, and whether the journal tells of them.
    pub(super) fn write(&mut self, step: &mut Step) -> (Vec<Made>, io::Result<()>) {
        let parcels = Class::ALL.map(|class| (class, self.encode(class)));
        let shared = self.journal.clone();
        let mut journal = lock(&shared);
        let was_whole = journal.problem().is_none();
        let mut made: Vec<Made> = Vec::new();
        let mut last = self.outbox.lock().last();
        for (class, parcel) in parcels {
            let Some((tally, messages)) = parcel else { continue };
            last.sequence += 1;
            made.push(self.store(&mut journal, last, (class, tally), messages));
        }
        if !self.ledger.is_empty() && !self.outbox.lock().tells_losses() {
            if made.is_empty() {
                last.sequence += 1;
                let batch =
                    Batch { number: last, first: last.sequence, rows: None, losses: Vec::new() };
                made.push((batch, None));
            }
            if let Some((batch, _)) = made.first_mut() {
                batch.losses.extend(self.ledger.take());
            }
        }
        step.pending = self.ledger.news();
        let recorded = self.append(&mut journal, step, &mut made);
        if recorded.is_err() && was_whole {
            // What the journal does not tell of must not have the numbers that it gives out next.
            let mut outbox = self.outbox.lock();
            outbox.begin_epoch();
            let mut last = outbox.last();
            for (batch, _) in &mut made {
                last.sequence += 1;
                (batch.number, batch.first) = (last, last.sequence);
            }
        }
        if recorded.is_err() {
            for (batch, messages) in &mut made {
                self.keep_in_memory(batch, messages);
            }
        } else {
            let mut unused = self.outbox.lock().unused();
            unused.retain(|unused| made.iter().all(|(batch, _)| batch.segment() != Some(*unused)));
            let gone = journal.drop_unused(unused);
            self.outbox.lock().forget(&gone);
        }
        if journal.wants_snapshot() {
            self.progress.totals_wanted.store(true, Ordering::Relaxed);
        }
        (made, recorded)
    }

    /// The rows of a class, if there are any.
    fn encode(&mut self, class: Class) -> Option<(Tally, Vec<FlightData>)> {
        let tally = self.joiner.tally(class);
        if tally.rows == 0 {
            return None;
        }
        match self.joiner.finish(class).and_then(|joined| encode::batch(&joined.batch)) {
            Ok(messages) => Some((tally, messages)),
            Err(error) => {
                tracing::error!(rows = tally.rows, %error, "rows cannot be encoded");
                self.unsent += tally.verdicts();
                self.ledger.extend(tally.losses(stage::JOIN, "cannot be encoded"));
                None
            }
        }
    }

    /// Brings a batch to its place on disk, or in memory if there is none.
    fn store(
        &mut self,
        journal: &mut Journal,
        number: BatchNumber,
        (class, tally): (Class, Tally),
        messages: Vec<FlightData>,
    ) -> Made {
        let rows = journal::Rows { class, tally, place: None };
        let mut batch =
            Batch { number, first: number.sequence, rows: Some(rows), losses: Vec::new() };
        let bytes = size(&messages);
        let mut reason = FULL;
        while journal.keeps() && self.outbox.lock().make_room(class, bytes as u64) {
            self.drop_segments(journal);
            match journal.store((class, tally), number, &messages) {
                Ok(place) => {
                    batch.rows = Some(journal::Rows { place, ..rows });
                    return (batch, Some(messages));
                }
                Err(error) if is_full(&error) => {
                    reason = DISK_FULL;
                    let mut outbox = self.outbox.lock();
                    if outbox.give_up_for(Class::Allows, DISK_FULL) {
                        continue;
                    }
                    // Should the process end, the next one finds that it has no place and counts it.
                    if outbox.make_room_in_memory(Class::Allows, bytes) {
                        return (batch, Some(messages));
                    }
                    if !outbox.give_up_for(class, DISK_FULL) {
                        break;
                    }
                }
                Err(error) => journal.give_up(&error),
            }
        }
        self.drop_segments(journal);
        let mut messages = Some(messages);
        if journal.keeps() {
            self.outbox.lock().count_given_up(&batch);
            batch.give_up(stage::SPOOL, reason);
            messages = None;
        } else {
            self.keep_in_memory(&mut batch, &mut messages);
        }
        (batch, messages)
    }

    /// Writes the step that tells of the batches, and makes room for it.
    fn append(
        &mut self,
        journal: &mut Journal,
        step: &mut Step,
        made: &mut [Made],
    ) -> io::Result<()> {
        let result = loop {
            add_news(&self.outbox, step);
            let batches = step.batches.len();
            step.batches.extend(made.iter().map(|(batch, _)| batch.clone()));
            if self.fsync == SpoolFsync::Batch
                && let Err(error) = journal.sync()
            {
                break Err(error);
            }
            match journal.append(step) {
                Err(error)
                    if is_full(&error)
                        && self.outbox.lock().give_up_for(Class::Allows, DISK_FULL) =>
                {
                    step.batches.truncate(batches);
                    let dropped = self.drop_segments(journal);
                    for (batch, messages) in made.iter_mut() {
                        if batch.segment().is_some_and(|segment| dropped.contains(&segment)) {
                            self.outbox.lock().count_given_up(batch);
                            batch.give_up(stage::SPOOL, DISK_FULL);
                            *messages = None;
                        }
                    }
                }
                Ok(()) if self.fsync == SpoolFsync::Batch => break journal.sync(),
                result => break result,
            }
        };
        if let Err(error) = &result {
            journal.give_up(error);
        }
        result
    }

    /// A batch has no place on disk.
    fn keep_in_memory(&self, batch: &mut Batch, messages: &mut Option<Vec<FlightData>>) {
        let Some(rows) = &mut batch.rows else { return };
        rows.place = None;
        let bytes = messages.as_deref().map_or(0, size);
        let mut outbox = self.outbox.lock();
        if !outbox.make_room_in_memory(rows.class, bytes) {
            outbox.count_given_up(batch);
            batch.give_up(stage::SPOOL, FULL);
            *messages = None;
        }
    }

    /// Removes the files of segments that were given up.
    fn drop_segments(&self, journal: &mut Journal) -> Vec<journal::Segment> {
        let dropped = self.outbox.lock().dropped();
        journal.remove(&dropped);
        dropped
    }

    pub(super) fn begin_journal(&mut self, kernel: KernelPart) {
        let shared = self.journal.clone();
        let mut journal = lock(&shared);
        let stored = self.store_all(&mut journal);
        let snapshot = {
            let mut outbox = self.outbox.lock();
            // The snapshot says so itself.
            outbox.news();
            self.ledger.news();
            let pending = self.ledger.entries().to_vec();
            Snapshot { last: outbox.last(), batches: outbox.contents(), pending, kernel }
        };
        let begun = stored.and_then(|()| journal.begin(&snapshot));
        self.progress.totals_wanted.store(begun.is_err(), Ordering::Relaxed);
        let broken = journal.problem().is_some();
        drop(journal);
        match begun {
            Ok(()) => {
                self.unrecorded = 0;
                self.note(Ok(()));
            }
            // Only steps that are not recorded are a problem.
            Err(error) if broken => self.note(Err(error)),
            Err(error) => tracing::warn!("the journal cannot be shortened: {error}"),
        }
    }

    /// Brings batches that are in memory alone to disk.
    fn store_all(&self, journal: &mut Journal) -> io::Result<()> {
        let mut last = BatchNumber::default();
        loop {
            let next = self.outbox.lock().unstored(last);
            let Some((batch, messages)) = next else { return Ok(()) };
            last = batch.number;
            let Some(rows) = batch.rows else { continue };
            if !self.outbox.lock().make_room(rows.class, 0) {
                continue;
            }
            self.drop_segments(journal);
            let place = journal.store((rows.class, rows.tally), batch.number, &messages)?;
            if let Some(place) = place {
                self.outbox.lock().stored(batch.number, place);
            }
        }
    }
}

const DISK_FULL: &str = "disk full";

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
