//! The loss ledger as values: what completeness is told from.
//!
//! Files never change, so what was read of them is kept while a manifest names them. What retention
//! removed is in the manifest, and is told as entries of the ledger.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::record_batch::RecordBatch;
use weir_flow::manifest::{DataFile, Expired, ExpiredCause, ExpiredClass, Manifest};
use weir_flow::schema::TimestampNs;
use weir_flow::schema::loss::{LossBuilder, LossRow, RETENTION};

use super::files;
use super::range::TimeRange;
use super::snapshot::Snapshot;
use super::store::Store;
use crate::error::QueryError;

/// Files of the ledger that one answer may need, together.
const MAX_BYTES: u64 = 64 << 20;

/// What retention removed, as entries of the ledger; `None` if it never did.
pub(super) fn of_retention(manifest: &Manifest) -> Option<RecordBatch> {
    let mut builder = LossBuilder::default();
    manifest.expired.iter().for_each(|expired| builder.append(&entry(expired)));
    (!manifest.expired.is_empty()).then(|| builder.finish())
}

fn entry(expired: &Expired) -> LossRow {
    let (verdict, unit) = match expired.class {
        ExpiredClass::Any => ("", "rows"),
        ExpiredClass::Allow => ("allow", "rows"),
        ExpiredClass::Deny => ("deny", "rows"),
        ExpiredClass::Loss => ("", "entries"),
    };
    let reason = match expired.cause {
        ExpiredCause::Age => "age",
        ExpiredCause::Size => "size",
    };
    LossRow {
        time: TimestampNs(expired.from_ns),
        end_time: TimestampNs(expired.until_ns),
        cluster: String::new(),
        node: String::new(),
        stage: RETENTION.into(),
        verdict: verdict.into(),
        unit: unit.into(),
        count: expired.rows,
        reason: reason.into(),
    }
}

/// Reads ledgers.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    read: Mutex<HashMap<String, Arc<Vec<LossRow>>>>,
}

impl Ledger {
    /// What was lost in intervals that meet the range.
    pub(crate) async fn rows(
        &self,
        store: &Store,
        snapshot: &Snapshot,
        range: TimeRange,
    ) -> Result<Vec<LossRow>, QueryError> {
        let stored = &snapshot.stored.loss;
        let meets = |file: &&DataFile| range.meets(file.min_time_ns, file.max_time_ns);
        let files: Vec<&DataFile> = stored.iter().filter(meets).collect();
        let bytes: u64 = files.iter().map(|file| file.size_bytes).sum();
        if bytes > MAX_BYTES {
            return Err(QueryError::Unavailable(format!(
                "the ledger has {bytes} bytes for that time, {MAX_BYTES} are read: narrow the \
                 query by time, or ask table `loss`"
            )));
        }
        let lock = || self.read.lock().unwrap_or_else(PoisonError::into_inner);
        lock().retain(|path, _| stored.iter().any(|file| file.path == *path));
        let mut found = Vec::new();
        let met = |row: &&LossRow| range.meets(row.time.0, row.end_time.0);
        for file in files {
            let known = lock().get(&file.path).cloned();
            let rows = match known {
                Some(rows) => rows,
                None => {
                    let gone = || QueryError::Unavailable(format!("{} is gone", file.path));
                    let rows = files::rows(store, file, LossRow::read).await?.ok_or_else(gone)?;
                    let rows = Arc::new(rows);
                    lock().insert(file.path.clone(), rows.clone());
                    rows
                }
            };
            found.extend(rows.iter().filter(met).cloned());
        }
        for batch in &snapshot.hot_losses {
            let rows = LossRow::read(batch).map_err(|e| QueryError::Internal(e.to_string()))?;
            found.extend(rows.iter().filter(met).cloned());
        }
        Ok(found)
    }
}
