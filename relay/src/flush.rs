//! When and how hot rows become files.
//!
//! In: what is hot. Out: Parquet files, then a manifest that names them. One flush at a time.
//! A flush that fails is tried again, the very same files, until the store takes them: the rows
//! stay hot, and when they are too many, collectors wait. Sorting and encoding run on a thread
//! of their own. When told to stop, one last flush, within a deadline.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use weir_flow::manifest::{
    DataFile, FlushedUpTo, LOSS_PREFIX, MANIFESTS_KEPT, OBJECTS_PREFIX, StoredUpTo,
};
use weir_flow::schema::SCHEMA_VERSION;
use weir_flow::schema::loss::LossRow;
use weir_flow::schema::objects::{ObjectVersion, ObjectVersionBuilder};

use crate::encode;
use crate::error::StoreError;
use crate::hot::{FlushJob, loss_batch};
use crate::objects::{ObjectsJob, tidy};
use crate::parts::{EncodedFile, encode_flows};
use crate::relay::{Shared, now_ns};
use crate::store::{Change, MergedFile, ORPHAN_AGE, Store};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A flush that takes longer shows in the status.
const SLOW: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Writes what is hot.
#[derive(Debug)]
pub(crate) struct Flusher {
    pub(crate) shared: Arc<Shared>,
    pub(crate) store: Store,
    /// Begins the names of this relay's files.
    pub(crate) prefix: String,
    /// Begins those of this process.
    pub(crate) name: String,
    pub(crate) files_named: u64,
    /// How long rows that a flush took stay hot at least.
    pub(crate) linger: Duration,
    /// The flush under way. Kept over failures and cancellation: the same files are stored again,
    /// never the same rows under other names.
    pub(crate) pending: Option<Prepared>,
    /// How long a version of an object may wait.
    pub(crate) interval_ns: u64,
    /// Files of objects that newer ones replace, with the first manifest that does without them.
    pub(crate) replaced: VecDeque<(u64, String)>,
}

/// A flush that is ready to be stored.
#[derive(Debug)]
pub(crate) struct Prepared {
    files: Vec<EncodedFile>,
    stored: Vec<StoredUpTo>,
    flushed: Option<FlushedUpTo>,
    after: u64,
    objects: Option<ObjectsFile>,
    loss: Option<LossFile>,
    /// An attempt was made, so its manifest may exist although nobody said so.
    tried: bool,
}

/// Versions of objects that are ready to be stored.
#[derive(Debug)]
struct ObjectsFile {
    change: MergedFile,
    body: Bytes,
    up_to: u64,
}

/// Rows of the ledger that are ready to be stored.
#[derive(Debug)]
struct LossFile {
    change: MergedFile,
    body: Bytes,
}

impl Flusher {
    /// Flushes whenever it is due, until told to stop.
    pub(crate) async fn run(&mut self, stop: &CancellationToken) {
        let shared = self.shared.clone();
        loop {
            let (due, wait) = {
                let hot = shared.hot();
                let now = now_ns();
                let objects_at = shared.objects().waiting_since_ns();
                let objects_at = objects_at.map(|since| since.saturating_add(self.interval_ns));
                let at = [hot.flush_at_ns(), objects_at].into_iter().flatten().min();
                let wait = at.map(|at| Duration::from_nanos(at.saturating_sub(now)));
                (hot.flush_due(now) || objects_at.is_some_and(|at| at <= now), wait)
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.flush(), if due => {}
                () = shared.arrived.notified(), if !due => {}
                () = tokio::time::sleep(wait.unwrap_or_default()), if !due && wait.is_some() => {}
            }
        }
    }

    /// The last flush. What the store does not take in time stays in the write-ahead log, and the next
    /// start on that stores it.
    pub(crate) async fn finish(&mut self, within: Duration) {
        self.linger = Duration::ZERO;
        let all = async {
            while self.pending.is_some() || self.is_work_left() {
                self.flush().await;
            }
        };
        let finished = tokio::time::timeout(within, all).await;
        let hot = self.shared.hot();
        let rows = hot.size().0 + self.shared.objects().size().1;
        if rows > 0 {
            let cause = hot.status().problems.into_iter().next().filter(|_| finished.is_err());
            let cause = cause.unwrap_or("out of time".into());
            tracing::warn!(
                cause,
                "the write-ahead log keeps {rows} acknowledged rows that are not stored: start a \
                 relay on it again, and it stores them"
            );
        }
    }

    fn is_work_left(&self) -> bool {
        self.shared.hot().flush_job(now_ns()).is_some()
            || self.shared.objects().flush_job().is_some()
    }

    async fn flush(&mut self) {
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut attempts = 0;
        while let Err(error) = self.watched_attempt().await {
            attempts += 1;
            self.failed(&error, attempts);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.shared.metrics.flushes.inc();
        self.shared.metrics.flush_seconds.observe(began.elapsed().as_secs_f64());
    }

    /// An attempt that shows in the status while it takes long.
    async fn watched_attempt(&mut self) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        let began = Instant::now();
        let attempt = self.attempt();
        tokio::pin!(attempt);
        loop {
            tokio::select! {
                done = &mut attempt => return done,
                () = tokio::time::sleep(SLOW) => {
                    let seconds = began.elapsed().as_secs();
                    shared.hot().store_problem(Some(format!(
                        "the store has not answered for {seconds} s: rows stay in memory"
                    )));
                }
            }
        }
    }

    async fn attempt(&mut self) -> Result<(), StoreError> {
        if self.pending.is_none() {
            let job = self.shared.hot().flush_job(now_ns());
            let objects = self.shared.objects().flush_job();
            if job.is_none() && objects.is_none() {
                return Ok(());
            }
            let taken = Instant::now();
            self.pending = Some(self.prepare(job.unwrap_or_default(), objects).await?);
            tokio::time::sleep(self.linger.saturating_sub(taken.elapsed())).await;
        }
        if let Some(pending) = &mut self.pending {
            let first = !std::mem::replace(&mut pending.tried, true);
            let stored = store(&self.shared, &self.store, pending, first).await;
            let version = match stored {
                Err(StoreError::Overtaken) => {
                    // What is stored leaves memory; the files, which no manifest names, go with a sweep.
                    self.shared.adopt(&self.store.newest().await?);
                    self.pending = None;
                    return Err(StoreError::Overtaken);
                }
                stored => stored?,
            };
            let objects = pending.objects.take().map(|objects| objects.change);
            for merged in objects.into_iter().chain(pending.loss.take().map(|loss| loss.change)) {
                self.replaced.extend(merged.replaces.into_iter().map(|path| (version, path)));
            }
            // Readers may hold manifests that old.
            while let Some((since, path)) = self.replaced.front()
                && since.saturating_add(MANIFESTS_KEPT) < version
            {
                self.store.delete(path).await;
                self.replaced.pop_front();
            }
        }
        self.pending = None;
        Ok(())
    }

    async fn prepare(
        &mut self,
        job: FlushJob,
        objects: Option<ObjectsJob>,
    ) -> Result<Prepared, StoreError> {
        let first_number = self.files_named;
        let name = self.name.clone();
        let began = Instant::now();
        let manifest = self.shared.hot().manifest();
        let merged = match objects {
            Some(_) => self.store.small_object_files(&manifest).await,
            None => Vec::new(),
        };
        let merged_losses = match job.losses.is_empty() {
            true => Vec::new(),
            false => self.store.small_loss_files(&manifest, &self.prefix).await,
        };
        let encoded = tokio::task::spawn_blocking(move || {
            let files = encode_flows(&job.batches, &name, first_number)?;
            let name = format!("{name}-{}", first_number + files.len() as u64);
            let objects =
                objects.map(|objects| encode_objects(&objects, merged, &name)).transpose()?;
            let loss = encode_losses(job.losses, merged_losses, &name)?;
            let FlushJob { stored, flushed, after, .. } = job;
            let tried = false;
            Ok::<_, StoreError>(Prepared { files, stored, flushed, after, objects, loss, tried })
        })
        .await
        .map_err(|error| StoreError::Panicked(error.to_string()))?;
        self.shared.metrics.encode_seconds.inc_by(began.elapsed().as_secs_f64());
        let prepared = encoded?;
        self.files_named += prepared.files.len() as u64 + 1;
        Ok(prepared)
    }

    fn failed(&self, error: &StoreError, attempts: u64) {
        tracing::error!(%error, attempts, "cannot store flows: they stay in memory, trying again");
        self.shared.metrics.flush_failures.inc();
        let problem = format!("{error} (tried {attempts} times; rows stay in memory)");
        self.shared.hot().store_problem(Some(problem));
    }
}

/// Stores files and manifest; on success the rows are hot no more.
async fn store(
    shared: &Shared,
    store: &Store,
    prepared: &Prepared,
    first: bool,
) -> Result<u64, StoreError> {
    let objects = prepared.objects.as_ref();
    let object_file = objects.map(|objects| (&objects.change.file, &objects.body));
    let began = Instant::now();
    let loss_file = prepared.loss.as_ref().map(|loss| (&loss.change.file, &loss.body));
    for encoded in &prepared.files {
        store.put_encoded(encoded).await?;
    }
    for (file, body) in object_file.into_iter().chain(loss_file) {
        store.put(&file.path, body.clone()).await?;
    }
    if began.elapsed() > ORPHAN_AGE / 2 {
        return Err(StoreError::TooSlow { took: began.elapsed() });
    }
    let known = shared.hot().manifest();
    let files: Vec<DataFile> = prepared.files.iter().map(|encoded| encoded.file.clone()).collect();
    let change = Change {
        files: &files,
        objects: objects.map(|objects| &objects.change),
        loss: prepared.loss.as_ref().map(|loss| &loss.change),
        stored: &prepared.stored,
        flushed: prepared.flushed.as_ref(),
        after: prepared.after,
    };
    let manifest = store.add(&known, change, first).await?;
    let version = manifest.version;
    shared.flushed(objects.map_or(0, |objects| objects.up_to), manifest);
    store.prune(version).await;
    Ok(version)
}

/// The versions of a job and of the files that go into the new one.
fn encode_objects(
    job: &ObjectsJob,
    merged: Vec<(String, Vec<ObjectVersion>)>,
    name: &str,
) -> Result<ObjectsFile, StoreError> {
    let mut versions = Vec::new();
    let mut replaces = Vec::new();
    for (path, old) in merged {
        versions.extend(old);
        replaces.push(path);
    }
    for batch in &job.batches {
        versions.extend(ObjectVersion::read(batch)?);
    }
    let versions = tidy(versions);
    let mut builder = ObjectVersionBuilder::default();
    versions.iter().for_each(|version| builder.append(version));
    let body = encode::encode(&builder.finish())?;
    let times = || versions.iter().map(|version| version.time.0);
    let file = DataFile {
        path: format!("{OBJECTS_PREFIX}/{name}.parquet"),
        rows: versions.len() as u64,
        size_bytes: body.len() as u64,
        min_time_ns: times().min().unwrap_or(0),
        max_time_ns: times().max().unwrap_or(0),
        schema_version: SCHEMA_VERSION,
        ..DataFile::default()
    };
    Ok(ObjectsFile { change: MergedFile { file, replaces }, body, up_to: job.up_to })
}

/// Rows of the ledger and of the files that go into the new one; none makes none.
fn encode_losses(
    mut losses: Vec<LossRow>,
    merged: Vec<(String, Vec<LossRow>)>,
    name: &str,
) -> Result<Option<LossFile>, StoreError> {
    if losses.is_empty() {
        return Ok(None);
    }
    let mut replaces = Vec::new();
    for (path, old) in merged {
        losses.extend(old);
        replaces.push(path);
    }
    losses.sort_by_key(|loss| loss.time);
    let body = encode::encode(&loss_batch(&losses))?;
    let file = DataFile {
        path: format!("{LOSS_PREFIX}/{name}.parquet"),
        rows: losses.len() as u64,
        size_bytes: body.len() as u64,
        min_time_ns: losses.iter().map(|loss| loss.time.0).min().unwrap_or(0),
        max_time_ns: losses.iter().map(|loss| loss.end_time.0).max().unwrap_or(0),
        schema_version: SCHEMA_VERSION,
        ..DataFile::default()
    };
    Ok(Some(LossFile { change: MergedFile { file, replaces }, body }))
}
