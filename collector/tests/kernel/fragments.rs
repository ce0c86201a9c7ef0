//! Fragments share the fate of the one that has the ports.

use weir_abi::{
    DIRECTION_INGRESS, PROTOCOL_TCP, PROTOCOL_UDP,
    endpoint::ISOLATED_INGRESS,
    event::{REASON_FRAGMENT, REASON_INVALID_PACKET},
    policy::IDENTITY_WORLD,
};

use crate::{
    fixture::{Fixture, inward, rule},
    frame::{SYN, ethernet, fragment_v6, tcp, udp},
};

const MORE: u16 = 0x2000;

fn fixture() -> Fixture {
    let mut fixture = Fixture::new(ISOLATED_INGRESS);
    fixture.allow(rule(DIRECTION_INGRESS, IDENTITY_WORLD, PROTOCOL_UDP, 53), 1);
    fixture
}

fn fragment(id: u16, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = inward(PROTOCOL_UDP);
    packet.id = id;
    packet.fragment = fragment;
    ethernet(&packet.with(payload))
}

#[test]
fn later_fragments_follow_the_first_one() {
    let mut fixture = fixture();
    assert!(fixture.gets(&fragment(1, MORE, &udp(9, 53, &[0; 1_000]))));
    assert!(fixture.gets(&fragment(1, MORE | 126, &[0; 1_000])));
    assert!(fixture.gets(&fragment(1, 252, &[0; 100])));
    assert_eq!(fixture.event().packets, 1);
    let delta = fixture.scan().connections[0];
    assert_eq!((delta.packets, delta.bytes), (2, 1_000 + 100 + 2 * 34));

    assert!(!fixture.gets(&fragment(2, MORE, &udp(9, 54, &[0; 1_000]))));
    // What looks like an allowed port at the usual place does not help.
    assert!(!fixture.gets(&fragment(2, 126, &udp(9, 53, &[0; 1_000]))));
    assert_eq!(fixture.stats().denied, 2);
    assert_eq!(fixture.scan().denies[0].key.destination_port, 54);
}

#[test]
fn a_fragment_without_a_first_one_passes_only_where_nothing_isolates() {
    let late = fragment(3, 126, &udp(9, 53, &[0; 1_000]));
    let mut isolated = fixture();
    assert!(!isolated.gets(&late));
    assert_eq!(isolated.event().reason, REASON_FRAGMENT);
    assert_eq!(isolated.stats().fragment_unknown, 1);
    let mut open = Fixture::new(0);
    assert!(open.gets(&late));
    assert_eq!(open.event().destination_port, 0);
    assert_eq!(open.stats().fragment_unknown, 1);
}

#[test]
fn another_packets_first_fragment_does_not_count() {
    let mut fixture = fixture();
    assert!(fixture.gets(&fragment(1, MORE, &udp(9, 53, &[0; 1_000]))));
    assert!(!fixture.gets(&fragment(2, 126, &[0; 1_000])));
}

#[test]
fn ipv6_fragments() {
    let mut fixture = fixture();
    let part = |port, id, offset, more| {
        fragment_v6(PROTOCOL_UDP, offset, more, id, &udp(9, port, &[0; 64]))
    };
    assert!(fixture.gets_v6(44, &part(53, 1, 0, true)));
    assert!(fixture.gets_v6(44, &part(53, 1, 9, false)));
    assert!(!fixture.gets_v6(44, &part(54, 2, 0, true)));
    assert!(!fixture.gets_v6(44, &part(53, 2, 9, false)));
    // Whole, with a fragment header all the same.
    assert!(fixture.gets_v6(44, &part(53, 3, 0, false)));
    fixture.stats();
}

#[test]
fn no_fragment_may_rewrite_the_tcp_header() {
    let mut fixture = fixture();
    fixture.allow(rule(DIRECTION_INGRESS, IDENTITY_WORLD, PROTOCOL_TCP, 80), 1);
    let mut packet = inward(PROTOCOL_TCP);
    packet.fragment = MORE;
    // Ends before the flags.
    assert!(!fixture.gets(&ethernet(&packet.with(&tcp(9, 80, SYN, b"")[..8]))));
    // Begins before them.
    packet.fragment = 1;
    assert!(!fixture.gets(&ethernet(&packet.with(&[0; 64]))));
    assert!(fixture.events().iter().all(|event| event.reason == REASON_INVALID_PACKET));
}
