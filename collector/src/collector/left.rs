//! What the collector before this one left, and how to go on from there.

use std::io;

use std::sync::Arc;

use super::config::SpoolFsync;
use super::rows::Resumed;
use super::{CollectorConfig, CollectorError};
use crate::journal::{Directory, Journal, KernelPart, Maps, Restored, Sizes};
use crate::kernel::{MonotonicClock, RingReader, Stats, TableScanner};
use crate::ledger::{Accounts, Pending, Span, stage, unit, verdict};
use crate::uplink::{Limits, OutboxHandle};

/// Name of the journal's directory in the node's.
const DIRECTORY: &str = "rows";
/// Bytes of the journal's steps that are always worth keeping.
const SLACK_BYTES: u64 = 16 << 20;
/// Bytes of batches in memory while they cannot be written to the state directory.
const MEMORY_BYTES: usize = 8 << 20;
/// Least and most bytes of a segment.
const SEGMENT_BYTES: (u64, u64) = (64 << 10, 8 << 20);

/// Rings, tables and outbox, each where the last collector was.
pub(super) struct Left {
    pub(super) reader: RingReader,
    pub(super) scanner: TableScanner,
    pub(super) outbox: OutboxHandle,
    pub(super) journal: Journal,
    /// For the stage that makes rows.
    pub(super) resumed: Resumed,
}

impl Left {
    /// Reads the journal. `stats`: what the programs have counted before this collector.
    pub(super) fn resume(
        config: &CollectorConfig,
        reader: RingReader,
        scanner: TableScanner,
        stats: &Stats,
    ) -> Result<Self, CollectorError> {
        let Some(state) = &config.state else {
            let limits = Limits { stored_bytes: 0, memory_bytes: config.unacknowledged_bytes };
            let restored = Restored::default();
            return Self::go_on(limits, Journal::none(), restored, reader, scanner, stats);
        };
        let [denies, verdicts] = reader.map_ids()?;
        let [conntrack, closed, deny_table] = scanner.map_ids()?;
        let boot = boot().map_err(|source| CollectorError::System {
            what: "telling this boot from others by /proc/sys/kernel/random/boot_id",
            source,
        })?;
        let maps = Maps { boot, ids: [denies, verdicts, conntrack, closed, deny_table] };
        let durable = config.spool_fsync != SpoolFsync::Never;
        let files = Arc::new(Directory::new(&state.join(DIRECTORY), durable));
        let (least, most) = SEGMENT_BYTES;
        let segment = (config.spool_bytes / 64).clamp(least, most);
        let (journal, restored) = Journal::open(files, maps, Sizes { slack: SLACK_BYTES, segment });
        let limits = Limits { stored_bytes: config.spool_bytes, memory_bytes: MEMORY_BYTES };
        Self::go_on(limits, journal, restored, reader, scanner, stats)
    }

    /// From what the journal says.
    pub(super) fn go_on(
        limits: Limits,
        journal: Journal,
        mut restored: Restored,
        mut reader: RingReader,
        mut scanner: TableScanner,
        stats: &Stats,
    ) -> Result<Self, CollectorError> {
        let mut ledger = Pending::resume(std::mem::take(&mut restored.pending));
        let mut kernel = KernelPart::default();
        if let Some(left) = &mut restored.kernel {
            kernel = std::mem::take(left);
            let known = kernel.positions;
            reader.resume(known);
            if reader.positions() != known {
                // Rows that were in memory alone; the relay may have some of them.
                let kind = (stage::SPOOL, verdict::UNKNOWN, unit::BATCHES, UNRECORDED);
                let since = Span { from_ns: utc_ns(kernel.mark.begun_ns), ..now() };
                ledger.add(since, kind, 1);
            }
            scanner.resume(std::mem::take(&mut kernel.totals), &kernel.mark)?;
        }
        kernel.positions = reader.positions();
        if kernel.accounts.is_none() && *stats == Stats::default() {
            kernel.accounts = Some(Accounts::default());
        }
        if kernel.accounts.is_none() {
            // These maps have counted, and what was told of it is lost.
            let kind = (stage::SPOOL, verdict::UNKNOWN, unit::BATCHES, "the journal is lost");
            ledger.add(now(), kind, 1);
        }
        if journal.wants_snapshot() {
            kernel.totals = scanner.totals();
        }
        tracing::info!(
            batches = restored.batches.len(),
            same_maps = restored.kernel.is_some(),
            bytes = journal.len(),
            "goes on from the journal"
        );
        let outbox = OutboxHandle::resume(limits, restored, journal.reader());
        Ok(Self { reader, scanner, outbox, journal, resumed: Resumed { kernel, ledger } })
    }

    /// Maps of another shape go on counting until those of now take their place, and what they did
    /// since the journal's last word is in no row.
    pub(super) fn note_replaced_maps(&mut self) {
        let kind = (stage::KERNEL, verdict::UNKNOWN, unit::BATCHES, "maps of another version");
        self.resumed.ledger.add(now(), kind, 1);
    }
}

/// Why nobody knows how many rows are in neither table nor ledger.
pub(super) const UNRECORDED: &str = "killed while the journal could not be written";

fn now() -> Span {
    let now_ns = utc_ns(MonotonicClock::now_ns());
    Span { from_ns: now_ns, to_ns: now_ns }
}

fn utc_ns(monotonic_ns: u64) -> i64 {
    MonotonicClock::sample().to_utc_ns(monotonic_ns)
}

/// A random number of the kernel's, of this boot alone.
fn boot() -> io::Result<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let digits: String = text.trim().chars().filter(|digit| *digit != '-').collect();
    u128::from_str_radix(&digits, 16)
        .map(u128::to_be_bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
