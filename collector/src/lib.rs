//! The node agent: loads the eBPF programs, keeps their maps in step with the cluster, turns
//! events into flows and brings them to the relay.
//!
//! | module | what it is for |
//! |---|---|
//! | [`source`] | the cluster's state, from a directory of manifests |
//! | [`enforcer`] | the kernel enforcing it |
//! | [`kernel`] | programs, maps, rings and tables |
//! | [`directory`] | who an address or endpoint was, and which rules a rule set holds |
//! | [`join`] | events and counters with names, as Arrow batches |
//! | [`ledger`] | what is in no row, counted |
//! | [`uplink`] | to the relay, and kept until it has them |
//! | `objects` | the cluster's objects, each version, to the relay |
//! | `intervals` | how often it is reported what connections did |
//! | [`node_state`] | what a node's next collector needs to know |
//! | [`collector`] | all of it as a process |
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

pub mod collector;
pub mod directory;
pub mod enforcer;
mod health;
mod intervals;
pub mod join;
mod journal;
pub mod kernel;
pub mod ledger;
pub mod logging;
mod netlink;
pub mod node_state;
mod objects;
mod presence;
pub mod source;
pub mod uplink;

pub use collector::{
    Collector, CollectorConfig, CollectorError, SpoolFsync, Uninstalled, uninstall,
};
pub use enforcer::Enforcer;
