//! Queries over several machines, by Ballista: the one place that names it.
//!
//! A query service with a [`Cluster`] makes plans as always, with the snapshot, the access rule and the
//! roll-ups in them, and sends those that read files to a [`Scheduler`]. That one cuts a plan into stages
//! and gives their tasks to [`Executor`]s, which open the same store by their own settings. Rows between
//! stages and those of the answer lie in files of executors until they are fetched.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

mod client;
mod codec;
mod connections;
mod error;
mod executor;
mod failure;
mod gauge;
mod job;
mod nobody;
mod one_part;
mod reach;
mod scheduler;
mod session;
mod slots;
mod store;
mod tls;
mod travel;
mod whole;
mod work;

pub use client::{Cluster, ClusterConfig};
pub use error::DistributedError;
pub use executor::{Executor, ExecutorConfig};
pub use scheduler::{Scheduler, SchedulerConfig};
pub use tls::ClusterTls;

/// Largest message between the processes: a plan with its hot rows, for all tasks that begin at once.
const MAX_MESSAGE_BYTES: u32 = 256 << 20;
