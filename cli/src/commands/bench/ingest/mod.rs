//! From collectors' batches over Arrow Flight to durable Parquet files, in a relay of its own, next
//! to others that load and store the very same rows.

mod beside;
mod steady;
mod through;

use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use clap::Args;

use super::generated::{Generated, export};

#[derive(Debug, Args)]
pub(crate) struct Ingest {
    /// Rows to bring in as fast as the relay takes them.
    #[arg(long, default_value_t = 1_000_000)]
    rows: usize,
    /// Rows a second in the flows' own time.
    #[arg(long, default_value_t = 10_000)]
    rate: usize,
    /// Then: rows a second at a steady rate, from many collectors.
    #[arg(long, default_value_t = 50_000)]
    steady_rate: usize,
    /// For so many seconds; 0: not at all.
    #[arg(long, default_value_t = 30)]
    steady_seconds: u64,
    /// Collectors that bring the steady rows.
    #[arg(long, default_value_t = 50)]
    collectors: usize,
    /// A Python script that loads and stores the same rows with others: `benches/engines.py`.
    #[arg(long, value_name = "FILE")]
    beside: Option<PathBuf>,
    /// The Python that runs it.
    #[arg(long, default_value = "python3", value_name = "PROGRAM")]
    python: PathBuf,
}

impl Ingest {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let directory = std::env::temp_dir().join(format!("weir-bench-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let outcome = self.measure(&directory).await;
        let _ = std::fs::remove_dir_all(&directory);
        outcome
    }

    async fn measure(&self, directory: &Path) -> anyhow::Result<()> {
        let batches: Vec<RecordBatch> =
            Generated::of_the_last_hour(self.rows, self.rate)?.batches().collect();
        println!("### From Flight batches to durable Parquet\n");
        let weir = through::measure(&directory.join("through"), &batches).await?;
        let mut stored = vec![weir.stored()];
        if let Some(script) = &self.beside {
            let rows = directory.join("rows.arrows");
            export(std::fs::File::create(&rows)?, batches.iter().cloned())?;
            stored.extend(beside::measure(&self.python, script, &rows, directory).await?);
        }
        drop(batches);
        println!("{weir}");
        println!("### The same {} rows, loaded and stored\n", self.rows);
        println!("{}", beside::Table(&stored));
        if self.steady_seconds > 0 {
            let steady = steady::Load {
                rate: self.steady_rate,
                seconds: self.steady_seconds,
                collectors: self.collectors,
            };
            let figures = steady::measure(&directory.join("steady"), steady).await?;
            println!("### A steady rate from {} collectors\n\n{figures}", self.collectors);
        }
        Ok(())
    }
}
