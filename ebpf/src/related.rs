//! ICMP errors: they belong to the connection of the packet they quote.

use aya_ebpf::bindings::__sk_buff;
use weir_abi::{DIRECTION_EGRESS, conntrack::timeout_ns};

use crate::{
    maps::CONNTRACK,
    packet::{LATER_FRAGMENT, Packet},
    parse::PARSED,
    parse_slow::{parse_v4, parse_v6},
    scene::{Key, Scene},
};

/// Bytes of an ICMP error before the packet it quotes.
const ERROR_HEADER: u32 = 8;

/// Whether an ICMP error is about a tracked connection of the endpoint.
#[inline(never)]
pub fn is_related(skb: *mut __sk_buff, scene: &Scene) -> bool {
    let mut quoted = Packet::ZERO;
    let offset = u32::from(scene.packet().transport) + ERROR_HEADER;
    let parsed = if scene.packet().source.is_v4() {
        parse_v4(skb, offset, &mut quoted, true)
    } else {
        parse_v6(skb, offset, &mut quoted, true)
    };
    if parsed != PARSED || quoted.is(LATER_FRAGMENT) {
        return false;
    }
    // The error goes the other way than the packet it is about.
    let direction = scene.direction ^ 1;
    let local = if direction == DIRECTION_EGRESS { quoted.source } else { quoted.destination };
    if !scene.owns(local) {
        return false;
    }
    let key = Key::new(scene.endpoint().endpoint, &quoted, direction);
    let Some(entry) = CONNTRACK.get_ptr(key.as_key()) else { return false };
    // SAFETY: from the map lookup just made.
    let connection = unsafe { &*entry };
    let silence = scene.now.wrapping_sub(connection.last_ns) as i64;
    silence <= timeout_ns(quoted.protocol, connection.flags) as i64
}
