//! New, established, denied and closed connections.

use weir_abi::{
    DIRECTION_EGRESS, DIRECTION_INGRESS, PROTOCOL_TCP,
    conntrack::EVENT_SUBMITTED,
    endpoint::{ISOLATED_EGRESS, ISOLATED_INGRESS},
    event::{REASON_DEFAULT_DENY, REASON_NO_POLICY, REASON_POLICY, VERDICT_ALLOW, VERDICT_DENY},
    policy::{IDENTITY_WORLD, PolicyKey},
};
use weir_collector::kernel::{ConnectionState, KernelMaps};

use crate::{
    fixture::{ENDPOINT, Fixture, ISOLATED_BY, PEER, POD, SUBJECT, rule},
    frame::{ACK, FIN, RST, SYN, address},
};

/// Link, network and TCP header.
const TCP_FRAME: u64 = 54;

#[test]
fn a_new_connection_is_reported_once_and_counted_exactly() {
    let mut fixture = Fixture::new(0);
    assert!(fixture.sends_tcp(40_000, 443, SYN));
    assert!(fixture.gets_tcp(443, 40_000, SYN | ACK));
    assert!(fixture.sends_tcp(40_000, 443, ACK));
    let event = fixture.event();
    assert_eq!(event.verdict, VERDICT_ALLOW);
    assert_eq!(event.reason, REASON_NO_POLICY);
    assert_eq!(event.direction, DIRECTION_EGRESS);
    assert_eq!(event.endpoint, ENDPOINT);
    assert_eq!(event.remote_identity, IDENTITY_WORLD);
    assert_eq!(event.source, address(POD.into()));
    assert_eq!(event.destination, address(PEER.into()));
    assert_eq!((event.source_port, event.destination_port), (40_000, 443));
    assert_eq!((event.packets, u64::from(event.bytes)), (1, TCP_FRAME));
    assert_eq!(event.tcp_flags, SYN);

    let scan = fixture.scan();
    assert_eq!(scan.connections.len(), 1);
    let delta = scan.connections[0];
    assert_eq!((delta.packets, delta.bytes), (1, TCP_FRAME));
    assert_eq!((delta.reply_packets, delta.reply_bytes), (1, TCP_FRAME));
    assert_eq!(delta.count, 0);
    assert_eq!(delta.state, ConnectionState::Active);
    assert_eq!(delta.value.flags & EVENT_SUBMITTED, EVENT_SUBMITTED);
    assert!(delta.value.reply_delay_ns > 0);
    assert!(fixture.scan().connections.is_empty());
    let stats = fixture.stats();
    assert_eq!((stats.packets, stats.allowed, stats.established), (3, 1, 2));
}

#[test]
fn the_first_denied_attempt_is_reported_and_the_others_fold() {
    let mut fixture = Fixture::new(ISOLATED_INGRESS);
    for port in 0..5 {
        assert!(!fixture.gets_tcp(50_000 + port, 6_379, SYN));
    }
    let event = fixture.event();
    assert_eq!(event.verdict, VERDICT_DENY);
    assert_eq!(event.reason, REASON_DEFAULT_DENY);
    assert_eq!(event.direction, DIRECTION_INGRESS);
    assert_eq!(event.rule_set_identity, ISOLATED_BY[0]);
    let scan = fixture.scan();
    assert_eq!(scan.denies.len(), 1);
    assert_eq!((scan.denies[0].count, scan.denies[0].packets), (4, 4));
    assert_eq!(scan.denies[0].bytes, 4 * TCP_FRAME);
    assert!(fixture.scan().denies.is_empty());
    assert!(!fixture.gets_tcp(50_000, 6_379, SYN));
    assert_eq!(fixture.scan().denies[0].count, 1);
    let stats = fixture.stats();
    assert_eq!((stats.denied, stats.deny_folded, stats.deny_submitted), (6, 5, 1));
}

#[test]
fn what_opens_a_connection_is_judged_each_time() {
    let mut fixture = Fixture::new(ISOLATED_INGRESS);
    let rule = rule(DIRECTION_INGRESS, IDENTITY_WORLD, PROTOCOL_TCP, 443);
    fixture.allow(rule, 31);
    for _ in 0..2 {
        assert!(fixture.gets_tcp(40_000, 443, SYN));
    }
    assert!(fixture.sends_tcp(443, 40_000, SYN | ACK));
    fixture.event();
    let rule = PolicyKey { subject: SUBJECT, ..rule };
    fixture.datapath.remove_policies(&[rule]).unwrap();
    // Its repetition is no way round policy; what is established goes on.
    assert!(!fixture.gets_tcp(40_000, 443, SYN));
    assert_eq!(fixture.event().reason, REASON_DEFAULT_DENY);
    assert!(fixture.gets_tcp(40_000, 443, ACK));
    assert!(fixture.sends_tcp(443, 40_000, ACK));
    let scan = fixture.scan();
    assert_eq!((scan.connections.len(), scan.connections[0].count), (1, 0));
    assert_eq!(
        (scan.connections[0].value.packets, scan.connections[0].value.reply_packets),
        (3, 2)
    );
}

#[test]
fn replies_pass_although_their_direction_is_isolated() {
    let mut fixture = Fixture::new(ISOLATED_INGRESS);
    assert!(!fixture.gets_udp(53, 40_000));
    assert!(fixture.sends_udp(40_000, 53));
    assert!(fixture.gets_udp(53, 40_000));
    assert!(!fixture.gets_udp(53, 40_001));
}

#[test]
fn a_rule_allows_its_port_and_no_other() {
    let mut fixture = Fixture::new(ISOLATED_EGRESS);
    fixture.allow(rule(DIRECTION_EGRESS, IDENTITY_WORLD, PROTOCOL_TCP, 443), 31);
    assert!(fixture.sends_tcp(40_000, 443, SYN));
    let event = fixture.event();
    assert_eq!((event.reason, event.rule_set_identity), (REASON_POLICY, 31));
    assert!(!fixture.sends_tcp(40_000, 444, SYN));
    assert!(!fixture.sends_udp(40_000, 443));
}

#[test]
fn a_syn_on_a_closed_connection_begins_another() {
    let mut fixture = Fixture::new(0);
    fixture.sends_tcp(40_000, 443, SYN);
    fixture.gets_tcp(443, 40_000, SYN | ACK);
    fixture.sends_tcp(40_000, 443, ACK);
    fixture.sends_tcp(40_000, 443, FIN | ACK);
    fixture.gets_tcp(443, 40_000, FIN | ACK);
    fixture.sends_tcp(40_000, 443, SYN);
    fixture.gets_tcp(443, 40_000, RST | ACK);
    assert_eq!(fixture.events().len(), 2);
    let scan = fixture.scan();
    assert_eq!(scan.connections.len(), 2);
    let packets: u64 = scan.connections.iter().map(|delta| delta.packets).sum();
    let replies: u64 = scan.connections.iter().map(|delta| delta.reply_packets).sum();
    assert_eq!((packets, replies), (2, 3));
    for delta in &scan.connections {
        assert_eq!(delta.state, ConnectionState::Closed);
        assert_eq!(delta.count, 0);
    }
    let stats = fixture.stats();
    assert_eq!((stats.reopened, stats.conntrack_inserted, stats.evicted), (1, 2, 0));
}

#[test]
fn a_syn_on_a_live_connection_is_a_repetition_only_before_the_handshake() {
    let mut fixture = Fixture::new(0);
    fixture.sends_tcp(40_000, 443, SYN);
    fixture.sends_tcp(40_000, 443, SYN);
    fixture.gets_tcp(443, 40_000, SYN | ACK);
    fixture.sends_tcp(40_000, 443, SYN);
    assert_eq!(fixture.stats().allowed, 1);
    fixture.scan();
    // The initiator has gone away and come back under the same port.
    fixture.sends_tcp(40_000, 443, ACK);
    fixture.sends_tcp(40_000, 443, SYN);
    assert_eq!(fixture.stats().allowed, 2);
    // And now the other end begins one.
    fixture.gets_tcp(443, 40_000, SYN);
    assert_eq!(fixture.stats().allowed, 3);
    let scan = fixture.scan();
    let packets: u64 = scan.connections.iter().map(|delta| delta.packets).sum();
    assert_eq!((scan.connections.len(), packets), (1, 1), "the ACK, under the first one");
    assert_eq!(fixture.events().len(), 3);
}

#[test]
fn a_denied_syn_leaves_the_connection_under_the_same_ports_alone() {
    let mut fixture = Fixture::new(ISOLATED_INGRESS);
    fixture.sends_tcp(40_000, 443, SYN);
    fixture.gets_tcp(443, 40_000, SYN | ACK);
    assert!(!fixture.gets_tcp(443, 40_000, SYN));
    assert!(fixture.gets_tcp(443, 40_000, ACK));
    assert_eq!(fixture.stats().reopened, 0);
}
