//! As fast as the relay takes rows.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use rustix::time::{ClockId, clock_gettime};

use super::beside;
use crate::commands::bench::relay::{Relay, Stored};

/// What came of it.
#[derive(Debug)]
pub(super) struct Through {
    /// Processor time of the relay's process, from serving until it had stored all and ended.
    relay_cpu: Duration,
    /// Processor time of the uplink that sent.
    uplink_cpu: Duration,
    acknowledged: Duration,
    wall: Duration,
    flushed: Stored,
    compacted: Stored,
}

pub(super) async fn measure(directory: &Path, batches: &[RecordBatch]) -> anyhow::Result<Through> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let relay = Relay::start(directory).await?;
    let feed = relay.feed("fast")?;
    let (uplink_cpu, relay_cpu) = (own_cpu_time()?, relay.service.usage().cpu_time()?);
    let begun = Instant::now();
    for batch in batches {
        feed.push(batch.clone()).await?;
    }
    feed.finish().await?;
    let acknowledged = begun.elapsed();
    let uplink_cpu = own_cpu_time()?.saturating_sub(uplink_cpu);
    let (cpu, store) = relay.stop().await?;
    let (relay_cpu, wall) = (cpu.saturating_sub(relay_cpu), begun.elapsed());
    let flushed = store.stored()?;
    store.compact().await?;
    let compacted = store.stored()?;
    for stored in [flushed, compacted] {
        anyhow::ensure!(stored.rows == rows as u64, "{} rows are stored of {rows}", stored.rows);
    }
    Ok(Through { relay_cpu, uplink_cpu, acknowledged, wall, flushed, compacted })
}

impl Through {
    /// As a row of the comparison.
    pub(super) fn stored(&self) -> beside::Stored {
        beside::Stored {
            engine: "Weir".into(),
            rows: self.flushed.rows,
            cpu_seconds: self.relay_cpu.as_secs_f64(),
            wall_seconds: self.wall.as_secs_f64(),
            bytes: self.flushed.bytes,
            note: "Flight batches through the write-ahead log to sorted Parquet".into(),
        }
    }
}

/// Processor time of this process so far.
fn own_cpu_time() -> anyhow::Result<Duration> {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Ok(Duration::new(u64::try_from(time.tv_sec)?, u32::try_from(time.tv_nsec)?))
}

impl fmt::Display for Through {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.flushed.rows as f64;
        let both = self.relay_cpu + self.uplink_cpu;
        writeln!(
            f,
            "| rows | flows/s a core, relay | with the sending uplink | flows/s | \
             all acknowledged after | bytes a flow | in files | compacted | in files | \
             roll-ups besides |"
        )?;
        writeln!(f, "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        writeln!(
            f,
            "| {rows} | {:.0} | {:.0} | {:.0} | {:.2} s of {:.2} s | {:.2} | {} | {:.2} | {} | {:.2} |",
            rows / self.relay_cpu.as_secs_f64(),
            rows / both.as_secs_f64(),
            rows / self.wall.as_secs_f64(),
            self.acknowledged.as_secs_f64(),
            self.wall.as_secs_f64(),
            self.flushed.bytes_a_row(),
            self.flushed.files,
            self.compacted.bytes_a_row(),
            self.compacted.files,
            self.compacted.edge_bytes as f64 / rows,
        )
    }
}
