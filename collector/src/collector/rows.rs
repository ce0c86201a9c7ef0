//! Rows on their way into batches: named, written down, and handed to the uplink.
//!
//! The order is what makes a killed collector harmless: first the journal has the rows with the
//! ring positions, table totals and ledger that they stand for, then the outbox has them, and only then
//! is the kernel told that it may forget. [`store`] writes down.

mod store;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow_flight::FlightData;
use weir_abi::event::{VERDICT_ALLOW, VerdictEvent};

use super::config::SpoolFsync;
use crate::health::Health;
use crate::join::Joiner;
use crate::journal::{Batch, Journal, KernelPart, Step};
use crate::kernel::{
    ConnectionTotals, DenyTotals, MonotonicClock, Positions, RingReleaser, Scan, Stats, Totals,
};
use crate::ledger::{Accounts, Malformed, Pending, Span, stage, unit, verdict};
use crate::uplink::OutboxHandle;

/// Most rows of a batch.
const BATCH_ROWS: usize = 4_096;
/// Shortest time between two batches: the first row after a silence goes at once.
const BATCH_INTERVAL: Duration = Duration::from_millis(100);
/// The same where the verdict of a new deny waits.
const DENY_INTERVAL: Duration = Duration::from_millis(20);
/// Longest time a row waits for others while no relay is there to get them.
const BATCH_AGE_ALONE: Duration = Duration::from_secs(1);

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
    let mut step = Step::default();
    let mut journal = lock(journal);
    add_news(outbox, &mut step);
    if journal.append(&step).is_err() {
        // The next collector asks the relay.
        tracing::warn!("the journal does not say what the relay has");
        return;
    }
    let gone = journal.drop_unused(outbox.lock().unused());
    outbox.lock().forget(&gone);
}

fn add_news(outbox: &OutboxHandle, step: &mut Step) {
    let news = outbox.lock().news();
    step.batches.extend(news.batches);
    step.acknowledged.extend(news.acknowledged);
}

/// A scan's report.
pub(crate) struct ScanReport {
    pub(crate) scan: Box<Scan>,
    /// Counts up by one.
    pub(crate) number: u64,
    /// What was reported up to and including it, if that was wanted.
    pub(crate) totals: Option<Totals>,
    /// Read before the scan began.
    pub(crate) stats: Stats,
}

/// The stage between reports and outbox.
pub(crate) struct Rows {
    pub(crate) joiner: Joiner,
    pub(crate) outbox: OutboxHandle,
    pub(crate) journal: SharedJournal,
    pub(crate) releaser: RingReleaser,
    pub(crate) progress: Arc<Progress>,
    pub(crate) health: Arc<Health>,
    fsync: SpoolFsync,
    pending: Waiting,
    /// When the last batch was made.
    finished: Option<Instant>,
    ledger: Pending,
    /// None until the first scan, if nobody knows what was reported before.
    accounts: Option<Accounts>,
    /// Up to where batches hold the rings' events.
    positions: Positions,
    /// When the stage began, by the kernel's clock.
    begun_ns: u64,
    /// Verdicts that could not be rows, or rows that could not be put into a batch.
    unsent: u64,
    /// Rows that the journal does not tell of.
    unrecorded: u64,
    problem: Option<String>,
}

/// What is not in a batch yet.
#[derive(Default)]
struct Waiting {
    /// When the first of it came.
    since: Option<Instant>,
    /// Somebody waits for it: it has a new deny.
    urgent: bool,
    step: Step,
    scan: Option<u64>,
}

/// A batch with its messages, where they are needed in memory.
type Made = (Batch, Option<Vec<FlightData>>);

/// What the last collector has left for this stage.
pub(crate) struct Resumed {
    pub(crate) kernel: KernelPart,
    pub(crate) ledger: Pending,
}

impl Rows {
    /// The stage after what `resumed` tells of.
    pub(crate) fn new(
        joiner: Joiner,
        outbox: OutboxHandle,
        journal: SharedJournal,
        fsync: SpoolFsync,
        releaser: RingReleaser,
        health: Arc<Health>,
        resumed: Resumed,
    ) -> Self {
        let Resumed { kernel, ledger } = resumed;
        let mut rows = Self {
            joiner,
            outbox,
            journal,
            releaser,
            progress: Arc::default(),
            health,
            fsync,
            pending: Waiting::default(),
            finished: None,
            ledger,
            accounts: kernel.accounts,
            positions: kernel.positions,
            begun_ns: MonotonicClock::now_ns(),
            unsent: 0,
            unrecorded: 0,
            problem: None,
        };
        if lock(&rows.journal).wants_snapshot() {
            rows.begin_journal(kernel);
        }
        if lock(&rows.journal).problem().is_some() {
            rows.outbox.lock().begin_epoch();
        }
        rows.report();
        rows
    }

    /// Adds events, which were read up to `positions`; on the way so many were malformed.
    pub(crate) fn add_events(
        &mut self,
        events: &[VerdictEvent],
        positions: Positions,
        malformed: Malformed,
    ) {
        // All of them or none, so that the positions hold for the batch.
        if self.joiner.len() + events.len() > BATCH_ROWS {
            self.finish();
        }
        self.joiner.add_events(events);
        self.pending.urgent |= events.iter().any(|event| event.verdict != VERDICT_ALLOW);
        self.malformed(malformed, "malformed record");
        let malformed = self.joiner.malformed();
        self.malformed(malformed, "of another version");
        self.pending.step.positions = Some(positions);
        self.added();
    }

    /// Adds what a scan found.
    pub(crate) fn add_scan(&mut self, report: ScanReport) {
        let ScanReport { scan, number, totals, stats } = report;
        let mut accounts = self.accounts.unwrap_or_else(|| Accounts::beginning(&stats, &scan));
        let mut denies = scan.denies.as_slice();
        while !denies.is_empty() {
            let (now, later) = denies.split_at(denies.len().min(self.room()));
            self.joiner.add_denies(now);
            let totals = now
                .iter()
                .map(|delta| ((delta.key, delta.value.first_ns), DenyTotals::of(&delta.value)));
            self.pending.step.totals.denies.extend(totals);
            accounts.attempts += now.iter().map(|delta| delta.count).sum::<u64>();
            self.scanned(accounts);
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
            accounts.connections += now.iter().map(|delta| delta.count).sum::<u64>();
            self.scanned(accounts);
            connections = later;
        }
        let before_ns = scan.mark.before_ns;
        let from_ns = if before_ns == 0 { self.begun_ns } else { before_ns };
        let utc = |ns| self.joiner.to_utc_ns(ns);
        let span = Span { from_ns: utc(from_ns), to_ns: utc(scan.mark.begun_ns) };
        accounts.settle(&stats, &scan, span, &mut self.ledger);
        self.pending.step.mark = Some(scan.mark.clone());
        self.pending.scan = Some(number);
        self.scanned(accounts);
        if let Some(totals) = totals {
            self.finish();
            let kernel = KernelPart {
                positions: self.positions,
                totals,
                mark: scan.mark,
                accounts: self.accounts,
            };
            self.begin_journal(kernel);
        }
        self.report();
    }

    /// How long it may take until the next call of [`finish_old`](Self::finish_old).
    pub(crate) fn patience(&self) -> Option<Duration> {
        let since = self.pending.since?;
        let interval = if self.pending.urgent { DENY_INTERVAL } else { BATCH_INTERVAL };
        let due = match self.finished {
            _ if !self.health.is_connected() => since + BATCH_AGE_ALONE,
            None => since,
            Some(finished) => finished + interval,
        };
        Some(due.saturating_duration_since(Instant::now()))
    }

    /// Makes a batch if a row has waited long enough.
    pub(crate) fn finish_old(&mut self) {
        if self.patience().is_some_and(|left| left.is_zero()) {
            self.finish();
        }
    }

    /// Makes batches of what there is.
    pub(crate) fn finish(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        if pending.since.is_none() {
            return;
        }
        self.finished = Some(Instant::now());
        let (made, recorded) = self.write(&mut pending.step);
        for (batch, messages) in made {
            self.health.rows.inc_by(batch.rows.map_or(0, |rows| rows.tally.rows));
            if recorded.is_err() {
                self.unrecorded += batch.rows.map_or(0, |rows| rows.tally.rows);
            }
            self.outbox.add(batch, messages);
        }
        if let Some(positions) = pending.step.positions {
            self.positions = positions;
            self.releaser.release(positions);
        }
        if let Some(scan) = pending.scan {
            self.progress.safe_scan.store(scan, Ordering::Release);
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

    /// A part of a scan was added, up to which `accounts` tell.
    fn scanned(&mut self, accounts: Accounts) {
        self.accounts = Some(accounts);
        self.pending.step.accounts = Some(accounts);
        let malformed = self.joiner.malformed();
        self.malformed(malformed, "of another version");
        self.added();
    }

    fn malformed(&mut self, malformed: Malformed, reason: &str) {
        let Malformed { allows, denies } = malformed;
        if allows + denies == 0 {
            return;
        }
        self.unsent += allows + denies;
        let now_ns = self.joiner.to_utc_ns(MonotonicClock::now_ns());
        let span = Span { from_ns: now_ns, to_ns: now_ns };
        for (verdict, count) in [(verdict::UNKNOWN, allows), (verdict::DENY, denies)] {
            self.ledger.add(span, (stage::JOIN, verdict, unit::VERDICTS, reason), count);
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
        self.health.set_lost("join", "verdicts", self.unsent);
        self.health.set_journal(lock(&self.journal).len(), self.unrecorded);
    }
}

#[cfg(test)]
mod tests;
