//! The directory where an executor keeps rows until they are fetched, and its bound.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ballista_core::serde::protobuf::CancelJobParams;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::error::DistributedError;

/// How often it is measured.
const LOOK: Duration = Duration::from_secs(1);
/// The directory in one that somebody chose, so that nothing else in that one is ever removed.
const OWN: &str = "weir-executor";

/// A directory of this process alone, empty at first and removed at the end.
#[derive(Debug)]
pub(crate) struct Work {
    path: PathBuf,
    /// In the system's directory for temporary files, if nobody chose one.
    _temporary: Option<TempDir>,
}

impl Work {
    pub(crate) fn open(chosen: Option<&Path>) -> Result<Self, DistributedError> {
        let open = || -> io::Result<Self> {
            let (path, temporary) = match chosen {
                Some(chosen) => (chosen.join(OWN), None),
                None => {
                    let temporary = tempfile::Builder::new().prefix(OWN).tempdir()?;
                    (temporary.path().join(OWN), Some(temporary))
                }
            };
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            for part in [path.join("rows"), path.join("spill")] {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(part)?;
            }
            Ok(Self { path, _temporary: temporary })
        };
        let failed = |source| DistributedError::Work {
            path: chosen.map_or_else(std::env::temp_dir, Path::to_path_buf),
            source,
        };
        open().map_err(failed)
    }

    /// Of rows between stages and of answers; a directory for each query.
    pub(crate) fn rows(&self) -> PathBuf {
        self.path.join("rows")
    }

    /// Of what operators put aside.
    pub(crate) fn spill(&self) -> PathBuf {
        self.path.join("spill")
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "rows on their way are left behind");
        }
    }
}

/// Ends the query that has the most there whenever all have more than so many bytes. Never returns.
pub(crate) async fn bound(
    rows: PathBuf,
    max_bytes: u64,
    mut scheduler: SchedulerGrpcClient<Channel>,
) {
    loop {
        tokio::time::sleep(LOOK).await;
        let path = rows.clone();
        let Ok(mut queries) = tokio::task::spawn_blocking(move || measure(&path)).await else {
            continue;
        };
        let bytes: u64 = queries.iter().map(|(_, bytes)| bytes).sum();
        if bytes <= max_bytes {
            continue;
        }
        queries.sort_by_key(|(_, bytes)| *bytes);
        let Some((job_id, bytes)) = queries.pop() else { continue };
        tracing::warn!(
            job_id,
            bytes,
            max_bytes,
            "rows on their way pass `work_bytes`, ending the largest query"
        );
        if let Err(error) = scheduler.cancel_job(CancelJobParams { job_id }).await {
            tracing::warn!(%error, "the scheduler was not told to end a query");
        }
    }
}

/// Queries and their bytes. What goes away meanwhile counts nothing.
fn measure(rows: &Path) -> Vec<(String, u64)> {
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    let mut queries = Vec::new();
    for query in entries(rows) {
        let mut bytes = 0;
        let mut open = vec![query.path()];
        while let Some(path) = open.pop() {
            for entry in entries(&path) {
                match entry.metadata() {
                    Ok(metadata) if metadata.is_dir() => open.push(entry.path()),
                    Ok(metadata) => bytes += metadata.blocks() * 512,
                    Err(_) => {}
                }
            }
        }
        if let Ok(name) = query.file_name().into_string() {
            queries.push((name, bytes));
        }
    }
    queries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_directory_keeps_what_is_not_ours() {
        let chosen = tempfile::tempdir().unwrap();
        fs::write(chosen.path().join("precious"), "1").unwrap();
        let work = Work::open(Some(chosen.path())).unwrap();
        fs::create_dir(work.rows().join("job")).unwrap();
        fs::write(work.rows().join("job/1"), vec![1; 10_000]).unwrap();
        let measured = measure(&work.rows());
        assert!(matches!(&measured[..], [(name, bytes)] if name == "job" && *bytes >= 10_000));
        // What a killed process left is removed by the next.
        std::mem::forget(work);
        let work = Work::open(Some(chosen.path())).unwrap();
        assert_eq!(measure(&work.rows()), []);
        let path = work.rows();
        drop(work);
        assert!(!path.exists());
        assert!(chosen.path().join("precious").exists());
    }
}
