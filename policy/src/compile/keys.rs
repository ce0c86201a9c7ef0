//! Keys of the kernel's maps. They mean what the kernel ABI's structs of the same names mean; the
//! collector converts, and a test of its pins the constants.

use ipnet::IpNet;

use crate::model::Direction;

/// Peer of rules that name no peer, and of addresses that no block of the subject covers.
pub const PEER_ANY: u32 = 0;
/// Identity of an address that belongs to no pod and no node.
pub const IDENTITY_WORLD: u32 = 1;
/// Identity of the addresses of the endpoint's own node.
pub const IDENTITY_LOCAL_NODE: u32 = 2;
/// Identity of the addresses of other nodes.
pub const IDENTITY_REMOTE_NODE: u32 = 3;
/// First identity that stands for a pod's labels.
pub const IDENTITY_FIRST_POD: u32 = 16;
/// Peers that stand for blocks have this bit, so that they never meet an identity.
pub const PEER_CIDR: u32 = 1 << 31;
/// Bit of the port prefixes that stands for entries of every protocol.
pub const ANY_PROTOCOL_BIT: u32 = 17;

/// Policies select the pod for ingress.
pub const ISOLATED_INGRESS: u32 = 1 << 0;
/// Policies select the pod for egress.
pub const ISOLATED_EGRESS: u32 = 1 << 1;
/// The subject has ingress blocks.
pub const CIDR_INGRESS: u32 = 1 << 5;
/// The subject has egress blocks.
pub const CIDR_EGRESS: u32 = 1 << 6;

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
