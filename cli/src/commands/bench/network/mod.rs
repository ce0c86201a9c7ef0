//! What real packets lose on their way between two pods of a node.

mod bed;
mod nftables;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use weir_lab::Lab;

use bed::{Bed, Figures};

/// What is in the packets' way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setup {
    Nothing,
    Empty,
    Weir,
    Nftables,
}

impl Setup {
    const ALL: [Self; 4] = [Self::Nothing, Self::Empty, Self::Weir, Self::Nftables];

    const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Empty => "empty program",
            Self::Weir => "Weir",
            Self::Nftables => "nftables",
        }
    }

    /// Whether it denies anything.
    const fn denies(self) -> bool {
        matches!(self, Self::Weir | Self::Nftables)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Network {
    /// Rounds; each measures everything once, and the table has the medians.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Milliseconds of each measurement that is bounded by time.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(10..=10_000))]
    period_ms: u64,
}

impl Network {
    /// Ends early at SIGINT or SIGTERM. What a killed one leaves, the next one removes.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let measured = {
            let stop = Arc::clone(&stop);
            tokio::task::spawn_blocking(move || self.measure(&stop))
        };
        let watch = tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            stop.store(true, Ordering::Relaxed);
        });
        let outcome = measured.await;
        watch.abort();
        println!("### Packets between two pods\n\n{}", table::Table(&outcome??));
        Ok(())
    }

    /// Figures by round and setup, in the order of [`Setup::ALL`].
    fn measure(self, stop: &AtomicBool) -> anyhow::Result<Vec<[Figures; 4]>> {
        if !rustix::process::geteuid().is_root() {
            bail!("this makes network namespaces and loads eBPF programs: run it as root");
        }
        nftables::require()?;
        Lab::sweep()?;
        let period = Duration::from_millis(self.period_ms);
        let mut rounds = Vec::new();
        for round in 0..self.rounds as usize {
            // Its tables of connections are as new as its namespaces.
            let bed = Bed::new()?;
            let mut figures = [Figures::default(); 4];
            for turn in 0..Setup::ALL.len() {
                // Each is first, second and so on in turn.
                let index = (round + turn) % Setup::ALL.len();
                let setup = Setup::ALL[index];
                figures[index] = bed
                    .measure(setup, period, stop)
                    .with_context(|| format!("{} cannot be measured", setup.name()))?;
            }
            rounds.push(figures);
        }
        Ok(rounds)
    }
}
