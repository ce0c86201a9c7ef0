//! Live connections and folded denies.

use crate::{
    Address, PROTOCOL_TCP,
    event::{REASON_DEFAULT_DENY, REASON_EXPLICIT_DENY},
    layout,
};

/// A FIN was seen from the initiator.
pub const FIN_FORWARD: u32 = 1 << 0;
/// A FIN was seen from the responder.
pub const FIN_REPLY: u32 = 1 << 1;
/// A RST was seen from either side.
pub const RESET: u32 = 1 << 2;
/// The responder has answered.
pub const REPLIED: u32 = 1 << 3;
/// The event of the first packet went into the ring, so `event_packets` are reported already.
pub const EVENT_SUBMITTED: u32 = 1 << 4;
/// The initiator has sent more than its SYN (or was first seen in mid-stream): another SYN is
/// another connection, not a repetition.
pub const HANDSHAKE: u32 = 1 << 5;
/// The first packet seen was not one that opens a connection.
pub const MID_STREAM: u32 = 1 << 6;

/// Bit of [`ConnectionKey::icmp`]: the initiator is the endpoint. Echo requests of both ends with
/// one identifier are two connections, and what is not an echo has no replies.
pub const ICMP_FROM_ENDPOINT: u8 = 1 << 0;
/// Bit of [`ConnectionKey::icmp`]: errors about tracked connections, apart from ICMP that a
/// policy allowed.
pub const ICMP_RELATED: u8 = 1 << 1;

/// Silence after which an entry no longer lets packets pass: TCP after the handshake. Longer than
/// the two hours after which hosts probe idle connections.
pub const TIMEOUT_TCP_NS: u64 = 3 * 3600 * SECOND;
/// The same before the handshake is complete.
pub const TIMEOUT_TCP_OPENING_NS: u64 = 120 * SECOND;
/// The same once both ends have sent FIN or one has sent RST: late repetitions still belong to it.
pub const TIMEOUT_TCP_CLOSED_NS: u64 = 20 * SECOND;
/// The same for other protocols, once the responder has answered.
pub const TIMEOUT_REPLIED_NS: u64 = 180 * SECOND;
/// The same while it has not.
pub const TIMEOUT_UNREPLIED_NS: u64 = 60 * SECOND;

/// Silence after which the next attempt of a kind of deny is reported at once, like the first.
pub const DENY_IDLE_NS: u64 = 30 * SECOND;

const SECOND: u64 = 1_000_000_000;

/// Key of LRU map `CONNTRACK`, as the endpoint sees the connection, so that one lookup serves both
/// directions. The family of `remote` tells which of the endpoint's addresses is the local one.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionKey {
    /// The other end.
    pub remote: Address,
    /// `Endpoint::endpoint`.
    pub endpoint: u32,
    /// ICMP echo: the identifier. Protocols without ports: 0.
    pub local_port: u16,
    /// ICMP echo: 0. Protocols without ports: 0.
    pub remote_port: u16,
    /// IANA number.
    pub protocol: u8,
    /// [`ICMP_FROM_ENDPOINT`] and [`ICMP_RELATED`]; 0 for other protocols.
    pub icmp: u8,
    /// Reserved, zero.
    pub reserved: [u8; 6],
}

layout!(ConnectionKey, size = 32, align = 4, {
    remote @ 0, endpoint @ 16, local_port @ 20, remote_port @ 22, protocol @ 24, icmp @ 25,
    reserved @ 26,
});

/// Key of LRU map `CLOSED`, whose values are [`Connection`]s that a new connection of the same key
/// has replaced in `CONNTRACK`: what they counted is still to be reported.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClosedKey {
    /// The key it had.
    pub connection: ConnectionKey,
    /// `Connection::first_ns`.
    pub first_ns: u64,
}

layout!(ClosedKey, size = 40, align = 8, { connection @ 0, first_ns @ 32 });

/// Value of LRU map `CONNTRACK`. Counters are updated atomically by the kernel programs; user
/// space reports differences between two readings, beginning with `event_packets` and
/// `event_bytes` where [`EVENT_SUBMITTED`] is set and with zero where it is not. Another `first_ns`
/// under the same key is another connection; the one before it is in `CLOSED`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Packets of the initiator, as they are on the wire (a GSO packet counts its segments).
    pub packets: u64,
    /// Bytes of the initiator's frames as an interface counts them, link header included.
    pub bytes: u64,
    /// Packets of the responder.
    pub reply_packets: u64,
    /// Bytes of the responder.
    pub reply_bytes: u64,
    /// First packet, to the nanosecond.
    pub first_ns: u64,
    /// Last packet of either side, as of the last clock tick (1 to 10 ms) but never before the
    /// first packet or the first reply.
    pub last_ns: u64,
    /// First packet of the responder minus `first_ns`, to the nanosecond; 0 while there is none,
    /// or if nothing was seen before it.
    pub reply_delay_ns: u64,
    /// Policy set that allowed it.
    pub revision: u64,
    /// Rule set of the identity entry that allowed it, or 0.
    pub rule_set_identity: u32,
    /// Rule set of the CIDR (or any-peer) entry that allowed it, or 0.
    pub rule_set_cidr: u32,
    /// `FIN_FORWARD` and the other bits of this module.
    pub flags: u32,
    /// Packets already reported by the event of the first packet.
    pub event_packets: u32,
    /// Bytes already reported by that event.
    pub event_bytes: u32,
    /// Reason of the verdict, see [`crate::event`].
    pub reason: u8,
    /// `VERDICT_ALLOW` or `VERDICT_AUDIT`.
    pub verdict: u8,
    /// The initiator's direction as the endpoint sees it.
    pub direction: u8,
    /// Union of the TCP flags of all packets; 0 for other protocols.
    pub tcp_flags: u8,
    /// ICMP type of the first packet.
    pub icmp_type: u8,
    /// ICMP code of the first packet.
    pub icmp_code: u8,
    /// Reserved, zero.
    pub reserved: [u8; 6],
}

layout!(Connection, size = 96, align = 8, {
    packets @ 0, bytes @ 8, reply_packets @ 16, reply_bytes @ 24, first_ns @ 32, last_ns @ 40,
    reply_delay_ns @ 48, revision @ 56, rule_set_identity @ 64, rule_set_cidr @ 68, flags @ 72,
    event_packets @ 76, event_bytes @ 80, reason @ 84, verdict @ 85, direction @ 86,
    tcp_flags @ 87, icmp_type @ 88, icmp_code @ 89, reserved @ 90,
});

/// Key of LRU map `DENIES`: a kind of denied attempt. The initiator's port is folded, and the
/// revision is part of it, so that a row never mixes two policy sets.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DenyKey {
    /// The other end.
    pub remote: Address,
    /// Policy set in force.
    pub revision: u64,
    /// `Endpoint::endpoint`.
    pub endpoint: u32,
    /// Port that was dialled; 0 for protocols without ports.
    pub destination_port: u16,
    /// IANA number.
    pub protocol: u8,
    /// Direction as the endpoint sees it.
    pub direction: u8,
    /// Reason, see [`deny_class`].
    pub class: u8,
    /// ICMP type, 0 otherwise.
    pub icmp_type: u8,
    /// ICMP code, 0 otherwise.
    pub icmp_code: u8,
    /// Reserved, zero.
    pub reserved: [u8; 5],
    /// Local address of a packet whose source was not the endpoint's; zero otherwise.
    pub claimed: Address,
}

layout!(DenyKey, size = 56, align = 8, {
    remote @ 0, revision @ 16, endpoint @ 24, destination_port @ 28, protocol @ 30, direction @ 31,
    class @ 32, icmp_type @ 33, icmp_code @ 34, reserved @ 35, claimed @ 40,
});

/// [`DenyKey::class`] of a reason. All denies by policy are one class, so that an entry can be found
/// before policy is asked; the value tells which it is.
#[inline(always)]
pub const fn deny_class(reason: u8) -> u8 {
    if reason == REASON_EXPLICIT_DENY { REASON_DEFAULT_DENY } else { reason }
}

/// Value of LRU map `DENIES`: the attempts of a kind that no event has told of.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deny {
    /// Denied packets (attempts).
    pub count: u64,
    /// Packets on the wire.
    pub packets: u64,
    /// Bytes on the wire, link header included.
    pub bytes: u64,
    /// The first of them, to the nanosecond.
    pub first_ns: u64,
    /// The last one, as of the last clock tick but never before the first one.
    pub last_ns: u64,
    /// Rule set that names the policies that isolate the pod, or the explicit deny.
    pub rule_set: u32,
    /// [`Epoch::number`](crate::endpoint::Epoch::number) before policy was last asked about this
    /// kind. As long as it holds the same, nothing that the answer depends on has changed.
    pub epoch: u32,
    /// Initiator's port of the first of them.
    pub source_port: u16,
    /// Union of the TCP flags.
    pub tcp_flags: u8,
    /// Reason, see [`crate::event`].
    pub reason: u8,
    /// Reserved, zero.
    pub reserved: u32,
}

layout!(Deny, size = 56, align = 8, {
    count @ 0, packets @ 8, bytes @ 16, first_ns @ 24, last_ns @ 32, rule_set @ 40, epoch @ 44,
    source_port @ 48, tcp_flags @ 50, reason @ 51, reserved @ 52,
});

impl Connection {
    /// Both ends have sent FIN, or one has sent RST.
    pub const fn is_closed(&self) -> bool {
        is_closed(self.flags)
    }

    /// Silence after which the entry lets no packet pass.
    pub const fn timeout_ns(&self, protocol: u8) -> u64 {
        timeout_ns(protocol, self.flags)
    }
}

/// [`Connection::is_closed`] for its flags.
#[inline(always)]
pub const fn is_closed(flags: u32) -> bool {
    flags & RESET != 0 || flags & (FIN_FORWARD | FIN_REPLY) == FIN_FORWARD | FIN_REPLY
}

/// [`Connection::timeout_ns`] for its flags.
#[inline(always)]
pub const fn timeout_ns(protocol: u8, flags: u32) -> u64 {
    if protocol == PROTOCOL_TCP {
        if is_closed(flags) {
            TIMEOUT_TCP_CLOSED_NS
        } else if flags & HANDSHAKE != 0 {
            TIMEOUT_TCP_NS
        } else {
            TIMEOUT_TCP_OPENING_NS
        }
    } else if flags & REPLIED != 0 {
        TIMEOUT_REPLIED_NS
    } else {
        TIMEOUT_UNREPLIED_NS
    }
}
