//! Later fragments have no ports: those of the first one are remembered for them.

use aya_ebpf::bindings::BPF_ANY;

use crate::{
    maps::FRAGMENTS,
    packet::{ECHO_REPLY, ECHO_REQUEST, FIRST_FRAGMENT, ICMP, Packet, Words},
};

/// What the fragments of one packet have in common.
#[repr(C)]
pub struct FragmentKey {
    source: Words,
    destination: Words,
    id: u32,
    protocol: u8,
    reserved: [u8; 3],
}

/// What only the first one tells.
#[repr(C)]
pub struct FragmentValue {
    source_port: u16,
    destination_port: u16,
    kind: u16,
    protocol: u8,
    icmp_type: u8,
    icmp_code: u8,
    reserved: [u8; 3],
}

/// Remembers a first fragment, or completes a later one. False: its first one was not seen.
#[inline(never)]
pub fn resolve(packet: &mut Packet) -> bool {
    let key = FragmentKey {
        source: packet.source,
        destination: packet.destination,
        id: packet.fragment_id,
        protocol: packet.fragment_protocol,
        reserved: [0; 3],
    };
    if packet.is(FIRST_FRAGMENT) {
        let value = FragmentValue {
            source_port: packet.source_port,
            destination_port: packet.destination_port,
            kind: packet.kind & (ICMP | ECHO_REQUEST | ECHO_REPLY),
            protocol: packet.protocol,
            icmp_type: packet.icmp_type,
            icmp_code: packet.icmp_code,
            reserved: [0; 3],
        };
        // Where there is no room, the later ones are unknown, which is safe.
        let _ = FRAGMENTS.insert(&key, &value, u64::from(BPF_ANY));
        return true;
    }
    let Some(value) = FRAGMENTS.get_ptr(&key) else { return false };
    // SAFETY: from the map lookup just made.
    let value = unsafe { &*value };
    packet.source_port = value.source_port;
    packet.destination_port = value.destination_port;
    packet.kind |= value.kind;
    packet.protocol = value.protocol;
    packet.icmp_type = value.icmp_type;
    packet.icmp_code = value.icmp_code;
    true
}
