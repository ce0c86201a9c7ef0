//! What the ring buffers carry: one event for each new connection (`VERDICTS`) and for the first
//! attempt of each kind of denied one (`DENY_VERDICTS`).

use crate::{Address, layout};

/// The packet passed.
pub const VERDICT_ALLOW: u8 = 0;
/// The packet was dropped.
pub const VERDICT_DENY: u8 = 1;
/// The packet passed only because the endpoint is audited.
pub const VERDICT_AUDIT: u8 = 2;

/// A rule allowed it.
pub const REASON_POLICY: u8 = 0;
/// No policy isolates the pod in that direction.
pub const REASON_NO_POLICY: u8 = 1;
/// Isolated, and no rule allowed it.
pub const REASON_DEFAULT_DENY: u8 = 2;
/// A rule denied it.
pub const REASON_EXPLICIT_DENY: u8 = 3;
/// The pod's own node is the peer.
pub const REASON_NODE_TRAFFIC: u8 = 4;
/// The packet cannot be parsed.
pub const REASON_INVALID_PACKET: u8 = 5;
/// The pod sent from an address that is not its own.
pub const REASON_SPOOFED_SOURCE: u8 = 6;
/// The pod's policy is not in the kernel yet.
pub const REASON_NOT_READY: u8 = 7;
/// An ICMP error about a tracked connection.
pub const REASON_RELATED: u8 = 8;
/// A later fragment whose first one was not seen.
pub const REASON_FRAGMENT: u8 = 9;

/// One verdict.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerdictEvent {
    /// When the packet was judged, to the nanosecond; `first_ns` of its entry.
    pub time_ns: u64,
    /// Policy set in force.
    pub revision: u64,
    /// Source address of the packet.
    pub source: Address,
    /// Destination address of the packet.
    pub destination: Address,
    /// `Endpoint::endpoint`.
    pub endpoint: u32,
    /// Identity of the other end at that packet.
    pub remote_identity: u32,
    /// Rule set of the identity entry that allowed it, or 0.
    /// Deny: the rule set that isolates the pod, or that denies.
    pub rule_set_identity: u32,
    /// Rule set of the CIDR (or any-peer) entry that allowed it, or 0.
    pub rule_set_cidr: u32,
    /// Bytes on the wire, link header included.
    pub bytes: u32,
    /// Packets on the wire.
    pub packets: u32,
    /// 0 for protocols without ports; ICMP echo: the identifier.
    pub source_port: u16,
    /// 0 for protocols without ports.
    pub destination_port: u16,
    /// IANA number.
    pub protocol: u8,
    /// `VERDICT_ALLOW` or its siblings.
    pub verdict: u8,
    /// `REASON_POLICY` or its siblings.
    pub reason: u8,
    /// Direction as the endpoint sees it.
    pub direction: u8,
    /// TCP flags of the packet, 0 for other protocols.
    pub tcp_flags: u8,
    /// ICMP type, 0 otherwise.
    pub icmp_type: u8,
    /// ICMP code, 0 otherwise.
    pub icmp_code: u8,
    /// Reserved, zero.
    pub reserved: [u8; 5],
}

layout!(VerdictEvent, size = 88, align = 8, {
    time_ns @ 0, revision @ 8, source @ 16, destination @ 32, endpoint @ 48, remote_identity @ 52,
    rule_set_identity @ 56, rule_set_cidr @ 60, bytes @ 64, packets @ 68, source_port @ 72,
    destination_port @ 74, protocol @ 76, verdict @ 77, reason @ 78, direction @ 79,
    tcp_flags @ 80, icmp_type @ 81, icmp_code @ 82, reserved @ 83,
});
