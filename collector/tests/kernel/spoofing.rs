//! A pod sends from its own address only.

use std::net::{Ipv4Addr, Ipv6Addr};

use weir_abi::{PROTOCOL_TCP, PROTOCOL_UDP, event::REASON_SPOOFED_SOURCE};

use crate::{
    fixture::{Fixture, PEER, PEER_V6},
    frame::{SYN, V4, address, ethernet, tcp, udp, v6},
};

#[test]
fn a_foreign_source_is_dropped_even_where_nothing_isolates() {
    let mut fixture = Fixture::new(0);
    let claimed = Ipv4Addr::new(10, 0, 0, 2);
    let packet = V4::new(claimed, PEER, PROTOCOL_TCP);
    for _ in 0..3 {
        assert!(!fixture.sends(&ethernet(&packet.with(&tcp(9, 80, SYN, b"")))));
    }
    let event = fixture.event();
    assert_eq!(event.reason, REASON_SPOOFED_SOURCE);
    assert_eq!(event.source, address(claimed.into()));
    let deny = fixture.scan().denies[0];
    assert_eq!(deny.count, 2);
    assert_eq!(deny.key.claimed, address(claimed.into()));
    let claimed = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
    assert!(!fixture.sends(&ethernet(&v6(claimed, PEER_V6, PROTOCOL_UDP, &udp(9, 80, b"")))));
    assert_eq!(fixture.stats().denied, 4);
    // What reaches the pod may come from anywhere.
    assert!(fixture.gets(&ethernet(&packet.with(&tcp(9, 80, SYN, b"")))));
}

#[test]
fn a_pod_without_an_address_yet_may_ask_for_one() {
    let mut fixture = Fixture::new(0);
    let ask = V4::new(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, PROTOCOL_UDP);
    assert!(fixture.sends(&ethernet(&ask.with(&udp(68, 67, b"discover")))));
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 5);
    let all_servers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
    let solicit = v6(link_local, all_servers, PROTOCOL_UDP, &udp(546, 547, b"solicit"));
    assert!(fixture.sends(&ethernet(&solicit)));
}
