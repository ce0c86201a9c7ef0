//! One packet (or what it was cut into), made for a port and recognised by its mark where it arrives.

use std::net::{Ipv4Addr, Ipv6Addr};

use weir_abi::{PROTOCOL_TCP, PROTOCOL_UDP};

use crate::frame::{self, V4};
use crate::stage::{B, OPEN};

/// What a packet is made from.
#[derive(Clone, Copy)]
pub(crate) struct Shot {
    /// Where it says it comes from.
    pub(crate) source: (Ipv4Addr, Ipv6Addr),
    /// Where it goes.
    pub(crate) port: u16,
    /// No two shots of a test have the same.
    pub(crate) number: u16,
    /// Of the item.
    pub(crate) item: u8,
}

/// Bytes of a mark that every shot has.
const MAGIC: [u8; 4] = *b"WEIR";

impl Shot {
    /// What tells it apart from everything else on the wire.
    pub(crate) fn mark(&self) -> [u8; 8] {
        let [high, low] = self.number.to_be_bytes();
        let [a, b, c, d] = MAGIC;
        [a, b, c, d, self.item, u8::from(self.port == OPEN), high, low]
    }

    /// Item and whether it was sent to the allowed port, of whatever has a mark.
    pub(crate) fn of_mark(frame: &[u8]) -> Option<(u8, bool)> {
        let at = frame.windows(8).position(|window| window[..4] == MAGIC)?;
        Some((frame[at + 4], frame[at + 5] == 1))
    }

    pub(crate) fn source_port(&self) -> u16 {
        20_000 + self.number
    }

    /// A UDP datagram with `size` bytes of marks.
    pub(crate) fn udp(&self, size: usize) -> Vec<u8> {
        frame::udp(self.source_port(), self.port, &self.marks(size))
    }

    /// A TCP segment; the mark is its sequence numbers, too.
    pub(crate) fn tcp(&self, flags: u8, size: usize) -> Vec<u8> {
        let mut segment = frame::tcp(self.source_port(), self.port, flags, &self.marks(size));
        segment[4..12].copy_from_slice(&self.mark());
        segment
    }

    pub(crate) fn marks(&self, size: usize) -> Vec<u8> {
        self.mark().repeat(size / 8)
    }

    /// An IPv4 packet to pod `b`.
    pub(crate) fn v4(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        self.v4_part(protocol, &[], 0, payload)
    }

    /// An IPv4 packet with options and with flags and offset of a fragment.
    pub(crate) fn v4_part(
        &self,
        protocol: u8,
        options: &[u8],
        fragment: u16,
        payload: &[u8],
    ) -> Vec<u8> {
        let mut packet = V4::new(self.source.0, B.0, protocol);
        packet.options = options.to_vec();
        packet.id = self.number;
        packet.fragment = fragment;
        checked(packet.with(payload))
    }

    pub(crate) fn v6(&self, next: u8, payload: &[u8]) -> Vec<u8> {
        frame::v6(self.source.1, B.1, next, payload)
    }

    /// The same in both families.
    pub(crate) fn both(&self, protocol: u8, payload: &[u8]) -> Vec<Vec<u8>> {
        vec![self.v4(protocol, payload), self.v6(protocol, payload)]
    }

    /// UDP and TCP behind something.
    pub(crate) fn transports(&self) -> [(u8, Vec<u8>); 2] {
        [(PROTOCOL_UDP, self.udp(16)), (PROTOCOL_TCP, self.tcp(frame::SYN, 16))]
    }
}

/// With the checksum of its header, which every router looks at.
pub(crate) fn checked(mut packet: Vec<u8>) -> Vec<u8> {
    let length = (usize::from(packet[0] & 0xf) * 4).clamp(20, packet.len());
    packet[10..12].fill(0);
    let mut sum: u32 = packet[..length]
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    packet
}
