//! Watches a directory of manifests.
//!
//! In: changes of files, through the kernel's notices and a slow look of its own in case one was
//! missed. Out: whole states, only where something differs. Notices in quick succession are one
//! change: a file is read when it has been left alone for a moment.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::files::Files;
use super::{ClusterSource, ClusterState, SourceError, States};

/// Silence after a change that tells it is complete.
const QUIET: Duration = Duration::from_millis(30);
/// Longest wait for that silence.
const PATIENCE: Duration = Duration::from_millis(300);
/// Time between looks without a notice.
const RESCAN: Duration = Duration::from_secs(10);

/// A directory of `*.yaml`, `*.yml` and `*.json` files, its subdirectories included.
#[derive(Clone, Debug)]
pub struct ManifestDirectory {
    path: PathBuf,
}

impl ManifestDirectory {
    /// The directory at `path`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, SourceError> {
        let path = path.into();
        match std::fs::read_dir(&path) {
            Ok(_) => Ok(Self { path }),
            Err(source) => Err(SourceError::Directory { path, source }),
        }
    }
}

impl ClusterSource for ManifestDirectory {
    async fn run(self, states: States, shutdown: CancellationToken) -> Result<(), SourceError> {
        let changed = Arc::new(Notify::new());
        let _watcher = match watch(&self.path, changed.clone()) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, "no notices of changed manifests; looking every {RESCAN:?}");
                None
            }
        };
        let mut files = Files::new(self.path);
        loop {
            let (state, same_files) = read(files).await;
            files = same_files;
            publish(&states, state);
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(RESCAN) => {}
                () = changed.notified() => {
                    let begun = Instant::now();
                    while begun.elapsed() < PATIENCE && timeout(QUIET, changed.notified()).await.is_ok() {}
                }
            }
        }
    }
}

/// Reads the files away from the runtime's own threads.
async fn read(mut files: Files) -> (ClusterState, Files) {
    let task = tokio::task::spawn_blocking(move || (files.read(), files));
    match task.await {
        Ok(read) => read,
        // Only a panic in the reading itself: that is a bug, and it must not go unseen.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn publish(states: &States, state: ClusterState) {
    states.send_if_modified(|last| {
        if last.as_ref() == Some(&state) {
            return false;
        }
        let known = last.as_ref().map_or(&[] as &[String], |last| &last.problems);
        for problem in state.problems.iter().filter(|problem| !known.contains(problem)) {
            tracing::warn!("manifests: {problem}");
        }
        let cluster = &state.cluster;
        tracing::info!(
            pods = cluster.pods.len(),
            policies = cluster.policies.len(),
            problems = state.problems.len(),
            "read the manifests"
        );
        *last = Some(state);
        true
    });
}

fn watch(path: &Path, changed: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading makes notices too, and those must not lead to reading again.
        let is_change = event.map_or(true, |event| match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
            EventKind::Access(_) => false,
            _ => true,
        });
        if is_change {
            changed.notify_one();
        }
    })?;
    watcher.watch(path, RecursiveMode::Recursive)?;
    Ok(watcher)
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    async fn policies(states: &mut watch::Receiver<Option<ClusterState>>, wanted: usize) {
        let is_there = |state: &Option<ClusterState>| {
            state.as_ref().is_some_and(|state| state.cluster.policies.len() == wanted)
        };
        timeout(DEADLINE, states.wait_for(is_there)).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn changes_are_seen_also_in_directories_made_later() {
        let directory = tempfile::tempdir().unwrap();
        let source = ManifestDirectory::open(directory.path()).unwrap();
        let (sender, mut states) = watch::channel(None);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(source.run(sender, shutdown.clone()));
        policies(&mut states, 0).await;
        let policy = |name: &str| {
            format!(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
                 metadata: {{name: {name}, namespace: default}}\nspec: {{podSelector: {{}}}}\n"
            )
        };
        std::fs::write(directory.path().join("a.yaml"), policy("a")).unwrap();
        policies(&mut states, 1).await;
        std::fs::create_dir(directory.path().join("more")).unwrap();
        std::fs::write(directory.path().join("more/b.yaml"), policy("b")).unwrap();
        policies(&mut states, 2).await;
        std::fs::remove_file(directory.path().join("a.yaml")).unwrap();
        policies(&mut states, 1).await;
        shutdown.cancel();
        timeout(DEADLINE, task).await.unwrap().unwrap().unwrap();
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let error = ManifestDirectory::open("/nonexistent/manifests").unwrap_err().to_string();
        assert!(error.contains("/nonexistent/manifests"), "{error}");
    }
}
