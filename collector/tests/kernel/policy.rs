//! The lookup as `weir_abi::policy` defines it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_abi::{
    DIRECTION_EGRESS, DIRECTION_INGRESS, PROTOCOL_TCP, PROTOCOL_UDP,
    endpoint::{
        AUDIT, CIDR_EGRESS, CUT_ESTABLISHED, DENY_NOT_READY, ISOLATED_EGRESS, ISOLATED_INGRESS,
        READY,
    },
    event::{
        REASON_DEFAULT_DENY, REASON_NODE_TRAFFIC, REASON_NOT_READY, REASON_POLICY, VERDICT_AUDIT,
    },
    policy::{
        CIDR_PREFIX_BASE, CidrV4, CidrV6, IDENTITY_FIRST_POD, IDENTITY_LOCAL_NODE, PEER_ANY,
        PEER_CIDR, PolicyKey,
    },
};
use weir_collector::kernel::KernelMaps;

use crate::{
    fixture::{Fixture, ISOLATED_BY, PEER, POD, POD_V6, SUBJECT, rule},
    frame::{ACK, SYN, V4, ethernet, tcp, v6},
};

const PEER_IDENTITY: u32 = IDENTITY_FIRST_POD + 4;

fn prefix(port: u16, length: u8) -> PolicyKey {
    PolicyKey { port_prefix: length, ..rule(DIRECTION_INGRESS, PEER_IDENTITY, PROTOCOL_TCP, port) }
}

#[test]
fn the_longest_port_prefix_names_the_rules() {
    let mut fixture = Fixture::new(ISOLATED_INGRESS);
    fixture.identify(PEER.into(), PEER_IDENTITY);
    fixture.allow(prefix(0x8000, 1), 1);
    fixture.allow(prefix(0x8080, 12), 2);
    fixture.allow(prefix(0x8085, 16), 3);
    for (port, expected) in [
        (0x8085, Some(3)),
        (0x8084, Some(2)),
        (0x8080, Some(2)),
        (0x808f, Some(2)),
        (0x8090, Some(1)),
        (0xffff, Some(1)),
        (0x7fff, None),
        (0, None),
    ] {
        assert_eq!(fixture.gets_tcp(9, port, SYN), expected.is_some(), "port {port:#x}");
        let event = fixture.event();
        assert_eq!(event.remote_identity, PEER_IDENTITY);
        let rule_set = (event.reason == REASON_POLICY).then_some(event.rule_set_identity);
        assert_eq!(rule_set, expected, "port {port:#x}");
    }
    // Every port of TCP, then every protocol.
    fixture.allow(prefix(0, 0), 4);
    assert!(fixture.gets_tcp(9, 5, SYN));
    assert_eq!(fixture.event().rule_set_identity, 4);
    assert!(!fixture.gets_udp(9, 5));
    fixture.events();
    fixture.allow(PolicyKey { protocol: 0, ..prefix(0, 0) }, 5);
    assert!(fixture.gets_udp(9, 5));
    assert_eq!(fixture.event().rule_set_identity, 5);
}

#[test]
fn identity_and_block_both_name_their_rules() {
    let mut fixture = Fixture::new(ISOLATED_EGRESS);
    let cidr = |address: [u8; 4]| CidrV4 {
        subject: SUBJECT,
        direction: u32::from(DIRECTION_EGRESS),
        address,
    };
    fixture
        .datapath
        .insert_cidrs_v4(&[
            (CIDR_PREFIX_BASE + 8, cidr([10, 0, 0, 0]), PEER_CIDR | 1),
            (CIDR_PREFIX_BASE + 24, cidr([10, 0, 1, 0]), PEER_CIDR | 2),
        ])
        .unwrap();
    let allow = |peer| rule(DIRECTION_EGRESS, peer, PROTOCOL_TCP, 80);
    fixture.allow(allow(PEER_CIDR | 2), 2);
    fixture.allow(allow(PEER_ANY), 7);
    // The blocks are not asked about until the endpoint says there are some.
    assert!(fixture.sends_tcp(1, 80, SYN));
    assert_eq!(fixture.event().rule_set_cidr, 7);
    fixture.update(|endpoint| endpoint.enforced.flags |= CIDR_EGRESS);
    assert!(fixture.sends_tcp(2, 80, SYN));
    let event = fixture.event();
    assert_eq!((event.rule_set_identity, event.rule_set_cidr), (0, 2));
    fixture.identify(PEER.into(), PEER_IDENTITY);
    fixture.allow(allow(PEER_IDENTITY), 9);
    assert!(fixture.sends_tcp(3, 80, SYN));
    let event = fixture.event();
    assert_eq!((event.rule_set_identity, event.rule_set_cidr), (9, 2));
    // Another address of the wider block only, then one of no block.
    let to = |last: [u8; 4]| {
        let packet = V4::new(POD, Ipv4Addr::from(last), PROTOCOL_TCP);
        ethernet(&packet.with(&tcp(4, 80, SYN, b"")))
    };
    assert!(!fixture.sends(&to([10, 9, 9, 9])));
    assert!(fixture.sends(&to([11, 0, 0, 1])));
    fixture.datapath.remove_cidrs_v4(&[(CIDR_PREFIX_BASE + 8, cidr([10, 0, 0, 0]))]).unwrap();
    assert!(fixture.sends(&to([10, 9, 9, 8])));
}

#[test]
fn ipv6_blocks() {
    let mut fixture = Fixture::new(ISOLATED_EGRESS | CIDR_EGRESS);
    let network: Ipv6Addr = "fd00:0:0:2::".parse().unwrap();
    let direction = u32::from(DIRECTION_EGRESS);
    let cidr = CidrV6 { subject: SUBJECT, direction, address: network.octets() };
    fixture.datapath.insert_cidrs_v6(&[(CIDR_PREFIX_BASE + 64, cidr, PEER_CIDR | 3)]).unwrap();
    fixture.allow(rule(DIRECTION_EGRESS, PEER_CIDR | 3, PROTOCOL_TCP, 80), 3);
    let to = |address: &str| {
        let segment = tcp(4, 80, SYN, b"");
        ethernet(&v6(POD_V6, address.parse().unwrap(), PROTOCOL_TCP, &segment))
    };
    assert!(fixture.sends(&to("fd00:0:0:2::1")));
    assert!(fixture.sends(&to("fd00:0:0:2:ffff::1")));
    assert!(!fixture.sends(&to("fd00:0:0:3::1")));
}

#[test]
fn the_own_node_is_always_let_in() {
    let mut fixture = Fixture::new(ISOLATED_INGRESS);
    fixture.identify(IpAddr::V4(PEER), IDENTITY_LOCAL_NODE);
    assert!(fixture.gets_tcp(9, 80, SYN));
    assert_eq!(fixture.event().reason, REASON_NODE_TRAFFIC);
    fixture.update(|endpoint| endpoint.flags = DENY_NOT_READY);
    assert!(fixture.gets_tcp(10, 80, SYN));
    assert_eq!(fixture.event().reason, REASON_NODE_TRAFFIC);
}

#[test]
fn a_pod_whose_policy_is_not_known_yet() {
    let mut fixture = Fixture::new(0);
    fixture.update(|endpoint| endpoint.flags &= !READY);
    assert!(fixture.gets_tcp(9, 80, SYN));
    assert_eq!(fixture.event().reason, REASON_NOT_READY);
    fixture.update(|endpoint| endpoint.flags |= DENY_NOT_READY);
    assert!(!fixture.gets_tcp(9, 81, SYN));
    assert_eq!(fixture.event().reason, REASON_NOT_READY);
}

#[test]
fn an_audited_pod_is_told_about_and_left_alone() {
    let mut fixture = Fixture::new(ISOLATED_INGRESS | AUDIT);
    assert!(fixture.gets_tcp(9, 80, SYN));
    assert!(fixture.gets_tcp(9, 80, ACK));
    let event = fixture.event();
    assert_eq!((event.verdict, event.reason), (VERDICT_AUDIT, REASON_DEFAULT_DENY));
    assert_eq!(event.rule_set_identity, ISOLATED_BY[0]);
    assert_eq!(fixture.scan().connections[0].value.verdict, VERDICT_AUDIT);
}

#[test]
fn an_established_connection_is_kept_or_cut_as_told() {
    for cut in [false, true] {
        let mut fixture = Fixture::new(if cut { CUT_ESTABLISHED } else { 0 });
        assert!(fixture.gets_tcp(9, 80, SYN));
        assert!(fixture.sends_tcp(80, 9, SYN | ACK));
        fixture.events();
        fixture.update(|endpoint| {
            endpoint.revision = 2;
            endpoint.enforced.flags |= ISOLATED_INGRESS;
        });
        assert_eq!(fixture.gets_tcp(9, 80, ACK), !cut);
        assert_eq!(fixture.sends_tcp(80, 9, ACK), !cut);
        if cut {
            // One kind of deny: of the connection, whichever way the packet went.
            let event = fixture.event();
            assert_eq!((event.direction, event.revision), (DIRECTION_INGRESS, 2));
            assert_eq!(fixture.scan().denies[0].count, 1);
        }
        // Allowed again, it goes on, and under the rules of now.
        let key = rule(DIRECTION_INGRESS, PEER_ANY, PROTOCOL_TCP, 80);
        fixture.update(|endpoint| endpoint.revision = 3);
        fixture.allow(key, 12);
        assert!(fixture.sends_tcp(80, 9, ACK));
        let value = fixture.scan().connections[0].value;
        assert_eq!((value.revision, value.rule_set_cidr), if cut { (3, 12) } else { (1, 0) });
        fixture.stats();
    }
}

#[test]
fn an_interface_without_endpoint_is_left_alone() {
    let mut fixture = Fixture::new(ISOLATED_INGRESS);
    assert!(!fixture.gets_tcp(9, 80, SYN));
    fixture.datapath.remove_endpoint(1).unwrap();
    assert!(fixture.gets_tcp(9, 80, SYN));
    assert_eq!(fixture.stats().no_endpoint, 1);
}

#[test]
fn rules_and_identities_go_when_told() {
    let mut fixture = Fixture::new(ISOLATED_INGRESS);
    let mut key = rule(DIRECTION_INGRESS, PEER_IDENTITY, PROTOCOL_UDP, 53);
    fixture.identify(PEER.into(), PEER_IDENTITY);
    fixture.allow(key, 1);
    assert!(fixture.gets_udp(9, 53));
    fixture.datapath.remove_identities(&[crate::frame::address(PEER.into())]).unwrap();
    assert!(!fixture.gets_udp(10, 53));
    fixture.identify(PEER.into(), PEER_IDENTITY);
    assert!(fixture.gets_udp(11, 53));
    key.subject = SUBJECT;
    fixture.datapath.remove_policies(&[key, key]).unwrap();
    assert!(!fixture.gets_udp(12, 53));
}
