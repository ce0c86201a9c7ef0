//! The history of objects, brought up to date for each query: the files of the manifest, and what
//! the relay has not stored yet.
//!
//! Files are read again only when there are others; bounded by [`MAX_STORED_BYTES`].

use std::sync::{Arc, Mutex, PoisonError};

use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use object_store::ObjectStoreExt as _;
use object_store::path::Path as ObjectPath;
use weir_flow::manifest::DataFile;
use weir_flow::schema::objects::ObjectVersion;

use super::history::History;
use super::hot::Hot;
use super::snapshot::ATTEMPTS;
use super::store::Store;
use crate::error::QueryError;

/// Files of objects that are read, together: they take several times as much memory.
const MAX_STORED_BYTES: u64 = 256 << 20;

/// Makes histories.
#[derive(Debug)]
pub(crate) struct Objects {
    hot: Hot,
    made: Mutex<Made>,
}

/// The last history, and what it was made of.
#[derive(Clone, Debug, Default)]
struct Made {
    files: Vec<DataFile>,
    stored: Arc<History>,
    /// The relay's life, and its first and last position.
    hot: (u64, u64, u64),
    all: Arc<History>,
}

impl Objects {
    pub(crate) fn new(hot: Hot) -> Self {
        Self { hot, made: Mutex::default() }
    }

    /// What is known by now, and what the answer must say about itself. Without the relay: what is
    /// stored, with a warning.
    pub(crate) async fn history(
        &self,
        store: &Store,
    ) -> Result<(Arc<History>, Vec<String>), QueryError> {
        let unavailable =
            |error: &dyn std::fmt::Display| QueryError::Unavailable(error.to_string());
        for _ in 0..ATTEMPTS {
            let (manifest, view, warnings) = match self.hot.refresh().await {
                Ok(view) => {
                    let manifest = store.manifest(view.manifest_version).await;
                    let Some(manifest) = manifest.map_err(|error| unavailable(&error))? else {
                        continue;
                    };
                    (manifest, Some(view), vec![])
                }
                Err(error) => {
                    let stored = store.newest().await.map_err(|error| unavailable(&error))?;
                    let warning = format!("objects that are not stored yet are missing: {error}");
                    (stored, None, vec![warning])
                }
            };
            let last = self.made.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let stored = if last.files == manifest.objects && !last.files.is_empty() {
                last.stored.clone()
            } else {
                match read(store, &manifest.objects).await? {
                    Some(stored) => Arc::new(stored),
                    // Merged into another file meanwhile.
                    None => continue,
                }
            };
            let position = view.as_ref().map_or((0, 0, 0), |v| (v.epoch, v.first, v.last));
            let all = if Arc::ptr_eq(&stored, &last.stored) && position == last.hot {
                last.all
            } else {
                let mut versions = Vec::new();
                for batch in view.iter().flat_map(|view| view.after(0)) {
                    let read = ObjectVersion::read(&batch);
                    versions.extend(read.map_err(|error| unavailable(&error))?);
                }
                if versions.is_empty() { stored.clone() } else { Arc::new(stored.with(versions)) }
            };
            let files = manifest.objects.clone();
            let made = Made { files, stored, hot: position, all: all.clone() };
            *self.made.lock().unwrap_or_else(PoisonError::into_inner) = made;
            return Ok((all, warnings));
        }
        Err(QueryError::Unavailable(format!(
            "the relay at {} names files that are not in the store: check that both use the same store",
            self.hot.relay().address()
        )))
    }
}

/// What the files hold; `None` if one is gone.
async fn read(store: &Store, files: &[DataFile]) -> Result<Option<History>, QueryError> {
    let bytes: u64 = files.iter().map(|file| file.size_bytes).sum();
    if bytes > MAX_STORED_BYTES {
        return Err(QueryError::OutOfMemory(format!(
            "the history of objects has {bytes} bytes, {MAX_STORED_BYTES} are read"
        )));
    }
    let mut bodies = Vec::new();
    for file in files {
        let failed = |cause: &dyn std::fmt::Display| {
            QueryError::Unavailable(format!("{} in the store cannot be read: {cause}", file.path))
        };
        let path = ObjectPath::parse(&file.path).map_err(|error| failed(&error))?;
        match store.objects().get(&path).await {
            Ok(object) => bodies
                .push((file.path.clone(), object.bytes().await.map_err(|error| failed(&error))?)),
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed(&error)),
        }
    }
    let decode = move || {
        let mut versions = Vec::new();
        for (path, body) in bodies {
            let read = ParquetRecordBatchReaderBuilder::try_new(body)
                .and_then(ParquetRecordBatchReaderBuilder::build)
                .map_err(|error| error.to_string())
                .and_then(|batches| {
                    for batch in batches {
                        let batch = batch.map_err(|error| error.to_string())?;
                        let read = ObjectVersion::read(&batch);
                        versions.extend(read.map_err(|error| error.to_string())?);
                    }
                    Ok(())
                });
            read.map_err(|cause| QueryError::Unavailable(format!("{path} is damaged: {cause}")))?;
        }
        Ok(History::default().with(versions))
    };
    tokio::task::spawn_blocking(decode)
        .await
        .map_err(|error| QueryError::Internal(error.to_string()))?
        .map(Some)
}
