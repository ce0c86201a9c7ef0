//! Echoes, errors about tracked connections, and neighbour discovery.

use std::net::Ipv4Addr;

use weir_abi::{
    DIRECTION_EGRESS, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP,
    endpoint::{ISOLATED_EGRESS, ISOLATED_INGRESS},
    event::{REASON_DEFAULT_DENY, REASON_RELATED},
    policy::{IDENTITY_WORLD, PolicyKey},
};

use crate::{
    fixture::{Fixture, PEER, PEER_V6, POD, POD_V6, inward, out, rule},
    frame::{SYN, V4, echo, ethernet, icmp, tcp, udp, v6},
};

/// A rule without ports.
fn any_protocol(direction: u8) -> PolicyKey {
    PolicyKey { port: 0, port_prefix: 0, ..rule(direction, IDENTITY_WORLD, 0, 0) }
}

#[test]
fn an_echo_may_be_answered_but_not_asked_back() {
    let mut fixture = Fixture::new(ISOLATED_INGRESS);
    assert!(fixture.sends(&ethernet(&out(PROTOCOL_ICMP).with(&echo(8, 77)))));
    assert!(fixture.gets(&ethernet(&inward(PROTOCOL_ICMP).with(&echo(0, 77)))));
    let event = fixture.event();
    assert_eq!((event.source_port, event.destination_port, event.icmp_type), (77, 0, 8));
    assert!(!fixture.gets(&ethernet(&inward(PROTOCOL_ICMP).with(&echo(0, 78)))));
    // The same identifier, but a question.
    assert!(!fixture.gets(&ethernet(&inward(PROTOCOL_ICMP).with(&echo(8, 77)))));
    assert!(fixture.sends_v6(PROTOCOL_ICMPV6, &echo(128, 77)));
    assert!(fixture.gets_v6(PROTOCOL_ICMPV6, &echo(129, 77)));
    assert!(!fixture.gets_v6(PROTOCOL_ICMPV6, &echo(128, 77)));
    let scan = fixture.scan();
    assert!(scan.connections.iter().all(|delta| delta.reply_packets == 1));
}

#[test]
fn a_rule_without_ports_allows_icmp_and_a_rule_with_a_port_does_not() {
    let mut fixture = Fixture::new(ISOLATED_EGRESS);
    let ping = ethernet(&out(PROTOCOL_ICMP).with(&echo(8, 1)));
    fixture.allow(rule(DIRECTION_EGRESS, IDENTITY_WORLD, PROTOCOL_TCP, 80), 1);
    assert!(!fixture.sends(&ping));
    fixture.allow(any_protocol(DIRECTION_EGRESS), 2);
    assert!(fixture.sends(&ping));
}

/// Port unreachable, from a router on the way, about a packet.
fn unreachable(about: &[u8]) -> Vec<u8> {
    let router = Ipv4Addr::new(192, 0, 2, 1);
    ethernet(&V4::new(router, POD, PROTOCOL_ICMP).with(&icmp(3, 3, [0; 4], about)))
}

#[test]
fn an_error_passes_if_it_is_about_a_tracked_connection() {
    let mut fixture = Fixture::new(ISOLATED_INGRESS);
    let sent = out(PROTOCOL_UDP).with(&udp(40_000, 53, b"question"));
    assert!(!fixture.gets(&unreachable(&sent)));
    assert_eq!(fixture.event().reason, REASON_DEFAULT_DENY);
    assert!(fixture.sends(&ethernet(&sent)));
    fixture.events();
    assert!(fixture.gets(&unreachable(&sent)));
    let event = fixture.event();
    assert_eq!((event.reason, event.icmp_type, event.icmp_code), (REASON_RELATED, 3, 3));
    // Routers quote eight bytes of the transport header at least, of TCP too.
    let syn = out(PROTOCOL_TCP).with(&tcp(40_001, 80, SYN, b""));
    assert!(fixture.sends(&ethernet(&syn)));
    assert!(fixture.gets(&unreachable(&syn[..28])));
    // An error that was allowed opens no way for others of the same router.
    let other = out(PROTOCOL_UDP).with(&udp(40_002, 53, b"question"));
    assert!(!fixture.gets(&unreachable(&other)));
    // Nor does a quoted packet that was somebody else's.
    let others = V4::new(Ipv4Addr::new(10, 0, 0, 2), PEER, PROTOCOL_UDP);
    assert!(!fixture.gets(&unreachable(&others.with(&udp(40_000, 53, b"question")))));
    assert_eq!(fixture.stats().related, 2);
}

#[test]
fn the_pod_may_send_errors_about_connections_it_let_in() {
    let mut fixture = Fixture::new(ISOLATED_EGRESS);
    let got = inward(PROTOCOL_UDP).with(&udp(9, 53, b"question"));
    let error = ethernet(&out(PROTOCOL_ICMP).with(&icmp(3, 3, [0; 4], &got)));
    assert!(!fixture.sends(&error));
    assert!(fixture.gets(&ethernet(&got)));
    assert!(fixture.sends(&error));
}

#[test]
fn icmpv6_errors() {
    let mut fixture = Fixture::new(ISOLATED_INGRESS);
    let sent = v6(POD_V6, PEER_V6, PROTOCOL_UDP, &udp(40_000, 53, b"question"));
    let too_big = icmp(2, 0, [0, 0, 5, 0], &sent);
    assert!(!fixture.gets_v6(PROTOCOL_ICMPV6, &too_big));
    assert!(fixture.sends(&ethernet(&sent)));
    assert!(fixture.gets_v6(PROTOCOL_ICMPV6, &too_big));
}

#[test]
fn neighbour_discovery_always_passes() {
    let mut fixture = Fixture::new(ISOLATED_INGRESS | ISOLATED_EGRESS);
    for kind in [130, 131, 132, 133, 134, 135, 136, 137, 143] {
        let message = icmp(kind, 0, [0; 4], &[0; 16]);
        assert!(fixture.gets_v6(PROTOCOL_ICMPV6, &message), "type {kind}");
        assert!(fixture.sends_v6(PROTOCOL_ICMPV6, &message), "type {kind}");
    }
    assert_eq!(fixture.stats().exempt, 18);
    assert!(!fixture.gets_v6(PROTOCOL_ICMPV6, &icmp(138, 0, [0; 4], &[0; 16])));
}
