//! A cluster's data path on one Linux machine: nodes, pods and outside hosts are network
//! namespaces, joined by veth pairs and host routes.
//!
//! The machine's own network is never touched: every link, address, route and setting is made
//! inside a namespace of the lab. What a lab made goes when it is dropped; what a killed process
//! left goes with [`Lab::sweep`].
//!
//! | module | what it is for |
//! |---|---|
//! | [`spec`] | what to build |
//! | [`lab`] | building it, and finding one's way in it |
//! | [`place`] | being inside a namespace: closures, threads, child processes |
//! | [`net`] | links: counters, offloads; the commands that wire a lab |
//! | [`probe`] | does a connection come about: clients and the responders they talk to |
//! | [`case`] | connectivity tables, for real: a lab, the eBPF programs, probes |
//! | [`traffic`] | small servers and clients to make a lab look alive |
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

pub mod case;
pub mod error;
pub mod lab;
mod name;
pub mod net;
pub mod place;
pub mod probe;
mod process;
pub mod spec;
mod sweep;
pub mod traffic;

pub use error::LabError;
pub use lab::Lab;
pub use place::Place;
pub use process::Process;
pub use spec::{HostSpec, LabSpec, NodeSpec, PodSpec};
