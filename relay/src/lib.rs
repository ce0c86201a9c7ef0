//! Ingest, durability and storage of flows and of the cluster's objects.
//!
//! Collectors send Arrow batches by Flight `DoPut`; each is acknowledged once it is hot, that is
//! on disk in the write-ahead log, in memory, and visible to `DoGet`. A flush sorts what is hot into
//! Parquet files and makes them count by writing the next manifest; in the same step the rows leave
//! memory, so that stored files and hot batches together hold each row exactly once at every moment.
//!
//! | module | what it is for |
//! |---|---|
//! | `door` | sockets and the Flight service |
//! | `decode` | from Flight messages to checked record batches |
//! | `wal` | what is acknowledged and not stored yet, on disk |
//! | `hot`, `senders` | what is hot and who sent what; no I/O, no clock |
//! | `objects` | which versions of the cluster's objects there are; no I/O, no clock |
//! | `flush` | when and how hot rows become files |
//! | `columns`, `sort` | which rows share a file, and their order |
//! | `rollup`, `encode` | the roll-up of a file, and its bytes; no I/O |
//! | `maintain` | merging of files, retention |
//! | `check`, `export` | whether a store is whole; rows out of it |
//! | `store` | manifests and files in an object store |
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

mod check;
mod columns;
mod config;
mod decode;
mod door;
pub mod encode;
mod error;
mod export;
mod flush;
mod hot;
mod maintain;
mod metrics;
mod objects;
mod parts;
mod relay;
mod rollup;
mod senders;
mod sort;
mod store;
#[cfg(test)]
mod tests;
mod wal;

pub use check::{Progress, Report, check};
pub use config::{Fsync, RelayConfig};
pub use decode::{DecodeError, Decoder, Message, RawMessage, ReceivedBatch};
pub use error::{RelayError, StoreError, WalError};
pub use export::{ParquetRows, Selection, export};
pub use maintain::{Retention, Step, compact};
pub use parts::{EncodedFile, encode_flows, merge_files};
pub use relay::{Relay, Starting};
