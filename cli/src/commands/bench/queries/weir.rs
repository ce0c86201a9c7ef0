//! Asks `weir query`, over HTTP.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::answers::{Asked, Boards, Rows, text};
use crate::client::{Client, Server};
use crate::commands::bench::service::Service;

/// Which of what makes queries faster is on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tricks {
    /// Roll-ups.
    pub(super) roll_ups: bool,
    /// Aggregates of files that earlier queries left.
    pub(super) kept: bool,
}

impl Tricks {
    pub(super) const ALL: Self = Self { roll_ups: true, kept: true };
}

/// Where the rows are.
#[derive(Clone, Debug)]
pub(super) struct Weir {
    pub(super) directory: PathBuf,
    pub(super) store: PathBuf,
    pub(super) relay: String,
}

/// A query service over them.
pub(super) struct Running {
    service: Service,
    client: Client,
}

impl Weir {
    pub(super) async fn start(&self) -> anyhow::Result<Running> {
        let store = self.store.to_str().context("the temporary directory's name is not UTF-8")?;
        let free = "127.0.0.1:0";
        let arguments = ["--store", store, "--relay", &self.relay, "--http", free];
        let doors = ["--grpc", free, "--postgres", free];
        let service =
            Service::start(&self.directory, "query", &[&arguments[..], &doors].concat()).await?;
        let client = Client::new(&Server::at(service.door("http")?))?;
        Ok(Running { service, client })
    }

    /// A query to a service of its own, with nothing in the page cache.
    pub(super) async fn cold(&self, sql: &str) -> anyhow::Result<Asked> {
        let running = self.start().await?;
        super::drop_page_cache()?;
        let (time, rows) = running.ask(sql, Tricks::ALL).await?;
        running.service.stop().await?;
        Ok(Asked { ms: vec![milliseconds(time)], rows })
    }
}

impl Running {
    pub(super) async fn ask(&self, sql: &str, tricks: Tricks) -> anyhow::Result<(Duration, Rows)> {
        let body = json!({
            "sql": sql, "format": "json", "roll_ups": tricks.roll_ups, "kept": tricks.kept,
        });
        let begun = Instant::now();
        let answer = self.client.send(self.client.post("/api/v1/sql").json(&body)).await?;
        let answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
        let time = begun.elapsed();
        Ok((time, rows(&answer).with_context(|| format!("no answer to {sql}: {answer}"))?))
    }

    /// The same query again and again, after one time that is not counted.
    pub(super) async fn warm(
        &self,
        sql: &str,
        rounds: usize,
        tricks: Tricks,
    ) -> anyhow::Result<Asked> {
        let (_, rows) = self.ask(sql, tricks).await?;
        let mut ms = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            ms.push(milliseconds(self.ask(sql, tricks).await?.0));
        }
        Ok(Asked { ms, rows })
    }

    /// All dashboards side by side, the panels of each one after another.
    pub(super) async fn boards(&self, boards: &[Vec<String>]) -> anyhow::Result<Boards> {
        let begun = Instant::now();
        let each = boards.iter().map(async |panels| -> anyhow::Result<_> {
            let begun = Instant::now();
            let mut rows = Vec::with_capacity(panels.len());
            for sql in panels {
                rows.push(self.ask(sql, Tricks::ALL).await?.1);
            }
            Ok((milliseconds(begun.elapsed()), rows))
        });
        let (ms, rows) = try_join_all(each).await?.into_iter().unzip();
        let wall_ms = milliseconds(begun.elapsed());
        let peak_bytes = self.service.usage().resident()?.most;
        Ok(Boards { wall_ms, ms, rows, peak_bytes })
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.service.stop().await?;
        Ok(())
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The values in the order of the columns; `None` if the answer broke off.
fn rows(answer: &Value) -> Option<Rows> {
    if answer.get("error").is_some() {
        return None;
    }
    let columns = answer["columns"].as_array()?;
    let names: Vec<&str> = columns.iter().filter_map(|column| column["name"].as_str()).collect();
    let rows = answer["rows"].as_array()?.iter();
    Some(rows.map(|row| names.iter().map(|name| text(&row[*name])).collect()).collect())
}
