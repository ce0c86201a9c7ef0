//! The history of objects, brought up to date for each query: the files of the manifest, and what
//! the relays have not stored yet.
//!
//! Files are read again only when there are others; bounded by [`MAX_STORED_BYTES`].

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::join_all;
use weir_flow::manifest::DataFile;
use weir_flow::schema::objects::ObjectVersion;

use super::files;
use super::history::History;
use super::snapshot::ATTEMPTS;
use super::source::{self, Source};
use super::store::Store;
use crate::error::QueryError;

/// Files of objects that are read, together: they take several times as much memory.
const MAX_STORED_BYTES: u64 = 256 << 20;

/// Makes histories.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    made: Mutex<Made>,
}

/// The last history, and what it was made of.
#[derive(Clone, Debug, Default)]
struct Made {
    files: Vec<DataFile>,
    stored: Arc<History>,
    /// Of each relay its life, and its first and last position.
    hot: Vec<(u64, u64, u64)>,
    all: Arc<History>,
}

impl Objects {
    /// What is known by now, and what the answer must say about itself. Without a relay: what is
    /// stored, with a warning.
    pub(crate) async fn history(
        &self,
        sources: &[Source],
        store: &Store,
    ) -> Result<(Arc<History>, Vec<String>), QueryError> {
        let unavailable =
            |error: &dyn std::fmt::Display| QueryError::Unavailable(error.to_string());
        for _ in 0..ATTEMPTS {
            let answers = join_all(sources.iter().map(|source| source.objects.refresh())).await;
            let mut views = Vec::new();
            let mut warnings = Vec::new();
            for answer in answers {
                match answer {
                    Ok(view) => views.push(view),
                    Err(error) => warnings
                        .push(format!("objects that are not stored yet are missing: {error}")),
                }
            }
            let least = views.iter().map(|view| view.manifest_version).max().unwrap_or(0);
            let manifest = store.at_least(least, !warnings.is_empty()).await;
            let Some(manifest) = manifest.map_err(|error| unavailable(&error))? else { continue };
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
            let hot: Vec<_> =
                views.iter().map(|view| (view.epoch, view.first, view.last)).collect();
            let all = if Arc::ptr_eq(&stored, &last.stored) && hot == last.hot {
                last.all
            } else {
                let mut versions = Vec::new();
                // What a newer manifest has already is told twice, and kept once.
                for batch in views.iter().flat_map(|view| view.after(0)) {
                    let read = ObjectVersion::read(&batch);
                    versions.extend(read.map_err(|error| unavailable(&error))?);
                }
                if versions.is_empty() { stored.clone() } else { Arc::new(stored.with(versions)) }
            };
            let files = manifest.objects.clone();
            let made = Made { files, stored, hot, all: all.clone() };
            *self.made.lock().unwrap_or_else(PoisonError::into_inner) = made;
            return Ok((all, warnings));
        }
        Err(QueryError::Unavailable(format!(
            "{} name files that are not in the store: check that all use the same store",
            source::addresses(sources)
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
    let mut versions = Vec::new();
    for file in files {
        let Some(read) = files::rows(store, file, ObjectVersion::read).await? else {
            return Ok(None);
        };
        versions.extend(read);
    }
    let made = tokio::task::spawn_blocking(move || History::default().with(versions)).await;
    made.map(Some).map_err(|error| QueryError::Internal(error.to_string()))
}
