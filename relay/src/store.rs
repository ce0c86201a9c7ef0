//! Manifests and data files in an object store.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use weir_flow::manifest::{
    DataFile, FLOWS_PREFIX, MANIFEST_PREFIX, MANIFESTS_KEPT, Manifest, StoredUpTo,
};

use crate::error::StoreError;
use crate::senders::FORGET_AFTER_NS;

/// The objects of one store.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    objects: Arc<dyn ObjectStore>,
}

impl Store {
    pub(crate) fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects }
    }

    /// The manifest in force; an empty one of version 0 while there is none.
    pub(crate) async fn newest(&self) -> Result<Manifest, StoreError> {
        let versions = self.versions().await?;
        let Some(version) = versions.into_iter().max() else { return Ok(Manifest::default()) };
        let path = Manifest::path(version);
        let failed = |source| StoreError::Object { what: format!("cannot read {path}"), source };
        let body = self
            .objects
            .get(&Path::from(path.as_str()))
            .await
            .map_err(failed)?
            .bytes()
            .await
            .map_err(failed)?;
        let mut manifest: Manifest = serde_json::from_slice(&body)
            .map_err(|source| StoreError::Manifest { path: path.clone(), source })?;
        manifest.version = version;
        Ok(manifest)
    }

    /// Writes a data file. Names are unique, so writing it once more changes nothing.
    pub(crate) async fn put(&self, path: &str, body: Bytes) -> Result<(), StoreError> {
        self.objects
            .put(&Path::from(path), body.into())
            .await
            .map(drop)
            .map_err(|source| StoreError::Object { what: format!("cannot write {path}"), source })
    }

    /// Makes `files` count. `known` is the manifest last seen; if somebody else wrote a newer one,
    /// that is taken further. Once this succeeded it may be repeated and changes nothing more.
    pub(crate) async fn add(
        &self,
        known: &Manifest,
        files: &[DataFile],
        stored: &[StoredUpTo],
        certain: bool,
    ) -> Result<Manifest, StoreError> {
        let mut base = if certain { known.clone() } else { self.newest().await? };
        loop {
            let here = files.first().is_some_and(|new| base.files.iter().any(|old| old == new));
            if here {
                return Ok(base);
            }
            let next = succeed(&base, files, stored);
            let path = Manifest::path(next.version);
            let body = serde_json::to_vec(&next)
                .map_err(|source| StoreError::Manifest { path: path.clone(), source })?;
            let options = PutOptions::from(PutMode::Create);
            let put = self.objects.put_opts(&path.as_str().into(), body.into(), options).await;
            match put {
                Ok(_) => return Ok(next),
                Err(Error::AlreadyExists { .. }) => base = self.newest().await?,
                Err(source) => {
                    return Err(StoreError::Object {
                        what: format!("cannot write {path}"),
                        source,
                    });
                }
            }
        }
    }

    /// Removes manifests that are too old for any reader. Best effort: what stays is tried again.
    pub(crate) async fn prune(&self, newest: u64) {
        let Ok(versions) = self.versions().await else { return };
        for version in versions {
            if version.saturating_add(MANIFESTS_KEPT) < newest {
                let _ = self.objects.delete(&Manifest::path(version).as_str().into()).await;
            }
        }
    }

    /// Deletes data files that no manifest names: an earlier process died between writing them
    /// and making them count. Which of their rows will be sent again nobody knows any more, so they
    /// go the way of all rows that were only in that process's memory.
    pub(crate) async fn sweep(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let named: HashSet<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
        let failed = |source| StoreError::Object { what: "cannot list files".into(), source };
        let prefix = Path::from(FLOWS_PREFIX);
        let mut listed = self.objects.list(Some(&prefix));
        let mut left = Vec::new();
        while let Some(object) = listed.try_next().await.map_err(failed)? {
            if !named.contains(object.location.as_ref()) {
                left.push(object);
            }
        }
        drop(listed);
        for object in left {
            tracing::warn!(path = %object.location, bytes = object.size, "deleting a data file that no manifest names");
            self.objects.delete(&object.location).await.map_err(|source| StoreError::Object {
                what: format!("cannot delete {}", object.location),
                source,
            })?;
        }
        Ok(())
    }

    async fn versions(&self) -> Result<Vec<u64>, StoreError> {
        let prefix = Path::from(MANIFEST_PREFIX);
        self.objects
            .list(Some(&prefix))
            .try_filter_map(async |object| Ok(Manifest::version_of(object.location.as_ref())))
            .try_collect()
            .await
            .map_err(|source| StoreError::Object { what: "cannot list manifests".into(), source })
    }
}

/// The manifest after `base` that has `files` and `stored` too.
fn succeed(base: &Manifest, files: &[DataFile], stored: &[StoredUpTo]) -> Manifest {
    let mut furthest: BTreeMap<(&str, u64), &StoredUpTo> = BTreeMap::new();
    let now = stored.iter().map(|entry| entry.last_seen_ns).max().unwrap_or(0);
    let known =
        base.stored.iter().filter(|entry| now.saturating_sub(entry.last_seen_ns) < FORGET_AFTER_NS);
    for entry in stored.iter().chain(known) {
        let best = furthest.entry((&entry.collector, entry.epoch)).or_insert(entry);
        if entry.sequence > best.sequence {
            *best = entry;
        }
    }
    Manifest {
        version: base.version + 1,
        files: base.files.iter().chain(files).cloned().collect(),
        objects: base.objects.clone(),
        stored: furthest.into_values().cloned().collect(),
    }
}

#[cfg(test)]
mod tests;
