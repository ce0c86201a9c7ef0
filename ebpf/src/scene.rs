//! One packet at one endpoint: what every step after parsing works on.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use weir_abi::{
    DIRECTION_EGRESS, DIRECTION_INGRESS,
    conntrack::{ConnectionKey, ICMP_FROM_ENDPOINT},
    endpoint::{
        DENY_NOT_READY, Endpoint, EndpointEntry, ISOLATED_EGRESS, ISOLATED_INGRESS, READY,
        TIERS_EGRESS, TIERS_INGRESS,
    },
    event::VERDICT_ALLOW,
};

use crate::{
    judge::Search,
    kinds::Kind,
    packet::{ECHO_REPLY, ICMP, Packet, Words},
    stats::{Counters, bump},
};

/// `TC_ACT_UNSPEC`: the next program on the hook decides, or else the packet goes on.
pub const PASS: i32 = -1;
/// `TC_ACT_SHOT`.
pub const DROP: i32 = 2;

#[repr(C)]
pub struct Scene {
    work: *mut Work,
    pub key: Key,
    /// Of `CLOCK_MONOTONIC`, as of the last tick unless the packet is the first of its kind.
    pub now: u64,
    entry: *const EndpointEntry,
    counters: *mut Counters,
    /// Packets on the wire.
    pub packets: u32,
    /// Bytes on the wire.
    pub bytes: u32,
    /// Direction of the connection as the endpoint sees it. That of the packet, unless `reply`.
    pub direction: u8,
    /// The packet is a reply, and has been turned round to look like what it replies to.
    pub reply: bool,
    /// An ICMP error about a tracked connection.
    pub related: bool,
}

/// What is known of the packet at hand. In a map and not on the stack: there the verifier would tell
/// apart every value that the fields can get, and check all that follows for each of them.
#[repr(C)]
pub struct Work {
    pub packet: Packet,
    /// Of a packet that was judged.
    pub judgement: Judgement,
    /// Of map `EPOCH`, read before policy is asked.
    pub epoch: u32,
    /// Of a packet that may be denied.
    pub kind: Kind,
    /// What [`judge`](crate::judge) looks up.
    pub search: Search,
}

/// What policy says.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Judgement {
    pub identity: u32,
    pub rule_set_identity: u32,
    pub rule_set_cidr: u32,
    pub verdict: u8,
    pub reason: u8,
}

/// [`ConnectionKey`] in words.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Key {
    remote: Words,
    endpoint: u32,
    local_port: u16,
    remote_port: u16,
    protocol_and_icmp: u64,
}

const _: () = assert!(size_of::<Key>() == size_of::<ConnectionKey>());

impl Scene {
    #[inline(always)]
    pub fn new(
        work: *mut Work,
        entry: *const EndpointEntry,
        counters: *mut Counters,
        direction: u8,
    ) -> Self {
        Self {
            work,
            key: Key {
                remote: Words::ZERO,
                endpoint: 0,
                local_port: 0,
                remote_port: 0,
                protocol_and_icmp: 0,
            },
            now: 0,
            entry,
            counters,
            packets: 1,
            bytes: 0,
            direction,
            reply: false,
            related: false,
        }
    }

    #[inline(always)]
    pub fn work(&self) -> &Work {
        // SAFETY: from the map lookup of this very packet, and this CPU has no other at hand.
        unsafe { &*self.work }
    }

    #[inline(always)]
    pub fn work_mut(&mut self) -> &mut Work {
        // SAFETY: as for `work`.
        unsafe { &mut *self.work }
    }

    #[inline(always)]
    pub fn packet(&self) -> &Packet {
        &self.work().packet
    }

    #[inline(always)]
    pub fn packet_mut(&mut self) -> &mut Packet {
        &mut self.work_mut().packet
    }

    #[inline(always)]
    pub fn entry(&self) -> &EndpointEntry {
        // SAFETY: from the map lookup of this very packet.
        unsafe { &*self.entry }
    }

    #[inline(always)]
    pub fn endpoint(&self) -> &Endpoint {
        &self.entry().endpoint
    }

    #[inline(always)]
    pub fn bump(&self, which: u32) {
        bump(self.counters, which);
    }

    /// The address at the other end.
    #[inline(always)]
    pub fn remote(&self) -> Words {
        if self.direction == DIRECTION_EGRESS {
            self.packet().destination
        } else {
            self.packet().source
        }
    }

    /// Whether `address` is the endpoint's.
    #[inline(always)]
    pub fn owns(&self, address: Words) -> bool {
        let endpoint = self.endpoint();
        address == words(&endpoint.address_v4) || address == words(&endpoint.address_v6)
    }

    /// Whether a packet that no policy can be asked about must not pass.
    #[inline(always)]
    pub fn is_isolated(&self) -> bool {
        let flags = self.endpoint().flags;
        if flags & READY == 0 {
            flags & DENY_NOT_READY != 0
        } else {
            self.endpoint().enforced.flags & (isolation(self.direction) | tiers(self.direction))
                != 0
        }
    }

    /// Turns a reply into the shape of the packets it replies to, or back.
    #[inline(always)]
    pub fn reverse(&mut self) {
        self.packet_mut().reverse();
        self.direction ^= 1;
        self.reply = !self.reply;
    }
}

impl Judgement {
    pub const ALLOW: Self = Self {
        identity: 0,
        rule_set_identity: 0,
        rule_set_cidr: 0,
        verdict: VERDICT_ALLOW,
        reason: 0,
    };
}

impl Key {
    /// The key of the connection a packet belongs to.
    #[inline(always)]
    pub fn new(endpoint: u32, packet: &Packet, direction: u8) -> Self {
        let outward = direction == DIRECTION_EGRESS;
        let remote = if outward { packet.destination } else { packet.source };
        let mut protocol_and_icmp = u64::from(packet.protocol);
        let (local_port, remote_port) = if packet.is(ICMP) {
            if outward != packet.is(ECHO_REPLY) {
                protocol_and_icmp |= u64::from(ICMP_FROM_ENDPOINT) << 8;
            }
            (packet.source_port, 0)
        } else if outward {
            (packet.source_port, packet.destination_port)
        } else {
            (packet.destination_port, packet.source_port)
        };
        Self { remote, endpoint, local_port, remote_port, protocol_and_icmp }
    }

    /// Sets bits of `ConnectionKey::icmp`.
    #[inline(always)]
    pub fn set_icmp(&mut self, bits: u8) {
        self.protocol_and_icmp |= u64::from(bits) << 8;
    }

    #[inline(always)]
    pub fn as_key(&self) -> &ConnectionKey {
        // SAFETY: the same layout, and every bit pattern is valid.
        unsafe { &*core::ptr::from_ref(self).cast() }
    }
}

/// The time to the nanosecond, for what is reported.
#[inline(always)]
pub fn precise_now() -> u64 {
    // SAFETY: a helper without preconditions.
    unsafe { bpf_ktime_get_ns() }
}

/// The flag of an endpoint that a policy isolates in a direction.
#[inline(always)]
pub fn isolation(direction: u8) -> u32 {
    if direction == DIRECTION_INGRESS { ISOLATED_INGRESS } else { ISOLATED_EGRESS }
}

/// The flag of an endpoint that rules of a tier apply to in a direction.
#[inline(always)]
pub fn tiers(direction: u8) -> u32 {
    if direction == DIRECTION_INGRESS { TIERS_INGRESS } else { TIERS_EGRESS }
}

#[inline(always)]
fn words(address: &weir_abi::Address) -> Words {
    // SAFETY: 16 plain bytes; in the endpoint's map value they lie on multiples of eight.
    unsafe { *core::ptr::from_ref(address).cast() }
}
