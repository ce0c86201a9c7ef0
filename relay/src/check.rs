//! Whether a store is whole: everything its manifest says is read and compared.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{SchemaRef, UInt64Type};
use bytes::Bytes;
use object_store::ObjectStore;
use serde::Serialize;
use weir_flow::manifest::{DataFile, Manifest, Verdicts};
use weir_flow::schema::edges::{EdgeRow, edge_schema};
use weir_flow::schema::loss::loss_schema;
use weir_flow::schema::objects::object_schema;
use weir_flow::schema::stored_schema;

use crate::columns::Columns;
use crate::encode::{Shape, encode_columns};
use crate::error::StoreError;
use crate::store::Store;
use crate::{parts, rollup, sort};

/// How far long work is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Files done.
    pub files: usize,
    /// Of so many.
    pub of_files: usize,
    /// Bytes done.
    pub bytes: u64,
    /// Of so many.
    pub of_bytes: u64,
}

/// What a store holds and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Version of the manifest that was compared.
    pub manifest_version: u64,
    /// Files named, roll-ups not counted.
    pub files: usize,
    /// Rows of table `flows`.
    pub rows: u64,
    /// Sum of their `count`.
    pub count: u64,
    /// Bytes of all files, roll-ups too.
    pub bytes: u64,
    /// What is wrong, a sentence each, beginning with the path.
    pub problems: Vec<String>,
    /// Objects that no manifest names and that nobody will read: left behind by a process that
    /// was killed. Relays remove them after an hour.
    pub orphans: Vec<String>,
}

/// Reads every file of the newest manifest and compares it with what the manifest says.
///
/// # Errors
/// The manifest cannot be read, or the store does not answer. What is wrong with a file is in the
/// report.
pub async fn check(
    objects: Arc<dyn ObjectStore>,
    mut progress: impl FnMut(Progress),
) -> Result<Report, StoreError> {
    let store = Store::new(objects);
    let manifest = store.newest().await?;
    let mut report = Report { manifest_version: manifest.version, ..Report::default() };
    twice(&manifest, &mut report.problems);
    let all: Vec<(&DataFile, Table)> = (manifest.files.iter().map(|file| (file, Table::Flows)))
        .chain(manifest.objects.iter().map(|file| (file, Table::Objects)))
        .chain(manifest.loss.iter().map(|file| (file, Table::Loss)))
        .collect();
    let mut done = Progress {
        of_files: all.len(),
        of_bytes: all.iter().map(|(file, _)| bytes(file)).sum(),
        ..Progress::default()
    };
    progress(done);
    for (file, table) in all {
        let body = fetch(&store, &file.path, file.size_bytes, &mut report.problems).await?;
        let edges = match &file.edges {
            Some(edges) => {
                fetch(&store, &edges.path, edges.size_bytes, &mut report.problems).await?
            }
            None => None,
        };
        if let Some(body) = body {
            let file = file.clone();
            let checked = tokio::task::spawn_blocking(move || table.check(&file, body, edges));
            let (count, problems) =
                checked.await.map_err(|error| StoreError::Panicked(error.to_string()))?;
            report.count += count;
            report.problems.extend(problems);
        }
        report.files += 1;
        report.bytes += bytes(file);
        done.files += 1;
        done.bytes += bytes(file);
        progress(done);
    }
    report.rows = manifest.files.iter().map(|file| file.rows).sum();
    report.orphans =
        store.unnamed(&manifest).await?.into_iter().map(|o| o.location.into()).collect();
    Ok(report)
}

fn bytes(file: &DataFile) -> u64 {
    file.size_bytes + file.edges.as_ref().map_or(0, |edges| edges.size_bytes)
}

/// Files that are named more than once: their rows would count as often.
fn twice(manifest: &Manifest, problems: &mut Vec<String>) {
    let mut named: HashMap<&str, usize> = HashMap::new();
    let files = manifest.files.iter().chain(&manifest.objects).chain(&manifest.loss);
    let edges = manifest.files.iter().filter_map(|file| file.edges.as_ref());
    for path in files.map(|file| &file.path).chain(edges.map(|edges| &edges.path)) {
        *named.entry(path).or_default() += 1;
    }
    let removed: HashSet<&str> =
        manifest.removed.iter().map(|removed| removed.path.as_str()).collect();
    for (path, times) in named {
        if times > 1 {
            problems.push(format!("{path}: the manifest names it {times} times"));
        }
        if removed.contains(path) {
            problems.push(format!("{path}: the manifest names it and says it is to be deleted"));
        }
    }
}

/// The object, if it is there and as long as it should be.
async fn fetch(
    store: &Store,
    path: &str,
    size: u64,
    problems: &mut Vec<String>,
) -> Result<Option<Bytes>, StoreError> {
    match store.get(path).await {
        Ok(body) if body.len() as u64 == size => Ok(Some(body)),
        Ok(body) => {
            problems.push(format!("{path}: has {} bytes, the manifest says {size}", body.len()));
            Ok(None)
        }
        Err(error) if error.is_not_found() => {
            problems.push(format!("{path}: is not there"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[derive(Clone, Copy, Debug)]
enum Table {
    Flows,
    Objects,
    Loss,
}

impl Table {
    fn schema(self) -> SchemaRef {
        match self {
            Self::Flows => stored_schema(),
            Self::Objects => object_schema(),
            Self::Loss => loss_schema(),
        }
    }

    /// Sum of `count`, and what is wrong.
    fn check(self, file: &DataFile, body: Bytes, edges: Option<Bytes>) -> (u64, Vec<String>) {
        let mut problems = Vec::new();
        let checked = self.compare(file, body, edges, &mut problems);
        let count = checked.unwrap_or_else(|error| {
            problems.push(error.to_string());
            0
        });
        (count, problems.into_iter().map(|what| format!("{}: {what}", file.path)).collect())
    }

    fn compare(
        self,
        file: &DataFile,
        body: Bytes,
        edges: Option<Bytes>,
        problems: &mut Vec<String>,
    ) -> Result<u64, StoreError> {
        let batches = parts::read(body, file.schema_version, &self.schema())?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if rows as u64 != file.rows {
            problems.push(format!("has {rows} rows, the manifest says {}", file.rows));
        }
        if !matches!(self, Self::Flows) {
            return Ok(0);
        }
        let columns = Columns::merge(&stored_schema(), &batches)?;
        let times = sort::time_range(&columns)?;
        if rows > 0 && times != (file.min_time_ns, file.max_time_ns) {
            problems.push(format!(
                "has times {times:?}, the manifest says {:?}",
                (file.min_time_ns, file.max_time_ns)
            ));
        }
        let parts = sort::partitions(&batches)?;
        if let Some(wrong) = parts
            .iter()
            .map(|part| part.verdicts)
            .find(|found| !matches!(file.verdicts, Verdicts::Any) && *found != file.verdicts)
        {
            problems.push(format!("has verdicts {wrong:?}, the manifest says {:?}", file.verdicts));
        }
        if !sort::is_sorted(&columns)? {
            problems.push("is not sorted".into());
        }
        if let (Some(stored), Some(named)) = (edges, &file.edges) {
            let stored = edge_rows(stored, file.schema_version)?;
            if stored.len() as u64 != named.rows {
                problems.push(format!(
                    "its roll-up has {} rows, the manifest says {}",
                    stored.len(),
                    named.rows
                ));
            }
            let made = encode_columns(&rollup::edges(&columns)?, &Shape::FLUSHED)?;
            if stored != edge_rows(made, file.schema_version)? {
                problems.push(format!("the roll-up {} is not that of its rows", named.path));
            }
        }
        let counts = batches.iter().filter_map(|batch| batch.column_by_name("count"));
        let sums =
            counts.map(|column| column.as_primitive::<UInt64Type>().values().iter().sum::<u64>());
        Ok(sums.sum())
    }
}

/// Edges in an order that says nothing.
fn edge_rows(body: Bytes, version: u32) -> Result<Vec<String>, StoreError> {
    let mut rows = Vec::new();
    for batch in parts::read(body, version, &edge_schema())? {
        rows.extend(EdgeRow::read(&batch)?.into_iter().map(|row| format!("{row:?}")));
    }
    rows.sort_unstable();
    Ok(rows)
}
