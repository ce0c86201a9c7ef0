//! The programs in the real kernel: crafted packets by `BPF_PROG_TEST_RUN`, and real traffic
//! between network namespaces of the test's own. Needs root.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod balance;
mod connections;
mod costs;
mod fixture;
mod folds;
mod fragments;
mod frame;
mod headers;
mod icmp;
mod loss;
mod mid_stream;
mod netns;
mod pins;
mod policy;
mod privileges;
mod spoofing;
mod tiers;
mod times;
mod traffic;
