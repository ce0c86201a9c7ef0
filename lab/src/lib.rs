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
//!
//! ```no_run
//! use std::{process::Command, time::Duration};
//! use weir_lab::{Lab, LabError, LabSpec, traffic::redis};
//!
//! # fn main() -> Result<(), LabError> {
//! Lab::sweep()?;
//! let spec = LabSpec::default()
//!     .node("n1", &[[192, 168, 50, 1].into()])
//!     .node("n2", &[[192, 168, 50, 2].into()])
//!     .pod("n1", "default/backend", &[[10, 244, 1, 2].into()])
//!     .pod("n2", "default/redis-cluster-0", &[[10, 244, 2, 2].into()])
//!     .host("internet", &[[203, 0, 113, 10].into()]);
//! let lab = Lab::create(&spec)?;
//! let collector = lab.node("n2")?.spawn(Command::new("weir"))?;
//! let address = ([10, 244, 2, 2], 6379).into();
//! let server = redis::redis_like(lab.pod("default/redis-cluster-0")?, address)?;
//! let pong = lab.pod("default/backend")?.enter(|| redis::ping(address, Duration::from_secs(1)))?;
//! let counted = lab.node("n2")?.link(lab.pod_link("default/redis-cluster-0")?)?;
//! # Ok(())
//! # }
//! ```
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
pub use spec::{HostSpec, LabSpec, Network, NodeSpec, PodSpec};
