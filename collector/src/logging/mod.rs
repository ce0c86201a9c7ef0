//! Log records of decisions, as the cluster's NetworkLogging object asks for them: JSON lines in
//! the shape of GKE's `policy-action` log, in a file that is rotated.
//!
//! In: batches of rows on their way to the relay, which gets all of them whatever is logged. Out:
//! the file, written by a thread of its own. The queue between them is bounded; what it has no
//! room for is counted, and nobody waits for a disk.
//!
//! Which rows are logged is decided by the row, its policies' names included, and by the
//! annotations of the cluster state whose policy revision the row has.

mod file;
mod selection;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;
use weir_flow::Flow;
use weir_policy::Cluster;

use crate::health::Health;
use file::RotatedFile;
use selection::Selections;

/// Batches that wait for the disk.
const QUEUE_BATCHES: usize = 64;

/// Where log records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// The file; older ones have `.1`, `.2`, … after its name.
    pub path: PathBuf,
    /// Size at which another is begun, bytes.
    pub max_bytes: u64,
    /// Older ones that are kept.
    pub kept: u32,
}

impl LogFile {
    /// 10 MB, and five older ones.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), max_bytes: 10_000_000, kept: 5 }
    }
}

/// The log. Dropping it writes what waits and ends its thread.
#[derive(Debug)]
pub(crate) struct Logger {
    selections: ArcSwap<Selections>,
    /// `None` only while being dropped.
    queue: Option<SyncSender<Work>>,
    thread: Option<JoinHandle<()>>,
    health: Arc<Health>,
}

/// Rows of a batch that may be records, and what decides it.
struct Work {
    batch: RecordBatch,
    candidates: BooleanArray,
    selections: Arc<Selections>,
}

impl Logger {
    /// Opens the file and starts the thread. Nothing is logged before the first
    /// [`select`](Self::select).
    pub(crate) fn start(config: LogFile, health: Arc<Health>) -> io::Result<Self> {
        let file = RotatedFile::open(config)?;
        let (queue, work) = sync_channel(QUEUE_BATCHES);
        let writer = health.clone();
        let thread = std::thread::Builder::new()
            .name("weir-log".to_owned())
            .spawn(move || write(&work, file, &writer))?;
        Ok(Self {
            selections: ArcSwap::default(),
            queue: Some(queue),
            thread: Some(thread),
            health,
        })
    }

    /// A cluster state is in force, as this policy revision.
    pub(crate) fn select(&self, revision: u64, cluster: &Cluster) {
        self.selections.store(Arc::new(self.selections.load().with(revision, cluster)));
    }

    /// Rows that were made. Never waits.
    pub(crate) fn offer(&self, batch: &RecordBatch) {
        let selections = self.selections.load_full();
        let Some(candidates) = selections.candidates(batch) else { return };
        let count = candidates.true_count() as u64;
        let work = Work { batch: batch.clone(), candidates, selections };
        let Some(queue) = &self.queue else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(work) {
            self.health.add_lost("log_queue", "records", count);
        }
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// Writes records until nobody offers rows any more.
fn write(work: &Receiver<Work>, mut file: RotatedFile, health: &Health) {
    let mut problem = String::new();
    while let Ok(work) = work.recv() {
        let count = work.candidates.true_count() as u64;
        let records = match records(&work) {
            Ok(records) => records,
            Err(error) => {
                tracing::error!(%error, "rows cannot be read as log records");
                health.add_lost("log", "records", count);
                continue;
            }
        };
        let written = file.append(&records);
        health.log_records.inc_by(written.records);
        health.add_lost("log", "records", records.len() as u64 - written.records);
        let now = written.error.map(|error| {
            format!(
                "log records cannot be written to {}: {error}: make room for them, or repair \
                 the directory",
                file.path().display()
            )
        });
        let now = now.unwrap_or_default();
        if now != problem {
            match now.as_str() {
                "" => tracing::info!("log records are written again"),
                problem => tracing::error!("{problem}"),
            }
            let problems = Some(now.clone()).filter(|problem| !problem.is_empty());
            health.set_problems("log", problems.into_iter().collect());
            problem = now;
        }
    }
}

/// The lines for the candidates that are to be logged.
fn records(work: &Work) -> Result<Vec<String>, ArrowError> {
    let rows = Flow::read(&filter_record_batch(&work.batch, &work.candidates)?)?;
    let records = rows.iter().filter_map(|row| work.selections.record(row));
    Ok(records.map(|record| record.line()).collect())
}
