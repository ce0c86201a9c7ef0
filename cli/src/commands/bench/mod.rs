//! `weir bench`: the figures of `docs/PERFORMANCE.md`, each table from one run.

mod ingest;
mod network;
mod packets;
mod policy;
mod rows;

use std::process::ExitCode;

use clap::Subcommand;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Nanoseconds a packet in the kernel programs, next to an empty one. Needs root.
    Packets,
    /// Packets a second between two pods with nothing in their way, an empty program, Weir, and
    /// nftables. Needs root and `nft`.
    Network(network::Network),
    /// Milliseconds from a change of the cluster until the kernel's maps hold it, and what they hold.
    /// Needs root.
    Policy,
    /// Nanoseconds from an event's bytes to a row of an Arrow batch, next to copying the bytes.
    Rows,
    /// Flows a second a core from a collector's batches to Parquet files, and bytes a flow.
    Ingest(ingest::Ingest),
}

impl Bench {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Packets => packets::run()?,
            Self::Network(network) => network.run().await?,
            Self::Policy => policy::run()?,
            Self::Rows => rows::run()?,
            Self::Ingest(ingest) => ingest.run().await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
