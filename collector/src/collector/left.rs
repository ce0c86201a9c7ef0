//! What the collector before this one left, and how to go on from there.

use std::io;

use super::{CollectorConfig, CollectorError};
use crate::journal::{Directory, Journal, KernelPart, Maps, Restored, SLACK_BYTES};
use crate::kernel::{RingReader, TableScanner};
use crate::uplink::OutboxHandle;

/// Name of the journal's directory in the node's.
const DIRECTORY: &str = "rows";

/// Rings, tables and outbox, each where the last collector was.
pub(super) struct Left {
    pub(super) reader: RingReader,
    pub(super) scanner: TableScanner,
    pub(super) outbox: OutboxHandle,
    pub(super) journal: Journal,
    /// Where rings and tables are.
    pub(super) kernel: KernelPart,
}

impl Left {
    /// Reads the journal.
    pub(super) fn resume(
        config: &CollectorConfig,
        reader: RingReader,
        scanner: TableScanner,
    ) -> Result<Self, CollectorError> {
        let Some(state) = &config.state else {
            let kernel = KernelPart { positions: reader.positions(), ..KernelPart::default() };
            let outbox = OutboxHandle::new(config.unacknowledged_bytes);
            return Ok(Self { reader, scanner, outbox, journal: Journal::none(), kernel });
        };
        let [denies, verdicts] = reader.map_ids()?;
        let [conntrack, closed, deny_table] = scanner.map_ids()?;
        let boot = boot().map_err(|source| CollectorError::System {
            what: "telling this boot from others by /proc/sys/kernel/random/boot_id",
            source,
        })?;
        let maps = Maps { boot, ids: [denies, verdicts, conntrack, closed, deny_table] };
        let store = Box::new(Directory::new(&state.join(DIRECTORY)));
        let (journal, restored) = Journal::open(store, maps, SLACK_BYTES);
        Self::go_on(config.unacknowledged_bytes, journal, restored, reader, scanner)
    }

    /// From what the journal says.
    pub(super) fn go_on(
        limit_bytes: usize,
        journal: Journal,
        mut restored: Restored,
        mut reader: RingReader,
        mut scanner: TableScanner,
    ) -> Result<Self, CollectorError> {
        let mut kernel = KernelPart::default();
        if let Some(left) = &mut restored.kernel {
            kernel = std::mem::take(left);
            reader.resume(kernel.positions);
            scanner.resume(std::mem::take(&mut kernel.totals), &kernel.mark)?;
        }
        kernel.positions = reader.positions();
        if journal.wants_snapshot() {
            kernel.totals = scanner.totals();
        }
        tracing::info!(
            batches = restored.batches.len(),
            same_maps = restored.kernel.is_some(),
            bytes = journal.len(),
            "goes on from the journal"
        );
        let outbox = OutboxHandle::resume(limit_bytes, restored);
        Ok(Self { reader, scanner, outbox, journal, kernel })
    }
}

/// A random number of the kernel's, of this boot alone.
fn boot() -> io::Result<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let digits: String = text.trim().chars().filter(|digit| *digit != '-').collect();
    u128::from_str_radix(&digits, 16)
        .map(u128::to_be_bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
