//! NetworkPolicy and its kin: parsed, compiled, evaluated and explained. Pure: no I/O, no clock.
//!
//! | module | what it is for |
//! |---|---|
//! | [`model`] | the cluster as policies see it: namespaces, pods, services, nodes, policies |
//! | [`manifest`] | Kubernetes manifests, YAML or JSON, into the model, with errors that say where |
//! | [`evaluate`] | the verdict on one attempt, read straight off the API's text; slow and plain |
//! | [`compile`] | the entries of the kernel's maps, with ids that outlive a revision |
//! | [`lookup`] | the kernel's lookup over compiled entries |
//! | [`explain`] | why, clause by clause and in one sentence, and the least change |
//! | [`lint`] | what is suspicious about policies, without a connection in question |
//! | [`case`] | connectivity tables: the files of `weir policy test` |
//! | `random` | random clusters, with feature `testing` |

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]
#![forbid(unsafe_code)]

pub mod case;
pub mod compile;
pub mod evaluate;
pub mod explain;
pub mod lint;
pub mod lookup;
pub mod manifest;
pub mod model;
#[cfg(any(test, feature = "testing"))]
pub mod random;

pub use model::Cluster;
