//! When and how hot rows become files.
//!
//! In: what is hot. Out: Parquet files, then a manifest that names them. One flush at a time.
//! A flush that fails is tried again, the very same files, until the store takes them: the rows
//! stay hot, and when they are too many, collectors wait. Sorting and encoding run on a thread
//! of their own. When told to stop, one last flush, within a deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use weir_flow::manifest::{DataFile, StoredUpTo, data_path};
use weir_flow::schema::SCHEMA_VERSION;

use crate::error::{RelayError, StoreError};
use crate::file;
use crate::hot::FlushJob;
use crate::relay::{Shared, now_ns};
use crate::sort;
use crate::store::Store;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Writes what is hot.
#[derive(Debug)]
pub(crate) struct Flusher {
    pub(crate) shared: Arc<Shared>,
    pub(crate) store: Store,
    /// Begins every file's name: unique among relays and their lives.
    pub(crate) name: String,
    pub(crate) files_named: u64,
    /// How long rows that a flush took stay hot at least.
    pub(crate) linger: Duration,
    /// The flush under way. Kept over failures and cancellation: the same files are stored again,
    /// never the same rows under other names.
    pub(crate) pending: Option<Prepared>,
}

/// A flush that is ready to be stored.
#[derive(Debug)]
pub(crate) struct Prepared {
    files: Vec<(DataFile, Bytes)>,
    up_to: u64,
    stored: Vec<StoredUpTo>,
    /// An attempt was made, so its manifest may exist although nobody said so.
    tried: bool,
}

impl Flusher {
    /// Flushes whenever it is due, until told to stop.
    pub(crate) async fn run(&mut self, stop: &CancellationToken) {
        let shared = self.shared.clone();
        loop {
            let (due, wait) = {
                let hot = shared.hot();
                let now = now_ns();
                let wait = hot.flush_at_ns().map(|at| Duration::from_nanos(at.saturating_sub(now)));
                (hot.flush_due(now), wait)
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.flush(), if due => {}
                () = shared.arrived.notified(), if !due => {}
                () = tokio::time::sleep(wait.unwrap_or_default()), if !due && wait.is_some() => {}
            }
        }
    }

    /// The last flush.
    ///
    /// # Errors
    /// The store did not take the rows in time.
    pub(crate) async fn finish(&mut self, within: Duration) -> Result<(), RelayError> {
        self.linger = Duration::ZERO;
        let all = async {
            while self.pending.is_some() || self.shared.hot().flush_job(now_ns()).is_some() {
                self.flush().await;
            }
        };
        let finished = tokio::time::timeout(within, all).await;
        let hot = self.shared.hot();
        match hot.size().0 {
            0 => Ok(()),
            rows => {
                let cause = hot.status().problems.into_iter().next().filter(|_| finished.is_err());
                Err(RelayError::RowsLost { rows, cause: cause.unwrap_or("out of time".into()) })
            }
        }
    }

    async fn flush(&mut self) {
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut attempts = 0;
        while let Err(error) = self.attempt().await {
            attempts += 1;
            self.failed(&error, attempts);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.shared.metrics.flushes.inc();
        self.shared.metrics.flush_seconds.observe(began.elapsed().as_secs_f64());
    }

    async fn attempt(&mut self) -> Result<(), StoreError> {
        if self.pending.is_none() {
            let Some(job) = self.shared.hot().flush_job(now_ns()) else { return Ok(()) };
            let taken = Instant::now();
            self.pending = Some(self.prepare(job).await?);
            tokio::time::sleep(self.linger.saturating_sub(taken.elapsed())).await;
        }
        if let Some(pending) = &mut self.pending {
            let first = !std::mem::replace(&mut pending.tried, true);
            store(&self.shared, &self.store, pending, first).await?;
        }
        self.pending = None;
        Ok(())
    }

    async fn prepare(&mut self, job: FlushJob) -> Result<Prepared, StoreError> {
        let first_number = self.files_named;
        let name = self.name.clone();
        let began = Instant::now();
        let encoded = tokio::task::spawn_blocking(move || {
            let files = encode(&job, &name, first_number)?;
            Ok::<_, StoreError>(Prepared {
                files,
                up_to: job.up_to,
                stored: job.stored,
                tried: false,
            })
        })
        .await
        .map_err(|error| StoreError::Panicked(error.to_string()))?;
        self.shared.metrics.encode_seconds.inc_by(began.elapsed().as_secs_f64());
        let prepared = encoded?;
        self.files_named += prepared.files.len() as u64;
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
) -> Result<(), StoreError> {
    for (file, body) in &prepared.files {
        store.put(&file.path, body.clone()).await?;
    }
    let known = shared.hot().manifest();
    let files: Vec<DataFile> = prepared.files.iter().map(|(file, _)| file.clone()).collect();
    let manifest = store.add(&known, &files, &prepared.stored, first).await?;
    let version = manifest.version;
    shared.flushed(prepared.up_to, manifest);
    store.prune(version).await;
    Ok(())
}

fn encode(
    job: &FlushJob,
    name: &str,
    first_number: u64,
) -> Result<Vec<(DataFile, Bytes)>, StoreError> {
    let mut files = Vec::new();
    for batch in sort::partitions(&job.batches)? {
        let body = file::encode(&batch)?;
        let (min_time_ns, max_time_ns) = sort::time_range(&batch);
        let number = first_number + files.len() as u64;
        let file = DataFile {
            path: data_path(min_time_ns, &format!("{name}-{number}")),
            rows: batch.num_rows() as u64,
            size_bytes: body.len() as u64,
            min_time_ns,
            max_time_ns,
            schema_version: SCHEMA_VERSION,
        };
        files.push((file, body));
    }
    Ok(files)
}
