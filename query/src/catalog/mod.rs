//! The tables that queries see.

pub(crate) mod completeness;
pub(crate) mod connection_id;
mod files;
pub(crate) mod history;
pub(crate) mod hot;
pub(crate) mod ledger;
pub(crate) mod loss;
pub(crate) mod moment;
pub(crate) mod names;
pub(crate) mod objects;
mod prune;
pub(crate) mod range;
pub(crate) mod relay;
mod scan;
pub(crate) mod snapshot;
pub(crate) mod source;
pub(crate) mod state;
pub(crate) mod store;
pub(crate) mod table;

/// Name of the table of flows.
pub(crate) const FLOWS: &str = "flows";
/// Name of the loss ledger.
pub(crate) const LOSS: &str = "loss";
