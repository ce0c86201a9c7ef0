//! Asks the others, through a Python script (`benches/queries.py`).

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};

use anyhow::{Context as _, ensure};
use arrow::array::RecordBatch;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::answers::{Asked, Boards, Engine};
use super::spec::Dialect;
use crate::commands::bench::generated::export;

/// The script, and what runs it.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) python: PathBuf,
    pub(super) file: PathBuf,
}

/// One of the others, with a folder of its own.
#[derive(Debug)]
pub(super) struct Beside<'a> {
    pub(super) script: &'a Script,
    pub(super) dialect: Dialect,
    pub(super) directory: PathBuf,
}

#[derive(Deserialize)]
struct Loaded {
    engine: String,
}

impl Beside<'_> {
    /// Loads the rows, then asks. Blocks.
    pub(super) fn measure(
        &self,
        batches: impl Iterator<Item = RecordBatch>,
        queries: &[String],
        boards: &[Vec<String>],
        rounds: usize,
    ) -> anyhow::Result<Engine> {
        let loaded: Loaded = one(&self.load(batches)?)?;
        let cold =
            queries.iter().map(|sql| one(&self.run("cold", sql)?)).collect::<Result<_, _>>()?;
        let asked = json!({ "rounds": rounds, "queries": queries, "dashboards": boards });
        let output = self.run("warm", &asked.to_string())?;
        let mut lines = output.lines();
        let warm: Vec<Asked> =
            lines.by_ref().take(queries.len()).map(one).collect::<Result<_, _>>()?;
        let boards: Boards = one(lines.next().unwrap_or_default())?;
        Ok(Engine { name: loaded.engine, cold, warm, boards })
    }

    fn load(&self, batches: impl Iterator<Item = RecordBatch>) -> anyhow::Result<String> {
        let (child, input) = self.start("load")?;
        let sent = export(input, batches);
        let output = self.output(child)?;
        sent?;
        Ok(output)
    }

    fn run(&self, action: &str, input: &str) -> anyhow::Result<String> {
        let (child, mut stdin) = self.start(action)?;
        std::io::Write::write_all(&mut stdin, input.as_bytes())?;
        drop(stdin);
        self.output(child)
    }

    fn start(&self, action: &str) -> anyhow::Result<(Child, ChildStdin)> {
        let engine = match self.dialect {
            Dialect::ClickHouse => "clickhouse",
            Dialect::DuckDb | Dialect::Weir => "duckdb",
        };
        let mut child = Command::new(&self.script.python)
            .arg(&self.script.file)
            .args([action, engine])
            .arg(&self.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", self.script.python.display()))?;
        let input = child.stdin.take().context("the script has no standard input")?;
        Ok((child, input))
    }

    fn output(&self, child: Child) -> anyhow::Result<String> {
        let Output { status, stdout, .. } = child.wait_with_output()?;
        ensure!(status.success(), "{} ended with {status}", self.script.file.display());
        Ok(String::from_utf8(stdout)?)
    }
}

fn one<T: DeserializeOwned>(line: &str) -> anyhow::Result<T> {
    serde_json::from_str(line).with_context(|| format!("not a result: {line}"))
}

/// The folder of one of them.
pub(super) fn directory(beside: &Path, dialect: Dialect) -> PathBuf {
    beside.join(format!("{dialect:?}").to_lowercase())
}
