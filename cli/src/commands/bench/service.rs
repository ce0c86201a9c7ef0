//! `weir relay`, `weir query` and `weir collector` as processes that a bench measures.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::usage::Usage;

/// From the start of a process until it serves, and from the signal until it has ended.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// A running weir process. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Service {
    name: &'static str,
    child: Child,
    usage: Usage,
    doors: Value,
}

impl Service {
    /// Starts `weir NAME ARGUMENTS…` and waits until it serves. What it logs goes to standard error.
    pub(super) async fn start(
        directory: &Path,
        name: &'static str,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let ready = directory.join(format!("{name}.ready"));
        let _ = std::fs::remove_file(&ready);
        let mut child = Command::new(std::env::current_exe()?)
            .arg(name)
            .args(arguments)
            .args(["--log", "warn", "--ready-file"])
            .arg(&ready)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start weir {name}"))?;
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let pid = pid.with_context(|| format!("weir {name} has ended"))?;
        let begun = Instant::now();
        let doors = loop {
            if let Some(status) = child.try_wait()? {
                bail!("weir {name} ended with {status}");
            }
            if let Ok(text) = std::fs::read_to_string(&ready) {
                break serde_json::from_str(&text)?;
            }
            ensure!(begun.elapsed() < PATIENCE, "weir {name} does not serve");
            tokio::time::sleep(POLL).await;
        };
        Ok(Self { name, child, usage: Usage(pid), doors })
    }

    /// The address of a door.
    pub(super) fn door(&self, door: &str) -> anyhow::Result<SocketAddr> {
        let text = self.doors[door].as_str();
        let text = text.with_context(|| format!("weir {} has no door {door}", self.name))?;
        Ok(text.parse()?)
    }

    /// What it takes of the machine.
    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// Asks it to end and waits; the processor time it took in all.
    pub(super) async fn stop(mut self) -> anyhow::Result<Duration> {
        kill_process(self.usage.0, Signal::TERM)?;
        let begun = Instant::now();
        // Not waited for before it is read: what is waited for is gone.
        while !self.usage.has_ended()? {
            ensure!(begun.elapsed() < PATIENCE, "weir {} does not end", self.name);
            tokio::time::sleep(POLL).await;
        }
        let cpu = self.usage.cpu_time()?;
        let status = self.child.wait().await?;
        ensure!(status.success(), "weir {} ended with {status}", self.name);
        Ok(cpu)
    }
}
