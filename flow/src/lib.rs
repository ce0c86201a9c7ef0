//! The flow record: one schema table, its Arrow form, and the formats in which processes exchange
//! and store it.
//!
//! Pure: no I/O, no clock. Everything that names a column derives it from [`schema`].
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

pub mod community_id;
pub mod manifest;
pub mod policy_action;
pub mod schema;
pub mod synthetic;
pub mod values;
pub mod wire;

pub use schema::{Column, Flow, FlowBuilder};
