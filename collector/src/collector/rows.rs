//! Rows on their way into batches: named, written down, and handed to the uplink.
//!
//! The order is what makes a killed collector harmless: first the journal has the rows with the
//! ring positions and table totals that they stand for, then the outbox has them, and only then
//! is the kernel told that it may forget.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use weir_abi::event::VerdictEvent;

use crate::health::Health;
use crate::join::Joiner;
use crate::journal::{Journal, KernelPart, Snapshot, Step};
use crate::kernel::{ConnectionTotals, DenyTotals, Positions, RingReleaser, Scan, Totals};
use crate::uplink::{OutboxHandle, parcel};

/// Most rows of a batch.
const BATCH_ROWS: usize = 4_096;
/// Longest time a row waits for others.
const BATCH_AGE: Duration = Duration::from_millis(100);

/// What the scanner and the stage that makes rows know of each other.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The last scan whose report is safe.
    safe_scan: AtomicU64,
    /// The next scan is to bring all totals.
    totals_wanted: AtomicBool,
}

impl Progress {
    /// Whether that scan's report is safe.
    pub(crate) fn is_safe(&self, scan: u64) -> bool {
        self.safe_scan.load(Ordering::Acquire) >= scan
    }

    /// Whether the scan at hand is to bring all totals.
    pub(crate) fn totals_wanted(&self) -> bool {
        self.totals_wanted.load(Ordering::Relaxed)
    }
}

/// The journal, which also the uplink's end is written to.
pub(crate) type SharedJournal = Arc<Mutex<Journal>>;

pub(crate) fn lock(journal: &SharedJournal) -> MutexGuard<'_, Journal> {
    // A panic inside ends the collector; what is on disk is whole or not there.
    journal.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes down what became of batches.
pub(crate) fn settle(journal: &SharedJournal, outbox: &OutboxHandle) {
    let step = settled(outbox, Step::default());
    if lock(journal).append(&step).is_err() {
        // The next collector asks the relay.
        tracing::warn!("the journal does not say what the relay has");
    }
}

fn settled(outbox: &OutboxHandle, mut step: Step) -> Step {
    let mut outbox = outbox.lock();
    step.settled = outbox.settled();
    step.lost_rows = outbox.lost_rows();
    step
}

/// A scan's report.
pub(crate) struct ScanReport {
    pub(crate) scan: Box<Scan>,
    /// Counts up by one.
    pub(crate) number: u64,
    /// What was reported up to and including it, if that was wanted.
    pub(crate) totals: Option<Totals>,
}

/// The stage between reports and outbox.
pub(crate) struct Rows {
    pub(crate) joiner: Joiner,
    pub(crate) outbox: OutboxHandle,
    pub(crate) journal: SharedJournal,
    pub(crate) releaser: RingReleaser,
    pub(crate) progress: Arc<Progress>,
    pub(crate) health: Arc<Health>,
    pending: Pending,
    /// Up to where batches hold the rings' events.
    positions: Positions,
    /// Rows that could not be put into a batch.
    unsent: u64,
    /// Rows that the journal does not tell of.
    unrecorded: u64,
    problem: Option<String>,
}

/// What is not in a batch yet.
#[derive(Default)]
struct Pending {
    /// When the first of it came.
    since: Option<Instant>,
    step: Step,
    scan: Option<u64>,
}

impl Rows {
    /// The stage after what `resumed` tells of.
    pub(crate) fn new(
        joiner: Joiner,
        outbox: OutboxHandle,
        journal: SharedJournal,
        releaser: RingReleaser,
        health: Arc<Health>,
        resumed: KernelPart,
    ) -> Self {
        let mut rows = Self {
            joiner,
            outbox,
            journal,
            releaser,
            progress: Arc::default(),
            health,
            pending: Pending::default(),
            positions: resumed.positions,
            unsent: 0,
            unrecorded: 0,
            problem: None,
        };
        if lock(&rows.journal).wants_snapshot() {
            rows.begin_journal(resumed);
        }
        if lock(&rows.journal).problem().is_some() {
            rows.outbox.lock().begin_epoch();
        }
        rows.report();
        rows
    }

    /// Adds events, which were read up to `positions`.
    pub(crate) fn add_events(&mut self, events: &[VerdictEvent], positions: Positions) {
        // All of them or none, so that the positions hold for the batch.
        if self.joiner.len() + events.len() > BATCH_ROWS {
            self.finish();
        }
        self.joiner.add_events(events);
        self.pending.step.positions = Some(positions);
        self.added();
    }

    /// Adds what a scan found.
    pub(crate) fn add_scan(&mut self, report: ScanReport) {
        let ScanReport { scan, number, totals } = report;
        let mut denies = scan.denies.as_slice();
        while !denies.is_empty() {
            let (now, later) = denies.split_at(denies.len().min(self.room()));
            self.joiner.add_denies(now);
            let totals = now
                .iter()
                .map(|delta| ((delta.key, delta.value.first_ns), DenyTotals::of(&delta.value)));
            self.pending.step.totals.denies.extend(totals);
            self.added();
            denies = later;
        }
        let mut connections = scan.connections.as_slice();
        while !connections.is_empty() {
            let (now, later) = connections.split_at(connections.len().min(self.room()));
            self.joiner.add_connections(now);
            let totals = now.iter().map(|delta| {
                ((delta.key, delta.value.first_ns), ConnectionTotals::of(&delta.value))
            });
            self.pending.step.totals.connections.extend(totals);
            self.added();
            connections = later;
        }
        self.pending.step.mark = Some(scan.mark.clone());
        self.pending.scan = Some(number);
        self.added();
        if let Some(totals) = totals {
            self.finish();
            let mark = scan.mark;
            self.begin_journal(KernelPart { positions: self.positions, totals, mark });
        }
        self.report();
    }

    /// How long it may take until the next call of [`finish_old`](Self::finish_old).
    pub(crate) fn patience(&self) -> Option<Duration> {
        let since = self.pending.since?;
        Some((since + BATCH_AGE).saturating_duration_since(Instant::now()))
    }

    /// Makes a batch if a row has waited long enough.
    pub(crate) fn finish_old(&mut self) {
        if self.patience().is_some_and(|left| left.is_zero()) {
            self.finish();
        }
    }

    /// Makes a batch of what there is.
    pub(crate) fn finish(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if pending.since.is_none() {
            return;
        }
        let rows = self.joiner.len() as u64;
        let parcel = match self.joiner.finish().and_then(|joined| parcel(&joined)) {
            Ok(parcel) => Some(parcel).filter(|_| rows > 0),
            Err(error) => {
                tracing::error!(rows, %error, "rows cannot be encoded");
                self.unsent += rows;
                None
            }
        };
        let mut step = settled(&self.outbox, pending.step);
        step.batch = parcel.map(|parcel| self.outbox.lock().number(parcel));
        let recorded = {
            let mut journal = lock(&self.journal);
            let was_whole = journal.problem().is_none();
            let recorded = journal.append(&step);
            if recorded.is_err() && was_whole {
                self.begin_epoch(&mut step);
            }
            if journal.wants_snapshot() {
                self.progress.totals_wanted.store(true, Ordering::Relaxed);
            }
            recorded
        };
        if let Some(batch) = step.batch {
            self.outbox.add(batch);
            self.health.rows.inc_by(rows);
        }
        if let Some(positions) = step.positions {
            self.positions = positions;
            self.releaser.release(positions);
        }
        if let Some(scan) = pending.scan {
            self.progress.safe_scan.store(scan, Ordering::Release);
        }
        if recorded.is_err() {
            self.unrecorded += rows;
        }
        self.note(recorded);
        self.report();
    }

    fn room(&mut self) -> usize {
        if self.joiner.len() >= BATCH_ROWS {
            self.finish();
        }
        BATCH_ROWS.saturating_sub(self.joiner.len()).max(1)
    }

    fn added(&mut self) {
        self.pending.since.get_or_insert_with(Instant::now);
        if self.joiner.len() >= BATCH_ROWS {
            self.finish();
        }
    }

    /// What the journal does not tell of must not have the numbers that it gives out next.
    fn begin_epoch(&self, step: &mut Step) {
        let mut outbox = self.outbox.lock();
        outbox.begin_epoch();
        if let Some(batch) = &mut step.batch {
            batch.number = outbox.next_number();
        }
    }

    fn begin_journal(&mut self, kernel: KernelPart) {
        let snapshot = {
            let mut outbox = self.outbox.lock();
            // The snapshot says so itself.
            outbox.settled();
            let (batches, uncertain) = outbox.contents();
            let (last, lost_rows) = (outbox.last(), outbox.lost_rows());
            Snapshot { last, batches, uncertain, lost_rows, kernel }
        };
        let begun = lock(&self.journal).begin(&snapshot);
        self.progress.totals_wanted.store(begun.is_err(), Ordering::Relaxed);
        match begun {
            Ok(()) => {
                self.unrecorded = 0;
                self.note(Ok(()));
            }
            // Only steps that are not recorded are a problem.
            Err(error) if lock(&self.journal).problem().is_some() => self.note(Err(error)),
            Err(error) => tracing::warn!("the journal cannot be shortened: {error}"),
        }
    }

    fn note(&mut self, written: io::Result<()>) {
        let problem = written.err().map(|error| {
            format!(
                "the journal cannot be written ({error}): a kill would lose or repeat rows; make \
                 room for it, or repair the state directory"
            )
        });
        if problem != self.problem {
            match &problem {
                Some(problem) => tracing::error!("{problem}"),
                None => tracing::info!("the journal is written again"),
            }
            self.health.set_problems("journal", problem.iter().cloned().collect());
            self.problem = problem;
        }
    }

    fn report(&self) {
        self.health.set_lost("join", "rows", self.joiner.malformed() + self.unsent);
        self.health.set_journal(lock(&self.journal).len(), self.unrecorded);
    }
}

#[cfg(test)]
mod tests;
