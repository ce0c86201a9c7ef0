//! Why a relay cannot start, run or store.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a relay cannot start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The TCP address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The Unix socket cannot be made.
    #[error("cannot listen on the socket {}: {source}", path.display())]
    ListenSocket {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The Flight service ended by itself.
    #[error("the ingest service ended: {0}")]
    Serve(#[from] tonic::transport::Error),
    /// The write-ahead log cannot be used.
    #[error(transparent)]
    Wal(#[from] WalError),
}

/// Why the write-ahead log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// Nobody said where it is.
    #[error(
        "the store is a bucket: say with --wal in which local directory the write-ahead log is"
    )]
    Where,
    /// Its folder cannot be made, opened or read.
    #[error("cannot use the write-ahead log {}: {source}", path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another relay has it.
    #[error(
        "the write-ahead log {} is in use by another relay: stop it, or give this one another --wal directory",
        path.display()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The file that says whose log it is holds something else.
    #[error(
        "{} does not say whose log it is: {source}; restore it from a copy, or start with another --wal directory: \
         what this one holds is then left out",
        path.display()
    )]
    Identity {
        /// The file.
        path: PathBuf,
        /// Where it is wrong.
        source: serde_json::Error,
    },
    /// The thread that writes it cannot start, or has ended.
    #[error("the write-ahead log has no writer: {0}")]
    Writer(std::io::Error),
}

impl StoreError {
    /// Whether it may be otherwise later: the store did not answer, or not with what is wrong.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Object { source: object_store::Error::Generic { .. }, .. })
    }

    /// Whether an object is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Object { source: object_store::Error::NotFound { .. }, .. })
    }
}

/// Why the store cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] weir_store::OpenError),
    /// Files were written so long ago that others may have taken them for left behind.
    #[error("the store took {} s for a flush: its files are written once more", took.as_secs())]
    TooSlow {
        /// From the first file to its manifest.
        took: std::time::Duration,
    },
    /// A manifest of an earlier life of this relay came into force late.
    #[error(
        "an earlier process of this relay stored a part of these rows: the others are written anew"
    )]
    Overtaken,
    /// Reading, writing or listing objects.
    #[error("{what} in the store: {source}")]
    Object {
        /// What was tried.
        what: String,
        /// Why it did not work.
        source: object_store::Error,
    },
    /// A manifest does not hold what a manifest holds.
    #[error(
        "the manifest {path} is damaged: {source}; restore it from a copy, or start with another --store directory: \
             without it, rows that only it names would be swept away"
    )]
    Manifest {
        /// The object.
        path: String,
        /// Where it is wrong.
        source: serde_json::Error,
    },
    /// The rows cannot be made into a file, or a file into rows.
    #[error("rows cannot be encoded as Parquet or read from it: {0}")]
    Encode(#[from] parquet::errors::ParquetError),
    /// The rows cannot be sorted.
    #[error("rows cannot be sorted or read: {0}")]
    Sort(#[from] arrow::error::ArrowError),
    /// The thread that encodes panicked.
    #[error("encoding ended unexpectedly: {0}")]
    Panicked(String),
}
