//! Opens the object store that the relay writes and the query service reads: a local directory, or a
//! bucket of S3, Google Cloud Storage or Azure.
//!
//! Knows nothing of what lies in it. A crate of its own, so that only those who store carry the
//! clients of the clouds, and both open the same place in the same way.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

mod cloud;
mod local;
mod location;

use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;

use local::DurableLocal;
pub use location::Location;
use location::Place;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made or read.
    #[error("cannot use {} as the store: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The location is none.
    #[error(
        "the store {location:?} is wrong ({cause}): give a directory, file:///DIR, s3://BUCKET/PREFIX, \
         gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
    )]
    Location {
        /// What was given.
        location: String,
        /// What is wrong with it.
        cause: String,
    },
    /// An option that nobody knows.
    #[error(
        "the store option {option:?} is wrong: give KEY=VALUE, with a key that {kind} knows, such as {known}"
    )]
    Option {
        /// Its key.
        option: String,
        /// The kind of store.
        kind: &'static str,
        /// Keys that it knows.
        known: &'static str,
    },
    /// The cloud's client cannot be set up.
    #[error("cannot open the store {location}: {source}")]
    Cloud {
        /// The URL.
        location: String,
        /// Why.
        source: object_store::Error,
    },
}

/// Opens a store. A directory is made if it is not there; of a bucket nothing is asked yet.
///
/// Whatever it is, a `put` that returned is durable, and `PutMode::Create` fails if the object is
/// there: any number of processes may write side by side.
///
/// # Errors
/// The location or its options are wrong, or the directory cannot be used.
pub fn open(location: &Location) -> Result<Arc<dyn ObjectStore>, OpenError> {
    match location.place()? {
        Place::Directory(path) => Ok(Arc::new(DurableLocal::open(&path)?)),
        Place::Bucket { kind, bucket, prefix } => cloud::open(location, kind, bucket, prefix),
    }
}
