//! Every packet that [`parse`](crate::parse) does not take: VLAN tags, IP options, extension
//! headers, fragments, ICMP, SCTP, other protocols, and headers beyond the linear part.
//!
//! Reads by `bpf_skb_load_bytes`, which reaches all of the packet. Also parses the packet that an
//! ICMP error quotes.

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes};
use weir_abi::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP};

use crate::{
    packet::{
        ACK, ECHO_REPLY, ECHO_REQUEST, FIRST_FRAGMENT, ICMP, ICMP_ERROR, LATER_FRAGMENT, NEIGHBOUR,
        OPENS, Packet, SYN, Words,
    },
    parse::{ETHERNET, ETHERTYPE_V4, ETHERTYPE_V6, INVALID, NOT_IP, PARSED},
};

const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
/// Tags in the packet's data; the kernel has taken the outermost one out already.
const VLAN_TAGS: usize = 2;
/// Extension headers a packet may carry; RFC 8200 §4.1 names seven in its order.
const EXTENSION_HEADERS: usize = 8;

#[inline(never)]
pub fn parse_slow(skb: *mut __sk_buff, packet: &mut Packet) -> u32 {
    *packet = Packet::ZERO;
    let mut ethertype = [0u8; 2];
    if !load(skb, 12, &mut ethertype) {
        return NOT_IP;
    }
    let mut offset = ETHERNET as u32;
    for _ in 0..VLAN_TAGS {
        if !is_vlan(ethertype) {
            break;
        }
        if !load(skb, offset + 2, &mut ethertype) {
            return INVALID;
        }
        offset += 4;
    }
    match u16::from_be_bytes(ethertype) {
        ETHERTYPE_V4 => parse_v4(skb, offset, packet, false),
        ETHERTYPE_V6 => parse_v6(skb, offset, packet, false),
        // The kernel strips any number of priority tags: more of them must not hide a packet.
        _ if is_vlan(ethertype) => INVALID,
        _ => NOT_IP,
    }
}

/// Parses from the IPv4 header at `offset` on. `quoted`: in an ICMP error, which need not hold
/// more than eight bytes of the transport header.
#[inline(never)]
pub fn parse_v4(skb: *mut __sk_buff, offset: u32, packet: &mut Packet, quoted: bool) -> u32 {
    let mut header = [0u32; 5];
    if !load(skb, offset, &mut header) {
        return INVALID;
    }
    let [first, second, third, source, destination] = header;
    let first = first.to_ne_bytes();
    let length = u32::from(first[0] & 0x0f) * 4;
    if first[0] >> 4 != 4 || length < 20 {
        return INVALID;
    }
    packet.source = Words::v4(source);
    packet.destination = Words::v4(destination);
    packet.protocol = third.to_ne_bytes()[1];
    packet.fragment_protocol = packet.protocol;
    let [id_high, id_low, fragment_high, fragment_low] = second.to_ne_bytes();
    packet.fragment_id = u32::from(u16::from_be_bytes([id_high, id_low]));
    let fragment = u16::from_be_bytes([fragment_high, fragment_low]);
    let fragment_offset = fragment & 0x1fff;
    let transport = offset + length;
    if fragment_offset != 0 {
        return later_fragment(packet, fragment_offset, transport);
    }
    if fragment & 0x2000 != 0 {
        packet.kind |= FIRST_FRAGMENT;
    }
    parse_transport(skb, transport, packet, quoted)
}

/// Parses from the IPv6 header at `offset` on.
#[inline(never)]
pub fn parse_v6(skb: *mut __sk_buff, offset: u32, packet: &mut Packet, quoted: bool) -> u32 {
    let mut header = [0u64; 5];
    if !load(skb, offset, &mut header) {
        return INVALID;
    }
    let first = header[0].to_ne_bytes();
    if first[0] >> 4 != 6 {
        return INVALID;
    }
    packet.source = Words([header[1], header[2]]);
    packet.destination = Words([header[3], header[4]]);
    if packet.is_mapped() {
        return INVALID;
    }
    let mut next = first[6];
    let mut offset = offset + 40;
    // What follows the last of them is looked at, too.
    for _ in 0..=EXTENSION_HEADERS {
        match next {
            // Hop-by-hop, routing, destination, mobility.
            0 | 43 | 60 | 135 => {
                let mut extension = [0u8; 2];
                if !load(skb, offset, &mut extension) {
                    return INVALID;
                }
                next = extension[0];
                offset += (u32::from(extension[1]) + 1) * 8;
            }
            // Authentication.
            51 => {
                let mut extension = [0u8; 2];
                if !load(skb, offset, &mut extension) {
                    return INVALID;
                }
                next = extension[0];
                offset += (u32::from(extension[1]) + 2) * 4;
            }
            // Fragment.
            44 => {
                let mut extension = [0u32; 2];
                if !load(skb, offset, &mut extension) {
                    return INVALID;
                }
                let [following, _, high, low] = extension[0].to_ne_bytes();
                let fragment = u16::from_be_bytes([high, low]);
                next = following;
                offset += 8;
                packet.fragment_id = extension[1];
                packet.fragment_protocol = next;
                if fragment >> 3 != 0 {
                    packet.protocol = next;
                    return later_fragment(packet, fragment >> 3, offset);
                }
                if fragment & 1 != 0 {
                    packet.kind |= FIRST_FRAGMENT;
                }
            }
            _ => {
                packet.protocol = next;
                return parse_transport(skb, offset, packet, quoted);
            }
        }
    }
    INVALID
}

#[inline(always)]
fn later_fragment(packet: &mut Packet, offset: u16, transport: u32) -> u32 {
    // A fragment that begins in the middle of the TCP header would write the flags anew, after
    // the first one was judged by its own (RFC 3128).
    if packet.protocol == PROTOCOL_TCP && offset < 3 {
        return INVALID;
    }
    packet.kind |= LATER_FRAGMENT;
    packet.header_length = transport;
    PARSED
}

#[inline(always)]
fn parse_transport(skb: *mut __sk_buff, offset: u32, packet: &mut Packet, quoted: bool) -> u32 {
    packet.transport = offset as u16;
    packet.header_length = offset;
    match packet.protocol {
        PROTOCOL_TCP => {
            let mut ports = [0u16; 2];
            if !load(skb, offset, &mut ports) {
                return INVALID;
            }
            set_ports(packet, ports);
            let mut rest = [0u8; 2];
            if quoted {
                return PARSED;
            }
            if !load(skb, offset + 12, &mut rest) || rest[0] >> 4 < 5 {
                return INVALID;
            }
            packet.header_length += u32::from(rest[0] >> 4) * 4;
            packet.tcp_flags = rest[1];
            if packet.tcp_flags & (SYN | ACK) == SYN {
                packet.kind |= OPENS;
            }
        }
        PROTOCOL_UDP => {
            let mut ports = [0u16; 4];
            if !load(skb, offset, &mut ports) {
                return INVALID;
            }
            set_ports(packet, [ports[0], ports[1]]);
            packet.header_length += 8;
        }
        PROTOCOL_SCTP => {
            let mut ports = [0u16; 2];
            if !load(skb, offset, &mut ports) {
                return INVALID;
            }
            set_ports(packet, ports);
            packet.header_length += 12;
            let mut chunk = [0u8; 1];
            // INIT
            if !quoted && load(skb, offset + 12, &mut chunk) && chunk[0] == 1 {
                packet.kind |= OPENS;
            }
        }
        PROTOCOL_ICMP | PROTOCOL_ICMPV6 => {
            let mut header = [0u16; 4];
            if !load(skb, offset, &mut header) {
                return INVALID;
            }
            let [kind, code] = header[0].to_ne_bytes();
            packet.icmp_type = kind;
            packet.icmp_code = code;
            packet.header_length += 8;
            packet.kind |= ICMP | icmp_kind(packet.protocol, kind);
            if packet.is(ECHO_REQUEST | ECHO_REPLY) {
                packet.source_port = u16::from_be(header[2]);
            }
        }
        _ => {}
    }
    PARSED
}

#[inline(always)]
fn icmp_kind(protocol: u8, kind: u8) -> u16 {
    if protocol == PROTOCOL_ICMP {
        match kind {
            8 => ECHO_REQUEST,
            0 => ECHO_REPLY,
            3 | 4 | 11 | 12 => ICMP_ERROR,
            _ => 0,
        }
    } else {
        match kind {
            128 => ECHO_REQUEST,
            129 => ECHO_REPLY,
            1..=4 => ICMP_ERROR,
            130..=137 | 143 => NEIGHBOUR,
            _ => 0,
        }
    }
}

#[inline(always)]
fn set_ports(packet: &mut Packet, [source, destination]: [u16; 2]) {
    packet.source_port = u16::from_be(source);
    packet.destination_port = u16::from_be(destination);
}

#[inline(always)]
fn is_vlan(ethertype: [u8; 2]) -> bool {
    matches!(u16::from_be_bytes(ethertype), ETHERTYPE_VLAN | ETHERTYPE_QINQ)
}

#[inline(always)]
fn load<T>(skb: *mut __sk_buff, offset: u32, into: &mut T) -> bool {
    let into = core::ptr::from_mut(into).cast();
    // SAFETY: the helper writes the size of `T`, an array of integers, or nothing.
    unsafe { bpf_skb_load_bytes(skb.cast(), offset, into, size_of::<T>() as u32) == 0 }
}
