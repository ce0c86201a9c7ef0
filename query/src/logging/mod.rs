//! The Cloud Logging API's view of `flows`, whatever transport it comes by: each verdict is an entry of
//! log `policy-action`.

pub(crate) mod entry;
pub(crate) mod grpc;
pub(crate) mod list;
pub(crate) mod metrics;
pub(crate) mod proto;
pub(crate) mod request;
mod tail;
#[cfg(test)]
mod tests;
mod token;
