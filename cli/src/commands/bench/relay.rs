//! A relay process with a store of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::Command;
use weir_flow::manifest::{DataFile, MANIFEST_PREFIX, Manifest};

use super::service::Service;
use crate::feed::Feed;

/// A relay that serves.
pub(super) struct Relay {
    pub(super) service: Service,
    store: PathBuf,
}

impl Relay {
    /// Starts one with default settings; `directory` is made for it.
    pub(super) async fn start(directory: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let store = directory.join("store");
        let path = store.to_str().context("the temporary directory's name is not UTF-8")?;
        let arguments = ["--store", path, "--ingest", "127.0.0.1:0"];
        let service = Service::start(directory, "relay", &arguments).await?;
        Ok(Self { service, store })
    }

    /// A collector's connection to it.
    pub(super) fn feed(&self, node: &str) -> anyhow::Result<Feed> {
        Feed::start(self.service.door("ingest")?, "bench", node)
    }

    /// Stops it, which stores what is in memory; its processor time in all, and the store.
    pub(super) async fn stop(self) -> anyhow::Result<(Duration, Store)> {
        let cpu = self.service.stop().await?;
        Ok((cpu, Store(self.store)))
    }
}

/// A store that nobody uses.
pub(super) struct Store(PathBuf);

impl Store {
    /// What is in it.
    pub(super) fn stored(&self) -> anyhow::Result<Stored> {
        Stored::of(&self.0)
    }

    /// Merges small files, as relays do while they run.
    pub(super) async fn compact(&self) -> anyhow::Result<()> {
        let status = Command::new(std::env::current_exe()?)
            .args(["store", "compact", "--store"])
            .arg(&self.0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .await?;
        anyhow::ensure!(status.success(), "weir store compact ended with {status}");
        Ok(())
    }
}

/// What the newest manifest says of table `flows`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stored {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) files: usize,
    /// Bytes of the roll-ups.
    pub(super) edge_bytes: u64,
}

impl Stored {
    fn of(store: &Path) -> anyhow::Result<Self> {
        let mut paths = std::fs::read_dir(store.join(MANIFEST_PREFIX))?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()?;
        paths.sort();
        let newest = paths.last().context("nothing was stored")?;
        let manifest: Manifest = serde_json::from_slice(&std::fs::read(newest)?)?;
        let sum = |of: fn(&DataFile) -> u64| manifest.files.iter().map(of).sum();
        Ok(Self {
            rows: sum(|file| file.rows),
            bytes: sum(|file| file.size_bytes),
            files: manifest.files.len(),
            edge_bytes: sum(|file| file.edges.as_ref().map_or(0, |edges| edges.size_bytes)),
        })
    }

    pub(super) fn bytes_a_row(&self) -> f64 {
        self.bytes as f64 / self.rows as f64
    }
}
