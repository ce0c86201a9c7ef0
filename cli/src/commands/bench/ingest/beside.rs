//! Others that load and store the same rows, by a Python script, and the table of all.

use std::fmt;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use tokio::process::Command;

/// What one of them did: a line of JSON from the script.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    /// Its name and version.
    pub(super) engine: String,
    /// Rows that it has stored, counted by itself.
    pub(super) rows: u64,
    /// Processor time of its process from rows in memory to rows on disk.
    pub(super) cpu_seconds: f64,
    pub(super) wall_seconds: f64,
    /// What it takes on disk.
    pub(super) bytes: u64,
    /// How it stored them.
    pub(super) note: String,
}

/// Runs the script on the rows.
pub(super) async fn measure(
    python: &Path,
    script: &Path,
    rows: &Path,
    directory: &Path,
) -> anyhow::Result<Vec<Stored>> {
    let output = Command::new(python)
        .arg(script)
        .arg(rows)
        .arg(directory)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot run {}", python.display()))?;
    ensure!(output.status.success(), "{} ended with {}", script.display(), output.status);
    let text = String::from_utf8(output.stdout)?;
    let parse = |line| serde_json::from_str(line).with_context(|| format!("not a result: {line}"));
    text.lines().map(parse).collect()
}

/// All of them.
pub(super) struct Table<'a>(pub(super) &'a [Stored]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | rows/s a core | rows/s | bytes a row on disk | how |")?;
        writeln!(f, "|---|--:|--:|--:|---|")?;
        for Stored { engine, rows, cpu_seconds, wall_seconds, bytes, note } in self.0 {
            let rows = *rows as f64;
            writeln!(
                f,
                "| {engine} | {:.0} | {:.0} | {:.2} | {note} |",
                rows / cpu_seconds,
                rows / wall_seconds,
                *bytes as f64 / rows,
            )?;
        }
        Ok(())
    }
}
