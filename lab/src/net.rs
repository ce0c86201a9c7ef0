//! Links, addresses and routes of a lab.

pub(crate) mod ip;
pub mod link;
pub(crate) mod settings;
pub(crate) mod wiring;
