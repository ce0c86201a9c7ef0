//! Manifests and data files in an object store.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use weir_flow::manifest::{
    DataFile, EDGES_PREFIX, FLOWS_PREFIX, FlushedUpTo, LOSS_PREFIX, MANIFEST_PREFIX,
    MANIFESTS_KEPT, Manifest, OBJECTS_PREFIX, StoredUpTo,
};
use weir_flow::schema::loss::LossRow;
use weir_flow::schema::objects::ObjectVersion;

use crate::error::StoreError;
use crate::parts::EncodedFile;
use crate::senders::FORGET_AFTER_NS;

/// How often a list is begun, and how long is waited after the first that broke off.
const LIST_ATTEMPTS: u32 = 5;
const LIST_PAUSE: Duration = Duration::from_millis(50);
/// Files of tables that are merged below this size are made into one when there are enough of them.
const SMALL_BYTES: u64 = 8 << 20;
/// How many are enough.
const SMALL_FILES: usize = 8;

/// A file that no manifest names may be deleted at that age. Whoever writes a file makes it count
/// within half of it, or writes it once more.
pub(crate) const ORPHAN_AGE: Duration = Duration::from_secs(3600);

/// A new file of a table that is merged, and those whose rows it holds too.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MergedFile {
    pub(crate) file: DataFile,
    pub(crate) replaces: Vec<String>,
}

/// What a flush adds to the manifest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Change<'a> {
    pub(crate) files: &'a [DataFile],
    pub(crate) objects: Option<&'a MergedFile>,
    pub(crate) loss: Option<&'a MergedFile>,
    /// How far the collectors are with it.
    pub(crate) stored: &'a [StoredUpTo],
    /// How far the relay is with it.
    pub(crate) flushed: Option<&'a FlushedUpTo>,
    /// How far it was without it.
    pub(crate) after: u64,
}

/// The objects of one store.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) objects: Arc<dyn ObjectStore>,
}

impl Store {
    pub(crate) fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects }
    }

    /// The manifest in force; an empty one of version 0 while there is none.
    pub(crate) async fn newest(&self) -> Result<Manifest, StoreError> {
        let version = self.newest_version().await?;
        if version == 0 {
            return Ok(Manifest::default());
        }
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

    /// Writes a file of flows and its roll-up.
    pub(crate) async fn put_encoded(&self, encoded: &EncodedFile) -> Result<(), StoreError> {
        self.put(&encoded.file.path, encoded.body.clone()).await?;
        match &encoded.file.edges {
            Some(edges) => self.put(&edges.path, encoded.edges.clone()).await,
            None => Ok(()),
        }
    }

    /// A whole object.
    pub(crate) async fn get(&self, path: &str) -> Result<Bytes, StoreError> {
        let failed = |source| StoreError::Object { what: format!("cannot read {path}"), source };
        self.objects.get(&Path::from(path)).await.map_err(failed)?.bytes().await.map_err(failed)
    }

    /// Deletes an object that nobody reads any more. Best effort: the next start sweeps the rest.
    pub(crate) async fn delete(&self, path: &str) {
        let _ = self.objects.delete(&path.into()).await;
    }

    /// The versions in the files of objects. A file that cannot be read is left out and reported:
    /// collectors say again what there is now.
    pub(crate) async fn versions_of_objects(&self, manifest: &Manifest) -> Vec<ObjectVersion> {
        let mut all = Vec::new();
        for file in &manifest.objects {
            match self.read_objects(&file.path).await {
                Ok(versions) => all.extend(versions),
                Err(error) => tracing::error!(%error, "a file of objects is left out"),
            }
        }
        all
    }

    /// The small files of objects with what they hold, if there are enough to make one of them.
    pub(crate) async fn small_object_files(
        &self,
        manifest: &Manifest,
    ) -> Vec<(String, Vec<ObjectVersion>)> {
        let mut read = Vec::new();
        for path in small_files(&manifest.objects, "") {
            match self.read_objects(path).await {
                Ok(versions) => read.push((path.to_owned(), versions)),
                Err(error) => tracing::error!(%error, "a file of objects stays as it is"),
            }
        }
        read
    }

    /// The same of the ledger, whose rows count once: only those whose names begin with `prefix`, that
    /// no other relay merges.
    pub(crate) async fn small_loss_files(
        &self,
        manifest: &Manifest,
        prefix: &str,
    ) -> Vec<(String, Vec<LossRow>)> {
        let mut read = Vec::new();
        for path in small_files(&manifest.loss, &format!("{LOSS_PREFIX}/{prefix}")) {
            match self.read_losses(path).await {
                Ok(losses) => read.push((path.to_owned(), losses)),
                Err(error) => tracing::error!(%error, "a file of the ledger stays as it is"),
            }
        }
        read
    }

    async fn read_objects(&self, path: &str) -> Result<Vec<ObjectVersion>, StoreError> {
        let mut versions = Vec::new();
        for batch in self.read(path).await? {
            versions.extend(ObjectVersion::read(&batch?)?);
        }
        Ok(versions)
    }

    async fn read_losses(&self, path: &str) -> Result<Vec<LossRow>, StoreError> {
        let mut losses = Vec::new();
        for batch in self.read(path).await? {
            losses.extend(LossRow::read(&batch?)?);
        }
        Ok(losses)
    }

    async fn read(&self, path: &str) -> Result<ParquetRecordBatchReader, StoreError> {
        Ok(ParquetRecordBatchReaderBuilder::try_new(self.get(path).await?)?.build()?)
    }

    /// Makes a change count. `known` is the manifest last seen; if somebody else wrote a newer one,
    /// that is taken further. Once this succeeded it may be repeated and changes nothing more.
    ///
    /// # Errors
    /// Of the store; or a manifest that this relay's process before asked for, and that came into force
    /// only now, has a part of the rows.
    pub(crate) async fn add(
        &self,
        known: &Manifest,
        change: Change<'_>,
        certain: bool,
    ) -> Result<Manifest, StoreError> {
        let base = if certain { known.clone() } else { self.newest().await? };
        let is_done = |base: &Manifest| is_in(base, change);
        let next = |base: &Manifest| (!is_overtaken(base, change)).then(|| succeed(base, change));
        self.change(&base, is_done, next).await?.ok_or(StoreError::Overtaken)
    }

    /// Writes the manifest after `known`, or after newer ones that others wrote: what `next` makes of
    /// it, unless `is_done` already. `None` if `next` gives up. An error may come after the manifest
    /// was written.
    pub(crate) async fn change(
        &self,
        known: &Manifest,
        is_done: impl Fn(&Manifest) -> bool,
        next: impl Fn(&Manifest) -> Option<Manifest>,
    ) -> Result<Option<Manifest>, StoreError> {
        let mut base = known.clone();
        loop {
            if is_done(&base) {
                return Ok(Some(base));
            }
            let Some(mut next) = next(&base) else { return Ok(None) };
            next.version = base.version + 1;
            let path = Manifest::path(next.version);
            let body = serde_json::to_vec(&next)
                .map_err(|source| StoreError::Manifest { path: path.clone(), source })?;
            let options = PutOptions::from(PutMode::Create);
            let put = self.objects.put_opts(&path.as_str().into(), body.into(), options).await;
            match put {
                Ok(_) if self.newest_version().await? <= next.version => return Ok(Some(next)),
                // Somebody was faster; or so much faster that the version of the past that we took
                // for the newest is deleted, and what we wrote in its wake is in force for nobody.
                Ok(_) | Err(Error::AlreadyExists { .. }) => base = self.newest().await?,
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

    /// Deletes data files that no manifest names: some process died between writing them and making
    /// them count, and their rows are in its write-ahead log. Of this relay, whose names begin with
    /// `prefix`, all; of others those of at least an age, since younger ones may be a flush under way.
    pub(crate) async fn sweep(
        &self,
        manifest: &Manifest,
        prefix: Option<&str>,
        age: Duration,
    ) -> Result<(), StoreError> {
        let before = SystemTime::now() - age;
        for object in self.unnamed(manifest).await? {
            let name = object.location.filename().unwrap_or_default();
            let is_ours = prefix.is_some_and(|prefix| name.starts_with(prefix));
            if !is_ours && SystemTime::from(object.last_modified) > before {
                continue;
            }
            tracing::warn!(path = %object.location, bytes = object.size, "deleting a data file that no manifest names");
            match self.objects.delete(&object.location).await {
                // Another relay was faster, or an answer got lost and the client asked again.
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(source) => {
                    let what = format!("cannot delete {}", object.location);
                    return Err(StoreError::Object { what, source });
                }
            }
        }
        Ok(())
    }

    async fn newest_version(&self) -> Result<u64, StoreError> {
        Ok(self.versions().await?.into_iter().max().unwrap_or(0))
    }

    /// Data files that the manifest does not name, not even as removed.
    pub(crate) async fn unnamed(&self, manifest: &Manifest) -> Result<Vec<ObjectMeta>, StoreError> {
        let files = manifest.files.iter().chain(&manifest.objects).chain(&manifest.loss);
        let edges = manifest.files.iter().filter_map(|file| file.edges.as_ref());
        let removed = manifest.removed.iter().map(|removed| &removed.path);
        let named: HashSet<&str> = files
            .map(|file| &file.path)
            .chain(edges.map(|edges| &edges.path))
            .chain(removed)
            .map(String::as_str)
            .collect();
        let failed = |source| StoreError::Object { what: "cannot list files".into(), source };
        let mut unnamed = Vec::new();
        for prefix in [FLOWS_PREFIX, EDGES_PREFIX, OBJECTS_PREFIX, LOSS_PREFIX] {
            let is_unnamed =
                |object: ObjectMeta| (!named.contains(object.location.as_ref())).then_some(object);
            unnamed.extend(self.list(prefix, is_unnamed).await.map_err(failed)?);
        }
        Ok(unnamed)
    }

    /// What `keep` makes of the objects below a prefix. A list that breaks off in the middle is
    /// begun again, which the client leaves to its caller.
    async fn list<T>(
        &self,
        prefix: &str,
        keep: impl Fn(ObjectMeta) -> Option<T>,
    ) -> object_store::Result<Vec<T>> {
        let prefix = Path::from(prefix);
        let mut attempt = 1;
        loop {
            let kept = self.objects.list(Some(&prefix));
            let kept = kept.try_filter_map(|object| std::future::ready(Ok(keep(object))));
            match kept.try_collect().await {
                Err(error) if attempt < LIST_ATTEMPTS => {
                    tracing::debug!(%error, attempt, "a list of the store broke off");
                    tokio::time::sleep(LIST_PAUSE * attempt).await;
                    attempt += 1;
                }
                listed => return listed,
            }
        }
    }

    async fn versions(&self) -> Result<Vec<u64>, StoreError> {
        let version = |object: ObjectMeta| Manifest::version_of(object.location.as_ref());
        let listed = self.list(MANIFEST_PREFIX, version).await;
        listed.map_err(|source| StoreError::Object { what: "cannot list manifests".into(), source })
    }
}

/// Whether the change was made. Its files may be gone again, merged by another relay, but how far
/// this one is stays.
fn is_in(base: &Manifest, change: Change<'_>) -> bool {
    let is_flushed = change.flushed.is_some_and(|new| {
        base.flushed.iter().any(|flushed| {
            flushed.relay_epoch == new.relay_epoch
                && flushed.position >= new.position
                && flushed.loss_position >= new.loss_position
        })
    });
    is_flushed || change.objects.is_some_and(|new| base.objects.contains(&new.file))
}

/// Whether some of the change's rows came into the manifest by another one.
fn is_overtaken(base: &Manifest, change: Change<'_>) -> bool {
    change.flushed.is_some_and(|new| {
        let ours = base.flushed.iter().find(|flushed| flushed.relay_epoch == new.relay_epoch);
        ours.is_some_and(|ours| ours.position > change.after)
    })
}

/// The small files whose paths begin with `prefix`, if there are enough of them.
fn small_files<'a>(files: &'a [DataFile], prefix: &str) -> Vec<&'a str> {
    let is_small =
        |file: &&DataFile| file.size_bytes < SMALL_BYTES && file.path.starts_with(prefix);
    let small: Vec<&str> = files.iter().filter(is_small).map(|file| file.path.as_str()).collect();
    if small.len() < SMALL_FILES { Vec::new() } else { small }
}

/// The manifest after `base` that has the change too.
fn succeed(base: &Manifest, change: Change<'_>) -> Manifest {
    let mut furthest: BTreeMap<(&str, u64), &StoredUpTo> = BTreeMap::new();
    let now = change.stored.iter().map(|entry| entry.last_seen_ns).max().unwrap_or(0);
    let known =
        base.stored.iter().filter(|entry| now.saturating_sub(entry.last_seen_ns) < FORGET_AFTER_NS);
    for entry in change.stored.iter().chain(known) {
        let best = furthest.entry((&entry.collector, entry.epoch)).or_insert(entry);
        if entry.sequence > best.sequence {
            *best = entry;
        }
    }
    let others = base.flushed.iter().filter(|entry| {
        change.flushed.is_none_or(|new| {
            entry.relay_epoch != new.relay_epoch
                && new.at_ns.saturating_sub(entry.at_ns) < FORGET_AFTER_NS
        })
    });
    Manifest {
        version: base.version + 1,
        files: base.files.iter().chain(change.files).cloned().collect(),
        objects: merge(&base.objects, change.objects),
        loss: merge(&base.loss, change.loss),
        stored: furthest.into_values().cloned().collect(),
        flushed: others.chain(change.flushed).cloned().collect(),
        removed: base.removed.clone(),
        expired: base.expired.clone(),
    }
}

fn merge(base: &[DataFile], change: Option<&MergedFile>) -> Vec<DataFile> {
    let replaces = change.map_or(&[] as &[String], |change| &change.replaces);
    let kept = base.iter().filter(|file| !replaces.contains(&file.path));
    kept.chain(change.map(|change| &change.file)).cloned().collect()
}

#[cfg(test)]
mod tests;
