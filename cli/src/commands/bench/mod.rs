//! `weir bench`: the figures of `docs/PERFORMANCE.md`, each table from one run.

mod ingest;
mod packets;

use std::process::ExitCode;

use clap::Subcommand;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Nanoseconds a packet in the kernel programs, next to an empty one. Needs root.
    Packets,
    /// Flows a second a core from a collector's batches to Parquet files, and bytes a flow.
    Ingest(ingest::Ingest),
}

impl Bench {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Packets => packets::run()?,
            Self::Ingest(ingest) => ingest.run().await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
