//! From a collector's batches over Arrow Flight to sorted Parquet files, in one process.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use rustix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;
use weir_flow::manifest::Manifest;
use weir_flow::synthetic::{Synthetic, SyntheticOptions};
use weir_relay::{Relay, RelayConfig};

use crate::feed::Feed;

/// Rows of a batch, as collectors send them.
const BATCH_ROWS: usize = 4096;
const START_NS: i64 = 1_700_000_000_000_000_000;

#[derive(Debug, Args)]
pub(crate) struct Ingest {
    /// Rows to bring in.
    #[arg(long, default_value_t = 1_000_000)]
    rows: usize,
    /// Rows a second in the flows' own time.
    #[arg(long, default_value_t = 10_000)]
    rate: usize,
}

impl Ingest {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let directory = std::env::temp_dir().join(format!("weir-bench-{}", std::process::id()));
        let outcome = self.measure(&directory).await;
        let _ = std::fs::remove_dir_all(&directory);
        outcome
    }

    async fn measure(&self, directory: &std::path::Path) -> anyhow::Result<()> {
        let mut synthetic = Synthetic::new(&SyntheticOptions::default());
        let span_ns = i64::try_from(BATCH_ROWS * 1_000_000_000 / self.rate.max(1))?;
        let batches: Vec<_> = (0..self.rows.div_ceil(BATCH_ROWS))
            .map(|index| {
                let rows = BATCH_ROWS.min(self.rows - index * BATCH_ROWS);
                synthetic.batch(rows, START_NS + index as i64 * span_ns, span_ns)
            })
            .collect();

        let mut config = RelayConfig::new(directory);
        config.ingest = ([127, 0, 0, 1], 0).into();
        let relay = Relay::bind(config).await?;
        let feed = Feed::start(relay.ingest_address(), "bench", "bench")?;
        let shutdown = CancellationToken::new();
        let (cpu, wall) = (cpu_time()?, Instant::now());
        let running = tokio::spawn(relay.run(shutdown.clone()));
        for batch in batches {
            feed.push(batch).await?;
        }
        feed.finish().await?;
        let acknowledged = wall.elapsed();
        shutdown.cancel();
        running.await??;
        let (cpu, wall) = (cpu_time()? - cpu, wall.elapsed());

        let (rows, bytes) = stored(directory)?;
        anyhow::ensure!(rows == self.rows as u64, "{rows} rows are stored of {}", self.rows);
        println!("### Collector to Parquet\n");
        println!(
            "| rows | flows/s a core | flows/s | all acknowledged after | bytes a flow on disk |"
        );
        println!("|--:|--:|--:|--:|--:|");
        println!(
            "| {rows} | {:.0} | {:.0} | {:.2} s of {:.2} s | {:.2} |",
            rows as f64 / cpu.as_secs_f64(),
            rows as f64 / wall.as_secs_f64(),
            acknowledged.as_secs_f64(),
            wall.as_secs_f64(),
            bytes as f64 / rows as f64,
        );
        Ok(())
    }
}

/// Processor time of this process so far.
fn cpu_time() -> anyhow::Result<Duration> {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Ok(Duration::new(u64::try_from(time.tv_sec)?, u32::try_from(time.tv_nsec)?))
}

/// Rows and bytes of the newest manifest.
fn stored(directory: &std::path::Path) -> anyhow::Result<(u64, u64)> {
    let manifests = directory.join(weir_flow::manifest::MANIFEST_PREFIX);
    let mut paths = std::fs::read_dir(&manifests)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    let newest = paths.last().context("nothing was stored")?;
    let manifest: Manifest = serde_json::from_slice(&std::fs::read(newest)?)?;
    let sum = |of: fn(&weir_flow::manifest::DataFile) -> u64| manifest.files.iter().map(of).sum();
    Ok((sum(|file| file.rows), sum(|file| file.size_bytes)))
}
