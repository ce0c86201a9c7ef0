//! The messages and services of `proto/hubble/`.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::needless_pass_by_value,
    clippy::semicolon_if_nothing_returned,
    reason = "generated"
)]

pub(crate) mod flow {
    tonic::include_proto!("flow");
}

pub(crate) mod relay {
    tonic::include_proto!("relay");
}

pub(crate) mod observer {
    tonic::include_proto!("observer");
}
