//! A denied attempt that was seen before is folded without asking policy, and never for longer than
//! policy would deny it.

use std::{collections::HashSet, time::Duration};

use weir_abi::{
    DIRECTION_EGRESS, DIRECTION_INGRESS, PROTOCOL_TCP,
    endpoint::{AUDIT, CIDR_INGRESS, DENY_NOT_READY, ISOLATED_EGRESS, ISOLATED_INGRESS, READY},
    event::{REASON_DEFAULT_DENY, REASON_EXPLICIT_DENY, REASON_NOT_READY, VERDICT_AUDIT},
    policy::{
        ACTION_DENY, CIDR_PREFIX_BASE, CidrV4, IDENTITY_FIRST_POD, IDENTITY_LOCAL_NODE, PEER_CIDR,
        PolicyKey, PolicyValue, decision,
    },
};
use weir_collector::kernel::{DatapathOptions, KernelMaps};

use crate::{
    fixture::{Fixture, PEER, SUBJECT, endpoint, options, rule},
    frame::{ACK, SYN, address},
};

const PORT: u16 = 80;
const FRIEND: u32 = IDENTITY_FIRST_POD + 1;
const STRANGER: u32 = IDENTITY_FIRST_POD + 2;
const BLOCK: u32 = PEER_CIDR | 3;

/// A pod that lets in a friend and a block, and has denied the peer, a stranger of no block, three
/// times: reported, entered, folded.
fn denied() -> Fixture {
    let mut fixture = Fixture::new(ISOLATED_INGRESS | CIDR_INGRESS);
    for peer in [FRIEND, BLOCK] {
        fixture.allow(rule(DIRECTION_INGRESS, peer, PROTOCOL_TCP, PORT), 5);
    }
    fixture.identify(PEER.into(), STRANGER);
    assert!(!fixture.gets_tcp(1, PORT, SYN));
    assert!(!fixture.gets_tcp(2, PORT, SYN));
    assert!(!fixture.gets_tcp(2, PORT, SYN));
    assert_eq!(fixture.stats().deny_folded, 2);
    fixture
}

fn block(fixture: &mut Fixture) -> (u32, CidrV4) {
    let direction = u32::from(DIRECTION_INGRESS);
    let block = CidrV4 { subject: SUBJECT, direction, address: PEER.octets() };
    fixture.datapath.insert_cidrs_v4(&[(CIDR_PREFIX_BASE + 32, block, BLOCK)]).unwrap();
    (CIDR_PREFIX_BASE + 32, block)
}

#[test]
fn whoever_becomes_a_friend_gets_in_at_once_and_out_again() {
    let mut fixture = denied();
    fixture.identify(PEER.into(), FRIEND);
    assert!(fixture.gets_tcp(3, PORT, SYN));
    fixture.identify(PEER.into(), STRANGER);
    assert!(!fixture.gets_tcp(4, PORT, SYN));
    // It is the same kind of deny, under the same revision.
    assert_eq!(fixture.scan().denies[0].count, 3);
    fixture.identify(PEER.into(), IDENTITY_LOCAL_NODE);
    assert!(fixture.gets_tcp(5, PORT, SYN));
    fixture.datapath.remove_identities(&[address(PEER.into())]).unwrap();
    assert!(!fixture.gets_tcp(6, PORT, SYN));
}

#[test]
fn a_new_block_or_rule_lets_in_at_once() {
    let mut fixture = denied();
    let key = block(&mut fixture);
    assert!(fixture.gets_tcp(3, PORT, SYN));
    fixture.datapath.remove_cidrs_v4(&[key]).unwrap();
    assert!(!fixture.gets_tcp(4, PORT, SYN));
    let mut rule = rule(DIRECTION_INGRESS, STRANGER, PROTOCOL_TCP, PORT);
    rule.subject = SUBJECT;
    let value = PolicyValue { rule_set: 6, ..PolicyValue::NONE };
    fixture.datapath.insert_policies(&[(rule, value)]).unwrap();
    assert!(fixture.gets_tcp(5, PORT, SYN));
    fixture.datapath.remove_policies(&[rule]).unwrap();
    assert!(!fixture.gets_tcp(6, PORT, SYN));
}

#[test]
fn an_endpoint_that_is_no_longer_isolated_audited_or_not_ready_is_asked() {
    let mut fixture = denied();
    fixture.update(|endpoint| endpoint.enforced.flags = 0);
    assert!(fixture.gets_tcp(3, PORT, SYN));
    fixture.update(|endpoint| endpoint.enforced.flags = ISOLATED_INGRESS);
    assert!(!fixture.gets_tcp(4, PORT, SYN));
    fixture.events();
    fixture.update(|endpoint| endpoint.flags |= AUDIT);
    assert!(fixture.gets_tcp(5, PORT, SYN));
    assert_eq!(fixture.event().verdict, VERDICT_AUDIT);
    fixture.update(|endpoint| endpoint.flags = 0);
    assert!(fixture.gets_tcp(6, PORT, SYN));
    assert_eq!(fixture.event().reason, REASON_NOT_READY);
}

#[test]
fn not_ready_is_a_kind_of_its_own() {
    let mut fixture = denied();
    fixture.events();
    fixture.update(|endpoint| endpoint.flags = DENY_NOT_READY);
    assert!(!fixture.gets_tcp(3, PORT, SYN));
    assert!(!fixture.gets_tcp(4, PORT, SYN));
    let event = fixture.event();
    assert_eq!((event.reason, event.revision), (REASON_NOT_READY, 1));
    fixture.update(|endpoint| endpoint.flags = READY);
    assert!(!fixture.gets_tcp(5, PORT, SYN));
    let mut denies: Vec<_> =
        fixture.scan().denies.iter().map(|deny| (deny.value.reason, deny.count)).collect();
    denies.sort_unstable();
    assert_eq!(denies, [(REASON_DEFAULT_DENY, 3), (REASON_NOT_READY, 1)]);
}

#[test]
fn a_fold_follows_the_reason_that_policy_gives_now() {
    let mut fixture = denied();
    let mut rule = rule(DIRECTION_INGRESS, STRANGER, PROTOCOL_TCP, PORT);
    rule.subject = SUBJECT;
    let value =
        PolicyValue { admin: decision(0, ACTION_DENY), admin_rule_set: 44, ..PolicyValue::NONE };
    fixture.datapath.insert_policies(&[(rule, value)]).unwrap();
    assert!(!fixture.gets_tcp(3, PORT, SYN));
    let scan = fixture.scan();
    assert_eq!(scan.denies.len(), 1);
    let value = scan.denies[0].value;
    assert_eq!((value.reason, value.rule_set, value.count), (REASON_EXPLICIT_DENY, 44, 3));
}

#[test]
fn every_attempt_is_in_one_event_or_in_one_entry() {
    let mut options = options();
    // Room for all kinds, but more of them than the kernel has words for.
    (options.denies, options.deny_ring_bytes) = (65_536, 16 << 20);
    let mut fixture = Fixture::with(&options, endpoint(ISOLATED_INGRESS));
    let (kinds, mut kind) = (30_000_u32, 0);
    for _ in 0..3 * kinds {
        // Each kind three times, at irregular distances.
        kind = (kind + 7_919) % kinds;
        for port in [kind as u16, (kind / 3) as u16] {
            assert!(!fixture.gets_udp(9, port));
        }
    }
    let events = fixture.events();
    let scan = fixture.scan();
    let entered: u64 = scan.denies.iter().map(|delta| delta.count).sum();
    assert_eq!(events.len() as u64 + entered, u64::from(6 * kinds));
    // All kinds were reported at once, and few more than once.
    let reported: HashSet<u16> = events.iter().map(|event| event.destination_port).collect();
    assert_eq!(reported.len() as u32, kinds);
    let stats = fixture.stats();
    assert_eq!((stats.deny_failed, stats.deny_table_failed, stats.denies_evicted), (0, 0, 0));
}

/// A collector that the machine lets wait must not cost denies.
#[test]
fn a_burst_of_kinds_is_kept_while_nobody_reads() {
    let options = DatapathOptions { denies: 1_024, ..DatapathOptions::default() };
    let mut fixture = Fixture::with(&options, endpoint(ISOLATED_INGRESS));
    for port in 0..=u16::MAX {
        assert!(!fixture.gets_udp(9, port));
    }
    let events = fixture.events();
    let entered: u64 = fixture.scan().denies.iter().map(|delta| delta.count).sum();
    assert_eq!(events.len() as u64 + entered, 65_536);
    let stats = fixture.stats();
    assert_eq!((stats.deny_failed, stats.deny_table_failed, stats.denies_evicted), (0, 0, 0));
}

#[test]
fn no_fold_cuts_a_connection_that_may_be_adopted() {
    let mut options = options();
    options.adopt_for = Duration::from_secs(3_600);
    let mut fixture = Fixture::with(&options, endpoint(ISOLATED_INGRESS));
    // The peer may not begin connections to the port from which the pod has one.
    assert!(!fixture.gets_tcp(443, 40_000, SYN));
    assert!(!fixture.gets_tcp(443, 40_000, SYN));
    fixture.events();
    assert!(fixture.gets_tcp(443, 40_000, ACK));
    assert_eq!(fixture.event().direction, DIRECTION_EGRESS);
    // Where both ways are shut it is denied each time, and folded.
    let mut shut = Fixture::with(&options, endpoint(ISOLATED_INGRESS | ISOLATED_EGRESS));
    for port in 0..3 {
        assert!(!shut.gets_tcp(port, 40_000, ACK));
    }
    assert_eq!(shut.stats().deny_folded, 2);
    shut.allow(
        PolicyKey { port_prefix: 0, port: 0, ..rule(DIRECTION_EGRESS, 1, PROTOCOL_TCP, 0) },
        1,
    );
    assert!(shut.gets_tcp(3, 40_000, ACK));
    assert!(!shut.gets_tcp(4, 40_000, SYN));
}
