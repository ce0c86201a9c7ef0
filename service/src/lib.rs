//! What every Weir process needs: settings, logs, metrics and health, ordered shutdown.
//!
//! Knows nothing of flows or policies.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

pub mod admin;
pub mod logs;
pub mod ready;
pub mod settings;
pub mod shutdown;
