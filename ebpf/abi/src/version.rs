//! A number for the shape of all that the kernel and user space share.

use crate::{conntrack, endpoint, event, policy};

/// Raised when something changes its meaning and keeps its shape, which [`LAYOUT`] does not see.
pub const LAYOUT_VERSION: u32 = 1;

/// Digest of the names, sizes and fields of all structs in maps and rings (FNV-1a, 64 bits). Maps
/// that outlive the process that made them may be used by another only if it has the same.
pub const LAYOUT: u64 = digest(&[
    <endpoint::SubjectView as Described>::TEXT,
    <endpoint::Endpoint as Described>::TEXT,
    <endpoint::EndpointEntry as Described>::TEXT,
    <endpoint::EndpointSlot as Described>::TEXT,
    <policy::PolicyKey as Described>::TEXT,
    <policy::PolicyValue as Described>::TEXT,
    <policy::CidrV4 as Described>::TEXT,
    <policy::CidrV6 as Described>::TEXT,
    <conntrack::ConnectionKey as Described>::TEXT,
    <conntrack::Connection as Described>::TEXT,
    <conntrack::ClosedKey as Described>::TEXT,
    <conntrack::DenyKey as Described>::TEXT,
    <conntrack::Deny as Described>::TEXT,
    <event::VerdictEvent as Described>::TEXT,
]);

/// A struct whose layout is pinned.
pub(crate) trait Described {
    /// Its name, size, alignment and fields with their offsets.
    const TEXT: &'static str;
}

const fn digest(texts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut text = 0;
    while text < texts.len() {
        let bytes = texts[text].as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
            at += 1;
        }
        text += 1;
    }
    hash
}
