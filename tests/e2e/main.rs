//! End-to-end tests against the real binary, as root, in namespaces of their own.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests may panic and need no docs")]

mod bad_input;
mod bench;
mod browser;
mod chaos;
mod churn;
mod cluster;
mod counters;
mod demo;
mod distributed;
mod doors;
mod explain;
mod intervals;
mod killed;
mod logging;
mod made_up;
mod modes;
mod random;
mod restart;
mod weir;
