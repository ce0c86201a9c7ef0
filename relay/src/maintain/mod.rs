//! What happens to files that are stored: small ones are merged, old ones go.
//!
//! In: the manifest in force. Out: fewer, larger files, then a manifest that names them in place of
//! those they were made of. One step at a time, beside flushes and beside other relays: a step counts
//! only if every file it replaces is still named, so two relays that merge the same files do not
//! double a row. What a manifest does not name any more is deleted when no reader can hold an older
//! one. A file that cannot be read stays as it is.

mod plan;
mod step;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use tokio_util::sync::CancellationToken;

use crate::config::DELETE_AFTER;
use crate::error::StoreError;
use crate::relay::{Shared, now_ns};
use crate::store::{ORPHAN_AGE, Store};
pub(crate) use plan::Eagerness;
pub use plan::Retention;
pub use step::Step;

/// How often files that nobody ever made count are looked for.
const SWEEP_INTERVAL_NS: u64 = ORPHAN_AGE.as_nanos() as u64;

/// Keeps a store in order.
#[derive(Debug)]
pub(crate) struct Maintenance {
    pub(crate) store: Store,
    /// Begins the names of new files: unique among relays and their lives.
    pub(crate) name: String,
    pub(crate) numbered: u64,
    pub(crate) retention: Retention,
    /// How long files stay after the last manifest that names them.
    pub(crate) delete_after: Duration,
    /// Files that cannot be read.
    pub(crate) damaged: HashSet<String>,
}

impl Maintenance {
    /// For a store; `name` begins the names of new files.
    pub(crate) fn new(
        store: Store,
        name: String,
        retention: Retention,
        delete_after: Duration,
    ) -> Self {
        Self { store, name, numbered: 0, retention, delete_after, damaged: HashSet::new() }
    }

    /// Looks at the store at intervals, until told to stop.
    pub(crate) async fn run(
        &mut self,
        shared: &Arc<Shared>,
        interval: Duration,
        stop: &CancellationToken,
    ) {
        let mut swept_ns = now_ns();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
            let work = async {
                self.round(shared).await?;
                if swept_ns.saturating_add(SWEEP_INTERVAL_NS) < now_ns() {
                    self.store.sweep(&self.store.newest().await?, None, ORPHAN_AGE).await?;
                    swept_ns = now_ns();
                }
                Ok::<_, StoreError>(())
            };
            tokio::select! {
                () = stop.cancelled() => return,
                done = work => if let Err(error) = done {
                    shared.metrics.maintenance_failures.inc();
                    tracing::warn!(%error, "files are not merged or removed: trying again later");
                }
            }
        }
    }

    /// Everything there is to do now.
    async fn round(&mut self, shared: &Shared) -> Result<(), StoreError> {
        // Another relay may have written; its manifests go some time.
        let mut manifest = self.store.newest().await?;
        loop {
            shared.adopt(&manifest);
            let Some((next, step)) = self.step(&manifest, now_ns(), Eagerness::Steady).await?
            else {
                return Ok(());
            };
            tracing::info!("{step}");
            match step {
                Step::Merged { rows, .. } => shared.metrics.merged_rows.inc_by(rows),
                Step::Removed { rows, files, .. } => {
                    shared.metrics.expired_rows.inc_by(rows);
                    shared.metrics.expired_files.inc_by(files)
                }
            };
            manifest = next;
        }
    }
}

/// Merges everything in a store that can be merged, and deletes what no reader needs any more; tells
/// each step. Returns how many there were.
///
/// # Errors
/// The store cannot be read or written. What was merged until then counts.
pub async fn compact(
    objects: Arc<dyn ObjectStore>,
    mut progress: impl FnMut(&Step),
) -> Result<usize, StoreError> {
    let store = Store::new(objects);
    let mut manifest = store.newest().await?;
    let name = format!("c{:016x}-{:x}", now_ns(), std::process::id());
    let mut maintenance = Maintenance::new(store, name, Retention::default(), DELETE_AFTER);
    let mut steps = 0;
    while let Some((next, step)) = maintenance.step(&manifest, now_ns(), Eagerness::Now).await? {
        progress(&step);
        manifest = next;
        steps += 1;
    }
    Ok(steps)
}

#[cfg(test)]
mod tests;
