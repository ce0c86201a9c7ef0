//! `weir bench`: the figures of `docs/PERFORMANCE.md`, each table from one run.

mod burst;
mod follow;
mod generated;
mod ingest;
mod memory;
mod network;
mod node;
mod packets;
mod pages;
mod policy;
mod queries;
mod relay;
mod rows;
mod samples;
mod service;
mod usage;

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
    /// Flows a second a core from collectors' batches to durable Parquet files, bytes a flow, time
    /// until rows are acknowledged and memory of the relay; others with the same rows beside it.
    Ingest(ingest::Ingest),
    /// Milliseconds of queries over 20,000,000 flows, of many dashboards at once, and memory; others
    /// with the same rows beside it. Needs root.
    Queries(queries::Queries),
    /// Milliseconds until the web UI shows something, frames of a scroll, memory of the page, over many
    /// stored flows while more arrive.
    Pages(pages::Pages),
    /// Milliseconds from a denied packet until whoever follows has its row, at several rates. Needs
    /// root.
    Follow(follow::Follow),
    /// What a collector takes of memory with 10,000 pods and 16,000 live flows. Needs root.
    Memory(memory::Memory),
    /// More verdicts than anybody can take, and what became of each of them. Needs root.
    Burst(burst::Burst),
}

impl Bench {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Packets => packets::run()?,
            Self::Network(network) => network.run().await?,
            Self::Policy => policy::run()?,
            Self::Rows => rows::run()?,
            Self::Ingest(ingest) => ingest.run().await?,
            Self::Queries(queries) => queries.run().await?,
            Self::Pages(pages) => pages.run().await?,
            Self::Follow(follow) => follow.run().await?,
            Self::Memory(memory) => memory.run().await?,
            Self::Burst(burst) => burst.run().await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
