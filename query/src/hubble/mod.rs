//! Hubble's observer API over the same rows: `hubble status`, `list nodes`, `list namespaces` and `observe`
//! work unchanged.
//!
//! [`filter`] makes expressions of filters, [`request`] says which rows are wanted, [`flows`] sends them,
//! [`message`] writes them, [`nodes`] answers what the others ask.

mod counted;
mod filter;
mod flows;
mod identity;
mod message;
mod nodes;
mod proto;
mod request;
mod service;
#[cfg(test)]
mod tests;

pub(crate) use service::server;
