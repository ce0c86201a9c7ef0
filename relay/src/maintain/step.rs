//! One step of keeping a store in order.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use weir_flow::manifest::{DataFile, ExpiredCause, ExpiredClass, Manifest, Removed};
use weir_flow::schema::stored_schema;

use super::Maintenance;
use super::plan::{self, Eagerness};
use crate::error::StoreError;
use crate::parts::{self, EncodedFile};
use crate::store::ORPHAN_AGE;

/// What a step did.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Files became fewer.
    Merged {
        /// How many there were.
        from: usize,
        /// How many there are.
        to: usize,
        /// Their rows.
        rows: u64,
        /// Bytes before, roll-ups too.
        bytes_before: u64,
        /// Bytes after.
        bytes_after: u64,
        /// How long it took.
        seconds: f64,
    },
    /// Files that were kept for long enough, and files that no reader needs any more.
    Removed {
        /// Files past their time or above the size.
        files: u64,
        /// Their rows.
        rows: u64,
        /// Their bytes.
        bytes: u64,
        /// Files deleted: replaced or removed a while ago.
        deleted: usize,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Merged { from, to, rows, bytes_before, bytes_after, seconds } => write!(
                f,
                "merged {from} files into {to}: {rows} rows, {bytes_before} bytes before, \
                 {bytes_after} after, in {seconds:.1} s"
            ),
            Self::Removed { files, rows, bytes, deleted } => write!(
                f,
                "removed {files} files by age or size ({rows} rows, {bytes} bytes), \
                 deleted {deleted} that nobody reads any more"
            ),
        }
    }
}

impl Maintenance {
    /// The next step and the manifest after it; `None` if there is nothing to do.
    ///
    /// # Errors
    /// The store cannot be read or written. Nothing is lost then, and the next step may be as if
    /// this one had been made or not.
    pub(crate) async fn step(
        &mut self,
        known: &Manifest,
        now_ns: u64,
        eagerness: Eagerness,
    ) -> Result<Option<(Manifest, Step)>, StoreError> {
        if let Some(removed) = self.remove(known, now_ns).await? {
            return Ok(Some(removed));
        }
        let mut known = known.clone();
        loop {
            let mut whole = known.clone();
            whole.files.retain(|file| !self.damaged.contains(&file.path));
            let Some(files) = plan::merge(&whole, now_ns, eagerness) else { return Ok(None) };
            match self.merge(&known, files, now_ns).await? {
                Outcome::Merged(manifest, step) => return Ok(Some((*manifest, step))),
                Outcome::Damaged(paths) => self.damaged.extend(paths),
                Outcome::Overtaken => known = self.store.newest().await?,
            }
        }
    }

    /// Drops what is kept for long enough from the manifest, and deletes what was dropped a while ago.
    async fn remove(
        &self,
        known: &Manifest,
        now_ns: u64,
    ) -> Result<Option<(Manifest, Step)>, StoreError> {
        let age_ns = u64::try_from(self.delete_after.as_nanos()).unwrap_or(u64::MAX);
        let is_due = |removed: &Removed| removed.at_ns.saturating_add(age_ns) <= now_ns;
        let gone: Vec<(DataFile, ExpiredCause)> = plan::expired(known, now_ns, &self.retention)
            .into_iter()
            .map(|(file, cause)| (file.clone(), cause))
            .collect();
        let due: Vec<&Removed> = known.removed.iter().filter(|removed| is_due(removed)).collect();
        if gone.is_empty() && due.is_empty() {
            return Ok(None);
        }
        for removed in &due {
            self.store.delete(&removed.path).await;
        }
        let step = Step::Removed {
            files: gone.len() as u64,
            rows: gone.iter().map(|(file, _)| file.rows).sum(),
            bytes: gone.iter().map(|(file, _)| bytes(file)).sum(),
            deleted: due.len(),
        };
        let changed = self
            .store
            .change(
                known,
                |_| false,
                |base| {
                    let mut next = base.clone();
                    next.removed.retain(|removed| !is_due(removed));
                    // Another relay may have removed or merged some of them.
                    let mut dropped = Vec::new();
                    for (file, cause) in &gone {
                        let class = if base.files.contains(file) {
                            file.verdicts.into()
                        } else if base.loss.contains(file) {
                            ExpiredClass::Loss
                        } else {
                            continue;
                        };
                        next.expire(class, *cause, file);
                        dropped.push(file.clone());
                    }
                    next.files.retain(|file| !dropped.contains(file));
                    next.loss.retain(|file| !dropped.contains(file));
                    next.removed.extend(removals(&dropped, now_ns));
                    Some(next)
                },
            )
            .await?;
        Ok(changed.map(|manifest| (manifest, step)))
    }

    /// Makes the files one.
    async fn merge(
        &mut self,
        known: &Manifest,
        files: Vec<DataFile>,
        now_ns: u64,
    ) -> Result<Outcome, StoreError> {
        let began = Instant::now();
        let mut bodies = Vec::with_capacity(files.len());
        for file in &files {
            match self.store.get(&file.path).await {
                Ok(body) => bodies.push((body, file.schema_version)),
                Err(error) if error.is_not_found() => {
                    if !self.store.newest().await?.files.contains(file) {
                        return Ok(Outcome::Overtaken);
                    }
                    tracing::error!(%error, "a file that the manifest names is not there");
                    return Ok(Outcome::Damaged(vec![file.path.clone()]));
                }
                Err(error) => return Err(error),
            }
        }
        let level = files.iter().map(|file| file.level).max().unwrap_or(0) + 1;
        let name = format!("{}-m{}", self.name, self.numbered);
        self.numbered += 1;
        let merged = tokio::task::spawn_blocking(move || merge(bodies, &name, level))
            .await
            .map_err(|error| StoreError::Panicked(error.to_string()))??;
        let new = match merged {
            Ok(new) => new,
            Err((number, error)) => {
                let path = files[number].path.clone();
                tracing::error!(path, %error, "a file is damaged and stays as it is");
                return Ok(Outcome::Damaged(vec![path]));
            }
        };
        let rows: u64 = files.iter().map(|file| file.rows).sum();
        let found: u64 = new.iter().map(|encoded| encoded.file.rows).sum();
        if found != rows {
            tracing::error!(
                rows,
                found,
                "files have other rows than the manifest says: not merged"
            );
            return Ok(Outcome::Damaged(files.into_iter().map(|file| file.path).collect()));
        }
        for encoded in &new {
            self.store.put_encoded(encoded).await?;
        }
        if began.elapsed() > ORPHAN_AGE / 2 {
            return Err(StoreError::TooSlow { took: began.elapsed() });
        }
        let new: Vec<DataFile> = new.into_iter().map(|encoded| encoded.file).collect();
        let is_done = |base: &Manifest| new.iter().any(|file| base.files.contains(file));
        let changed = self
            .store
            .change(known, is_done, |base| {
                // Somebody else merged or removed some of them. Ours go with the next sweep.
                if !files.iter().all(|file| base.files.contains(file)) {
                    return None;
                }
                let mut next = base.clone();
                next.files.retain(|file| !files.contains(file));
                next.files.extend(new.iter().cloned());
                next.removed.extend(removals(&files, now_ns));
                Some(next)
            })
            .await?;
        let Some(manifest) = changed else { return Ok(Outcome::Overtaken) };
        let step = Step::Merged {
            from: files.len(),
            to: new.len(),
            rows,
            bytes_before: files.iter().map(bytes).sum(),
            bytes_after: new.iter().map(bytes).sum(),
            seconds: began.elapsed().as_secs_f64(),
        };
        Ok(Outcome::Merged(Box::new(manifest), step))
    }
}

/// How an attempt to merge ended.
enum Outcome {
    Merged(Box<Manifest>, Step),
    /// These files cannot be merged.
    Damaged(Vec<String>),
    /// Another relay changed the files.
    Overtaken,
}

/// The rows of the bodies in new files; or which of them is damaged.
fn merge(
    bodies: Vec<(Bytes, u32)>,
    name: &str,
    level: u32,
) -> Result<Result<Vec<EncodedFile>, (usize, StoreError)>, StoreError> {
    let mut batches = Vec::new();
    for (number, (body, version)) in bodies.into_iter().enumerate() {
        match parts::read(body, version, &stored_schema()) {
            Ok(read) => batches.extend(read),
            Err(error) => return Ok(Err((number, error))),
        }
    }
    parts::encode_merged(&batches, name, level).map(Ok)
}

fn bytes(file: &DataFile) -> u64 {
    file.size_bytes + file.edges.as_ref().map_or(0, |edges| edges.size_bytes)
}

/// The objects of files that are not named any more.
fn removals(files: &[DataFile], at_ns: u64) -> impl Iterator<Item = Removed> {
    let edges = files.iter().filter_map(|file| file.edges.as_ref()).map(|edges| &edges.path);
    let paths = files.iter().map(|file| &file.path).chain(edges);
    paths.map(move |path| Removed { path: path.clone(), at_ns })
}
