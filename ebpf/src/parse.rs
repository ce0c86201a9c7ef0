//! The common packets, by direct access: IPv4 without options and IPv6 without extension headers,
//! whole, with TCP or UDP in the linear part. Everything else goes to [`parse_slow`].

use aya_ebpf::bindings::__sk_buff;
use weir_abi::{PROTOCOL_TCP, PROTOCOL_UDP};

use crate::{
    packet::{ACK, OPENS, Packet, SYN, Words},
    parse_slow::parse_slow,
};

/// The packet is described.
pub const PARSED: u32 = 0;
/// It is not an IP packet.
pub const NOT_IP: u32 = 1;
/// It claims to be one and cannot be understood.
pub const INVALID: u32 = 2;

pub const ETHERNET: usize = 14;
pub const ETHERTYPE_V4: u16 = 0x0800;
pub const ETHERTYPE_V6: u16 = 0x86dd;

const UDP_HEADER: usize = 8;
/// As far as the TCP flags.
const TCP_HEADER_START: usize = 14;

#[inline(always)]
pub fn parse(skb: *mut __sk_buff, packet: &mut Packet) -> u32 {
    // SAFETY: the context of this very program; the verifier checks every access.
    let (data, end) = unsafe { ((*skb).data as usize, (*skb).data_end as usize) };
    let transport = if data + ETHERNET + 20 + UDP_HEADER > end {
        return parse_slow(skb, packet);
    } else if read::<u16>(data + 12) == ETHERTYPE_V4.to_be() {
        let ip = data + ETHERNET;
        let fragment = read::<u16>(ip + 6) & 0x3fff_u16.to_be();
        if read::<u8>(ip) != 0x45 || fragment != 0 {
            return parse_slow(skb, packet);
        }
        packet.protocol = read(ip + 9);
        packet.source = Words::v4(read(ip + 12));
        packet.destination = Words::v4(read(ip + 16));
        ETHERNET + 20
    } else if read::<u16>(data + 12) == ETHERTYPE_V6.to_be() {
        let ip = data + ETHERNET;
        if ip + 40 + UDP_HEADER > end || read::<u8>(ip) & 0xf0 != 0x60 {
            return parse_slow(skb, packet);
        }
        packet.protocol = read(ip + 6);
        packet.source = read_words(ip + 8);
        packet.destination = read_words(ip + 24);
        if packet.is_mapped() {
            return INVALID;
        }
        ETHERNET + 40
    } else {
        return parse_slow(skb, packet);
    };
    let header = data + transport;
    let mut kind = 0;
    let mut tcp_flags = 0;
    let length = match packet.protocol {
        PROTOCOL_TCP => {
            if header + TCP_HEADER_START > end {
                return parse_slow(skb, packet);
            }
            tcp_flags = read::<u8>(header + 13);
            if tcp_flags & (SYN | ACK) == SYN {
                kind = OPENS;
            }
            let length = usize::from(read::<u8>(header + 12) >> 4) * 4;
            if length < 20 {
                return INVALID;
            }
            length
        }
        PROTOCOL_UDP => UDP_HEADER,
        _ => return parse_slow(skb, packet),
    };
    packet.source_port = u16::from_be(read(header));
    packet.destination_port = u16::from_be(read(header + 2));
    packet.header_length = (transport + length) as u32;
    packet.fragment_id = 0;
    packet.transport = transport as u16;
    packet.kind = kind;
    packet.fragment_protocol = 0;
    packet.tcp_flags = tcp_flags;
    packet.icmp_type = 0;
    packet.icmp_code = 0;
    packet.reserved = [0; 3];
    PARSED
}

#[inline(always)]
fn read<T: Copy>(at: usize) -> T {
    // SAFETY: the callers compared with the end of the data; the kernel reads unaligned fields of
    // packets on every architecture it lets these programs run on.
    unsafe { *(at as *const T) }
}

#[inline(always)]
fn read_words(at: usize) -> Words {
    let halves: [u32; 4] = [read(at), read(at + 4), read(at + 8), read(at + 12)];
    let word = |low: u32, high: u32| u64::from(low) | (u64::from(high) << 32);
    Words([word(halves[0], halves[1]), word(halves[2], halves[3])])
}
