//! The tables that queries see.

pub(crate) mod connection_id;
pub(crate) mod history;
pub(crate) mod hot;
pub(crate) mod names;
pub(crate) mod objects;
mod prune;
pub(crate) mod relay;
pub(crate) mod snapshot;
pub(crate) mod state;
pub(crate) mod store;
pub(crate) mod table;

/// Name of the table of flows.
pub(crate) const FLOWS: &str = "flows";
