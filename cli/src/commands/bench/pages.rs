//! The web UI in a browser, over a million stored flows while more arrive: what somebody waits for, what a
//! scroll shows, and what the page takes of memory. The browser's side prints the figures.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use jiff::Timestamp;
use tokio::process::Command;
use tokio::time::MissedTickBehavior;
use weir_flow::synthetic::{Synthetic, SyntheticOptions};

use super::generated::Generated;
use super::relay::Relay;
use super::service::Service;
use crate::feed::Feed;

const STORED_OVER_SECONDS: usize = 3_600;
/// How often flows of now are handed over.
const EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(crate) struct Pages {
    /// What runs the browser and prints the figures, with the address in WEIR_URL and the minutes in
    /// WEIR_MINUTES: `scripts/ui`.
    #[arg(long, value_name = "PROGRAM")]
    browser: PathBuf,
    /// Stored flows, of the last hour.
    #[arg(long, default_value_t = 1_000_000)]
    rows: usize,
    /// Flows a second that arrive meanwhile.
    #[arg(long, default_value_t = 2_000)]
    rate: usize,
    /// Minutes for which memory is looked at.
    #[arg(long, default_value_t = 10)]
    minutes: u32,
}

impl Pages {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let directory = std::env::temp_dir().join(format!("weir-bench-{}", std::process::id()));
        let outcome = self.measure(&directory).await;
        let _ = std::fs::remove_dir_all(&directory);
        outcome
    }

    async fn measure(&self, directory: &Path) -> anyhow::Result<()> {
        let now = i64::try_from(Timestamp::now().as_nanosecond())?;
        let start_ns = now - STORED_OVER_SECONDS as i64 * 1_000_000_000;
        let rate = self.rows.div_ceil(STORED_OVER_SECONDS);
        let relay = Relay::start(directory).await?;
        let feed = relay.feed("stored")?;
        for batch in (Generated { rows: self.rows, rate, start_ns }).batches() {
            feed.push(batch).await?;
        }
        feed.finish().await?;
        let (_, store) = relay.stop().await?;
        store.compact().await?;
        ensure!(store.stored()?.rows == self.rows as u64, "not all rows are stored");

        let relay = Relay::start(directory).await?;
        let url = format!("http://{}", relay.service.door("ingest")?);
        let store = directory.join("store");
        let store = store.to_str().context("the temporary directory's name is not UTF-8")?;
        let free = "127.0.0.1:0";
        let arguments = ["--store", store, "--relay", &url, "--http", free, "--grpc", free];
        let arguments = [&arguments[..], &["--postgres", free]].concat();
        let query = Service::start(directory, "query", &arguments).await?;
        let live = tokio::spawn(feed_live(relay.feed("live")?, self.rate));

        println!("### The web UI over {} stored flows, {} more a second\n", self.rows, self.rate);
        let status = Command::new(&self.browser)
            .args(["run", "pages"])
            .env("WEIR_URL", format!("http://{}", query.door("http")?))
            .env("WEIR_MINUTES", self.minutes.to_string())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .status()
            .await
            .with_context(|| format!("cannot run {}", self.browser.display()))?;
        ensure!(status.success(), "the browser's side ended with {status}");
        ensure!(!live.is_finished(), "the flows of now have ended: {:?}", live.await);
        live.abort();
        query.stop().await?;
        relay.stop().await?;
        Ok(())
    }
}

/// Flows of now, without end.
async fn feed_live(feed: Feed, rate: usize) -> anyhow::Result<()> {
    let mut synthetic = Synthetic::new(&SyntheticOptions::default());
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let rows = (rate * EVERY.as_millis() as usize).div_ceil(1_000);
    loop {
        ticks.tick().await;
        let now = i64::try_from(Timestamp::now().as_nanosecond())?;
        let span_ns = i64::try_from(EVERY.as_nanos())?;
        feed.push(synthetic.batch(rows, now - span_ns, span_ns)).await?;
    }
}
