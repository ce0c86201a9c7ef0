//! Identities, CIDRs and the rules of a subject.
//!
//! The lookup for the first packet of a connection, for subject `s` and direction `d`:
//!
//! 1. `identity` = `IDENTITIES[remote address]`, else [`IDENTITY_WORLD`].
//! 2. `cidr` = longest match of `{s, d, remote address}` in `CIDRS_V4` or `CIDRS_V6` if the
//!    subject's flags say there are entries, else [`PEER_ANY`], for which the flags say likewise
//!    whether there are entries. A CIDR's entries carry the rules
//!    of every block that contains it and of rules without peers, so the longest prefix hides
//!    nothing.
//! 3. For each of the two peers, the longest port prefix first (the whole port only if its
//!    [`port_bit`] is among the subject's), then the entry for every protocol:
//!    the first entry found of `POLICY` is that peer's. An entry carries the rules of every shorter
//!    prefix, so the first one found is the whole answer for that peer. Where there is none,
//!    [`PolicyValue::NONE`] is.
//! 4. The admin tier: the smaller `admin` of both decides, unless it passes on. All rules of the
//!    subject's admin tier are numbered in their order, so the smaller one comes first.
//! 5. NetworkPolicies, if they isolate the pod: allowed if either peer has a `rule_set`, and the
//!    rules that allowed it are both sets; else denied.
//! 6. The baseline tier, likewise by `baseline`; without a rule the packet is allowed.

use crate::{Address, layout};

/// Peer of rules that name no peer, and of addresses that no CIDR of the subject covers.
pub const PEER_ANY: u32 = 0;
/// Identity of an address that belongs to no pod and no node.
pub const IDENTITY_WORLD: u32 = 1;
/// Identity of the addresses of the endpoint's own node: always allowed, reason `node_traffic`.
pub const IDENTITY_LOCAL_NODE: u32 = 2;
/// Identity of the addresses of other nodes.
pub const IDENTITY_REMOTE_NODE: u32 = 3;
/// First identity that stands for a set of labels.
pub const IDENTITY_FIRST_POD: u32 = 16;
/// CIDR peers have this bit, so that they never meet an identity.
pub const PEER_CIDR: u32 = 1 << 31;

/// Bit of `port_prefixes_*` that stands for entries of every protocol.
pub const ANY_PROTOCOL_BIT: u32 = 17;

/// The bit of a port in [`SubjectView::ports_ingress`](crate::endpoint::SubjectView) and its sibling.
#[inline(always)]
pub const fn port_bit(port: u16) -> u64 {
    // The golden ratio of 2³² spreads ports, which often are neighbours.
    1 << ((port as u32).wrapping_mul(0x9e37_79b1) >> 26)
}

/// Key of hash map `POLICY`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyKey {
    /// Whose rules.
    pub subject: u32,
    /// An identity, a CIDR peer or [`PEER_ANY`].
    pub peer: u32,
    /// Destination port with the bits beyond `port_prefix` zero.
    pub port: u16,
    /// `DIRECTION_INGRESS` or `DIRECTION_EGRESS`.
    pub direction: u8,
    /// IANA number; 0 for every protocol (then `port_prefix` and `port` are 0).
    pub protocol: u8,
    /// How many leading bits of the port count, 0 to 16.
    pub port_prefix: u8,
    /// Reserved, zero.
    pub reserved: [u8; 3],
}

layout!(PolicyKey, size = 16, align = 4, {
    subject @ 0, peer @ 4, port @ 8, direction @ 10, protocol @ 11, port_prefix @ 12, reserved @ 13,
});

/// Value of hash map `POLICY`: what the rules that cover a key say.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyValue {
    /// NetworkPolicy rules that allow; 0 if none does. User space keeps the table, and a number is
    /// never given another meaning.
    pub rule_set: u32,
    /// First rule of the admin tier, as [`decision`] has it.
    pub admin: u32,
    /// Names that rule.
    pub admin_rule_set: u32,
    /// First rule of the baseline tier, likewise.
    pub baseline: u32,
    /// Names that rule.
    pub baseline_rule_set: u32,
    /// Reserved, zero.
    pub reserved: u32,
}

layout!(PolicyValue, size = 24, align = 4, {
    rule_set @ 0, admin @ 4, admin_rule_set @ 8, baseline @ 12, baseline_rule_set @ 16,
    reserved @ 20,
});

impl PolicyValue {
    /// No rule says anything.
    pub const NONE: Self = Self {
        rule_set: 0,
        admin: NO_DECISION,
        admin_rule_set: 0,
        baseline: NO_DECISION,
        baseline_rule_set: 0,
        reserved: 0,
    };
}

/// Bits of a [`decision`] that are its action.
pub const ACTION_MASK: u32 = 3;
/// The packet is allowed.
pub const ACTION_ALLOW: u32 = 0;
/// The packet is denied.
pub const ACTION_DENY: u32 = 1;
/// The next tier decides.
pub const ACTION_PASS: u32 = 2;
/// No rule of a tier: after every other, and the next tier decides.
pub const NO_DECISION: u32 = u32::MAX;

/// A rule of a tier: its place among the subject's rules of that tier and direction, below 2³⁰ - 1,
/// and its action.
#[inline(always)]
pub const fn decision(place: u32, action: u32) -> u32 {
    place << 2 | action
}

/// Data of the LPM trie `CIDRS_V4` (after the prefix length). Value: the CIDR peer (`u32`).
/// Prefix length = 64 + the block's own.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CidrV4 {
    /// Whose rules.
    pub subject: u32,
    /// `DIRECTION_INGRESS` or `DIRECTION_EGRESS`, widened so that nothing is padded.
    pub direction: u32,
    /// Network order.
    pub address: [u8; 4],
}

layout!(CidrV4, size = 12, align = 4, { subject @ 0, direction @ 4, address @ 8 });

/// Data of the LPM trie `CIDRS_V6`. Value: the CIDR peer (`u32`). Prefix length = 64 + the block's.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CidrV6 {
    /// Whose rules.
    pub subject: u32,
    /// `DIRECTION_INGRESS` or `DIRECTION_EGRESS`, widened so that nothing is padded.
    pub direction: u32,
    /// Network order.
    pub address: Address,
}

layout!(CidrV6, size = 24, align = 4, { subject @ 0, direction @ 4, address @ 8 });

/// Bits before the address in both CIDR tries.
pub const CIDR_PREFIX_BASE: u32 = 64;
