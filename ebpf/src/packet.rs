//! What the programs know of a packet after parsing it.

use weir_abi::{Address, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP};

/// Opens a connection: a TCP SYN without ACK, an SCTP INIT.
pub const OPENS: u16 = 1 << 0;
/// First of several fragments.
pub const FIRST_FRAGMENT: u16 = 1 << 1;
/// Not the first fragment: no transport header of its own.
pub const LATER_FRAGMENT: u16 = 1 << 2;
/// ICMP or ICMPv6 echo request.
pub const ECHO_REQUEST: u16 = 1 << 3;
/// ICMP or ICMPv6 echo reply.
pub const ECHO_REPLY: u16 = 1 << 4;
/// ICMP or ICMPv6 error: quotes the packet it is about.
pub const ICMP_ERROR: u16 = 1 << 5;
/// Neighbour discovery or multicast listener discovery.
pub const NEIGHBOUR: u16 = 1 << 6;
/// ICMP or ICMPv6.
pub const ICMP: u16 = 1 << 7;

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

/// An address as two native words, for the programs compare and copy it a lot.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Words(pub [u64; 2]);

/// A parsed packet.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Packet {
    pub source: Words,
    pub destination: Words,
    /// Link, network and transport header: what each segment of a GSO packet repeats.
    pub header_length: u32,
    /// Identification of a fragmented packet.
    pub fragment_id: u32,
    pub source_port: u16,
    pub destination_port: u16,
    /// Where the transport header begins.
    pub transport: u16,
    /// `OPENS` and its siblings.
    pub kind: u16,
    pub protocol: u8,
    /// What the fragment header names; not `protocol` if more extension headers follow.
    pub fragment_protocol: u8,
    pub tcp_flags: u8,
    pub icmp_type: u8,
    pub icmp_code: u8,
    pub reserved: [u8; 3],
}

impl Words {
    pub const ZERO: Self = Self([0, 0]);

    /// IPv4-mapped; `network` is the address as it lies in memory.
    #[inline(always)]
    pub fn v4(network: u32) -> Self {
        Self([0, 0xffff_0000 | (u64::from(network) << 32)])
    }

    #[inline(always)]
    pub fn is_v4(self) -> bool {
        self.0[0] == 0 && self.0[1] as u32 == 0xffff_0000
    }

    /// The IPv4 address as it lies in memory.
    #[inline(always)]
    pub fn to_v4(self) -> u32 {
        (self.0[1] >> 32) as u32
    }

    /// `0.0.0.0`, `::` or `fe80::/10`: sources a host has before, or beside, its own address.
    #[inline(always)]
    pub fn is_unspecified_or_link_local(self) -> bool {
        let [high, low] = self.0;
        (high == 0 && (low == 0 || low == 0xffff_0000)) || high & 0xc0ff == 0x80fe
    }

    #[inline(always)]
    pub fn as_address(&self) -> &Address {
        // SAFETY: 16 plain bytes either way.
        unsafe { &*core::ptr::from_ref(self).cast() }
    }
}

impl Packet {
    pub const ZERO: Self = Self {
        source: Words::ZERO,
        destination: Words::ZERO,
        header_length: 0,
        fragment_id: 0,
        source_port: 0,
        destination_port: 0,
        transport: 0,
        kind: 0,
        protocol: 0,
        fragment_protocol: 0,
        tcp_flags: 0,
        icmp_type: 0,
        icmp_code: 0,
        reserved: [0; 3],
    };

    #[inline(always)]
    pub fn is(&self, kinds: u16) -> bool {
        self.kind & kinds != 0
    }

    /// An IPv6 packet with IPv4-mapped addresses: they do not belong on the wire, and would pass
    /// for the IPv4 addresses here.
    #[inline(always)]
    pub fn is_mapped(&self) -> bool {
        self.source.is_v4() || self.destination.is_v4()
    }

    #[inline(always)]
    pub fn has_ports(&self) -> bool {
        matches!(self.protocol, PROTOCOL_TCP | PROTOCOL_UDP | PROTOCOL_SCTP)
    }

    /// Turns a reply into the shape of the packets it replies to.
    #[inline(always)]
    pub fn reverse(&mut self) {
        core::mem::swap(&mut self.source, &mut self.destination);
        // An ICMP echo has its identifier in `source_port`, whoever sends it.
        if !self.is(ICMP) {
            core::mem::swap(&mut self.source_port, &mut self.destination_port);
        }
    }
}
