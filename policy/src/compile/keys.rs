//! Keys and values of the kernel's maps. They mean what the kernel ABI's structs of the same names
//! mean; the collector converts, and a test of its pins the constants.

use ipnet::IpNet;

use crate::model::{Action, Direction};

/// Peer of rules that name no peer, and of addresses that no block of the subject covers.
pub const PEER_ANY: u32 = 0;
/// Identity of an address that belongs to no pod and no node.
pub const IDENTITY_WORLD: u32 = 1;
/// Identity of the addresses of the endpoint's own node.
pub const IDENTITY_LOCAL_NODE: u32 = 2;
/// Identity of the addresses of other nodes.
pub const IDENTITY_REMOTE_NODE: u32 = 3;
/// First identity that stands for pods.
pub const IDENTITY_FIRST_POD: u32 = 16;
/// Peers that stand for blocks have this bit, so that they never meet an identity.
pub const PEER_CIDR: u32 = 1 << 31;
/// Bit of the port prefixes that stands for entries of every protocol.
pub const ANY_PROTOCOL_BIT: u32 = 17;

/// NetworkPolicies select the pod for ingress.
pub const ISOLATED_INGRESS: u32 = 1 << 0;
/// NetworkPolicies select the pod for egress.
pub const ISOLATED_EGRESS: u32 = 1 << 1;
/// Denies of the pod are only reported.
pub const AUDIT: u32 = 1 << 4;
/// The subject has ingress blocks.
pub const CIDR_INGRESS: u32 = 1 << 5;
/// The subject has egress blocks.
pub const CIDR_EGRESS: u32 = 1 << 6;
/// Rules of tiers apply to ingress.
pub const TIERS_INGRESS: u32 = 1 << 8;
/// Rules of tiers apply to egress.
pub const TIERS_EGRESS: u32 = 1 << 9;

/// The subject has ingress entries without a peer.
pub const ANY_INGRESS: u32 = 1 << 10;
/// The subject has egress entries without a peer.
pub const ANY_EGRESS: u32 = 1 << 11;

/// No rule of a tier.
pub const NO_DECISION: u32 = u32::MAX;

/// A rule of a tier: its place among the subject's rules of that tier and direction, and its action.
pub const fn decision(place: u32, action: Action) -> u32 {
    let action = match action {
        Action::Allow => 0,
        Action::Deny => 1,
        Action::Pass => 2,
    };
    place << 2 | action
}

/// The bit of a port in [`CompiledView::ports_ingress`](super::CompiledView) and its sibling.
pub const fn port_bit(port: u16) -> u64 {
    1 << ((port as u32).wrapping_mul(0x9e37_79b1) >> 26)
}

/// The action of a [`decision`]; none of [`NO_DECISION`].
pub const fn action(decision: u32) -> Option<Action> {
    match decision & 3 {
        0 => Some(Action::Allow),
        1 => Some(Action::Deny),
        2 => Some(Action::Pass),
        _ => None,
    }
}

/// Who may talk to whom on what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PolicyKey {
    /// Whose rules.
    pub subject: u32,
    /// An identity, a block's peer or [`PEER_ANY`].
    pub peer: u32,
    /// As the subject sees it.
    pub direction: Direction,
    /// IANA number; 0 for every protocol, then `port` and `port_prefix` are 0.
    pub protocol: u8,
    /// Destination port with the bits beyond `port_prefix` zero.
    pub port: u16,
    /// How many leading bits of the port count, 0 to 16.
    pub port_prefix: u8,
}

/// What the rules that cover a key say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PolicyEntry {
    /// NetworkPolicy rules that allow; 0 if none does.
    pub rule_set: u32,
    /// First rule of the admin tier, as [`decision`] has it.
    pub admin: u32,
    /// Names that rule.
    pub admin_rule_set: u32,
    /// First rule of the baseline tier, likewise.
    pub baseline: u32,
    /// Names that rule.
    pub baseline_rule_set: u32,
}

impl PolicyEntry {
    /// No rule says anything.
    pub const NONE: Self = Self {
        rule_set: 0,
        admin: NO_DECISION,
        admin_rule_set: 0,
        baseline: NO_DECISION,
        baseline_rule_set: 0,
    };
}

/// A block of addresses in some subject's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CidrKey {
    /// The block, host bits zero.
    pub net: IpNet,
    /// Whose rules.
    pub subject: u32,
    /// As the subject sees it.
    pub direction: Direction,
}
