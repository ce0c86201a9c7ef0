//! What is made of files, and made anew when these change: certificates and tokens that somebody renews under a
//! service that runs, as Kubernetes does with the files of a Secret.
//!
//! The files are read every [`PERIOD`] and compared with what they were, which sees every way to replace a file. What
//! cannot be used is told as an error and counted; then what was there before stays in use, until the files change
//! again. Connections that are there already keep what they began with.

use std::convert::Infallible;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::metrics::counter::Counter;
use sha2::{Digest as _, Sha256};

use crate::error::StartError;

/// How often files are looked at.
const PERIOD: Duration = Duration::from_secs(5);
/// So much of a file is compared.
const MAX_BYTES: u64 = 4 << 20;

/// What was made of some files.
pub(crate) struct Reloaded<T> {
    what: &'static str,
    files: Vec<PathBuf>,
    make: Make<T>,
    now: ArcSwap<T>,
    /// What was in each file, if it could be read.
    seen: Mutex<Vec<Option<[u8; 32]>>>,
}

type Make<T> = Box<dyn Fn() -> Result<T, StartError> + Send + Sync>;

/// Something that can be made anew.
pub(crate) trait Renew: Send + Sync {
    /// Looks whether it has to be. It reads files, so it blocks.
    fn look(&self, errors: &Counter);
}

impl<T> Reloaded<T> {
    /// # Errors
    /// It cannot be made.
    pub(crate) fn new(
        what: &'static str,
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, StartError> + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        // Before they are used: what changes in between is seen the next time.
        let seen = Mutex::new(contents(&files));
        let now = ArcSwap::from_pointee(make()?);
        Ok(Self { what, files, make: Box::new(make), now, seen })
    }

    /// As the files are.
    pub(crate) fn now(&self) -> Arc<T> {
        self.now.load_full()
    }
}

impl<T: Send + Sync> Renew for Reloaded<T> {
    fn look(&self, errors: &Counter) {
        let found = contents(&self.files);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == found {
            return;
        }
        *seen = found;
        match (self.make)() {
            Ok(new) => {
                self.now.store(Arc::new(new));
                tracing::info!(what = self.what, "files have changed and are used");
            }
            Err(error) => {
                errors.inc();
                tracing::error!(
                    what = self.what,
                    %error,
                    "files have changed and cannot be used: what was there before stays in use"
                );
            }
        }
    }
}

impl<T> std::fmt::Debug for Reloaded<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloaded").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Looks at all of them for ever.
pub(crate) async fn watch(all: Vec<Arc<dyn Renew>>, errors: Counter) -> Infallible {
    loop {
        tokio::time::sleep(PERIOD).await;
        let (all, errors) = (all.clone(), errors.clone());
        let looked = tokio::task::spawn_blocking(move || {
            for each in all {
                each.look(&errors);
            }
        });
        if let Err(error) = looked.await {
            tracing::error!(%error, "files of certificates and tokens could not be looked at");
        }
    }
}

fn contents(files: &[PathBuf]) -> Vec<Option<[u8; 32]>> {
    files.iter().map(|path| digest(path).ok()).collect()
}

fn digest(path: &Path) -> std::io::Result<[u8; 32]> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("number");
        std::fs::write(&path, "1").unwrap();
        let read = {
            let path = path.clone();
            move || {
                let wrong = |error: &dyn std::fmt::Display| StartError::Tls(error.to_string());
                let text = std::fs::read_to_string(&path).map_err(|error| wrong(&error))?;
                text.parse::<u64>().map_err(|error| wrong(&error))
            }
        };
        let (reloaded, errors) =
            (Reloaded::new("a number", vec![path.clone()], read).unwrap(), Counter::default());
        for (written, expected, told) in [
            (Some("2"), 2, 0),
            (Some("two"), 2, 1),
            (Some("two"), 2, 1),
            (None, 2, 2),
            (Some("3"), 3, 2),
        ] {
            match written {
                Some(text) => std::fs::write(&path, text).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            reloaded.look(&errors);
            assert_eq!((*reloaded.now(), errors.get()), (expected, told), "{written:?}");
        }
    }
}
