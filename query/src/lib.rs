//! SQL and HTTP over hot and stored flows, and explanations from the clusters' objects of any time.
//!
//! [`Query::bind`] takes the address, [`Query::run`] serves until told to stop. The rows come from
//! two places that never overlap: the relay's hot batches over Arrow Flight, and the Parquet files
//! of the manifest that those batches complete. Nothing is ever written.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

mod access;
#[cfg(test)]
mod access_tests;
mod audit;
mod catalog;
mod clock;
mod config;
#[cfg(test)]
mod end_to_end;
mod engine;
mod error;
mod filter;
mod flight_sql;
mod functions;
mod grpc;
mod guard;
mod http;
mod hubble;
#[cfg(test)]
mod ledger_tests;
mod library;
mod live;
mod logging;
mod metrics;
mod output;
mod postgres;
mod preview;
mod reload;
pub mod remote;
mod review;
mod rows;
mod serve;
mod service;
#[cfg(test)]
mod state_tests;
#[cfg(test)]
mod testing;

pub use access::{
    AccessSettings, GrantSettings, NamespacePattern, Namespaces, OidcSettings, Principal,
    TlsSettings, TokenSettings,
};
pub use config::{Limits, PrincipalLimits, QueryConfig};
pub use error::{QueryError, StartError};
pub use rows::{RowFormat, RowWriter};
pub use service::{Addresses, Query};
