//! The tables that queries see.

pub(crate) mod barrier;
pub(crate) mod completeness;
pub(crate) mod computed;
pub(crate) mod connection_id;
pub(crate) mod connections;
pub(crate) mod edges;
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
mod readers;
pub(crate) mod relay;
pub(crate) mod rollup;
mod scan;
pub(crate) mod snapshot;
pub(crate) mod source;
pub(crate) mod state;
pub(crate) mod store;
pub(crate) mod table;

pub(crate) use barrier::BarrierExec;

/// Name of the table of flows.
pub(crate) const FLOWS: &str = "flows";
/// Name of the view of both ends.
pub(crate) const CONNECTIONS: &str = "connections";
/// Name of the roll-up.
pub(crate) const EDGES: &str = "edges_1m";
/// Name of the loss ledger.
pub(crate) const LOSS: &str = "loss";
/// The columns of flows of which one has to name a namespace that the principal sees.
pub(crate) const ENDS: [&str; 2] = ["source_namespace", "destination_namespace"];
