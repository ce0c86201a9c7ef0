//! Hot and stored rows of one moment, each row exactly once.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use weir_flow::manifest::Manifest;

use super::history::History;
use super::hot::Hot;
use super::objects::Objects;
use super::store::Store;
use crate::error::QueryError;

/// How often a manifest may be pruned between the relay's word and our reading before we give up.
pub(super) const ATTEMPTS: usize = 5;

/// All rows of one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) hot: Vec<RecordBatch>,
    pub(crate) stored: Arc<Manifest>,
    /// What the answer must say about itself.
    pub(crate) warnings: Vec<String>,
}

/// Takes snapshots.
#[derive(Debug)]
pub(crate) struct Snapshots {
    pub(crate) hot: Hot,
    pub(crate) store: Store,
    pub(crate) objects: Objects,
}

impl Snapshots {
    /// The versions of the clusters' objects known by now, and what the answer must say about itself.
    pub(crate) async fn history(&self) -> Result<(Arc<History>, Vec<String>), QueryError> {
        self.objects.history(&self.store).await
    }

    /// The rows acknowledged by now. Without the relay: the stored ones, with a warning.
    pub(crate) async fn take(&self) -> Result<Snapshot, QueryError> {
        let unavailable =
            |error: &dyn std::fmt::Display| QueryError::Unavailable(error.to_string());
        for _ in 0..ATTEMPTS {
            let view = match self.hot.refresh().await {
                Ok(view) => view,
                Err(error) => {
                    tracing::warn!(%error, "answering from the store alone");
                    let stored = self.store.newest().await.map_err(|error| unavailable(&error))?;
                    let warning = format!("rows that are not stored yet are missing: {error}");
                    return Ok(Snapshot { hot: vec![], stored, warnings: vec![warning] });
                }
            };
            let manifest = self.store.manifest(view.manifest_version).await;
            if let Some(stored) = manifest.map_err(|error| unavailable(&error))? {
                return Ok(Snapshot { hot: view.after(0), stored, warnings: vec![] });
            }
        }
        Err(QueryError::Unavailable(format!(
            "the relay at {} names manifests that are not in the store: \
             check that both use the same store",
            self.hot.relay().address()
        )))
    }
}
