//! The admin and the baseline tier around NetworkPolicies, and policies that are only audited.

use weir_abi::{
    DIRECTION_EGRESS, DIRECTION_INGRESS, PROTOCOL_TCP, PROTOCOL_UDP,
    endpoint::{
        ANY_INGRESS, AUDIT, CIDR_INGRESS, ISOLATED_EGRESS, ISOLATED_INGRESS, SubjectView,
        TIERS_EGRESS, TIERS_INGRESS,
    },
    event::{
        REASON_DEFAULT_DENY, REASON_EXPLICIT_DENY, REASON_FRAGMENT, REASON_INVALID_PACKET,
        REASON_NO_POLICY, REASON_NODE_TRAFFIC, REASON_POLICY, VERDICT_ALLOW, VERDICT_AUDIT,
        VERDICT_DENY, VerdictEvent,
    },
    policy::{
        ACTION_ALLOW, ACTION_DENY, ACTION_PASS, CIDR_PREFIX_BASE, CidrV4, IDENTITY_FIRST_POD,
        IDENTITY_LOCAL_NODE, PEER_ANY, PEER_CIDR, PolicyKey, PolicyValue, decision, port_bit,
    },
};
use weir_collector::kernel::KernelMaps;

use crate::{
    fixture::{Fixture, ISOLATED_BY, PEER, SUBJECT, inward, rule},
    frame::{SYN, ethernet, tcp},
};

const PEER_IDENTITY: u32 = IDENTITY_FIRST_POD + 4;
const PEER_BLOCK: u32 = PEER_CIDR | 8;
const PORT: u16 = 80;
/// Names of rules, by what they do.
const ALLOWS: u32 = 11;
const ADMIN: [u32; 2] = [21, 22];
const BASELINE: [u32; 2] = [31, 32];
/// Of the view with the audited policies.
const ALL: u32 = SUBJECT + 1;
const ALL_ISOLATED_BY: u32 = 955;

/// A tier's rule: its place and action.
type Rule = Option<(u32, u32)>;

/// What entries say of the peer: its identity's, then its block's.
#[derive(Clone, Copy, Default)]
struct Entries {
    admin: [Rule; 2],
    allows: [bool; 2],
    baseline: [Rule; 2],
}

/// The peer has an identity and is in a block, and both have an entry for the port.
fn fixture(flags: u32, entries: Entries) -> Fixture {
    let mut fixture = Fixture::new(flags | CIDR_INGRESS);
    fixture.identify(PEER.into(), PEER_IDENTITY);
    block(&mut fixture, SUBJECT);
    write(&mut fixture, SUBJECT, entries);
    fixture.update(|endpoint| {
        endpoint.enforced.port_prefixes_ingress = 1 << 16;
        endpoint.enforced.ports_ingress = port_bit(PORT);
    });
    fixture
}

fn block(fixture: &mut Fixture, subject: u32) {
    let direction = u32::from(DIRECTION_INGRESS);
    let address = PEER.octets();
    let block = (CIDR_PREFIX_BASE + 32, CidrV4 { subject, direction, address }, PEER_BLOCK);
    fixture.datapath.insert_cidrs_v4(&[block]).unwrap();
}

fn write(fixture: &mut Fixture, subject: u32, entries: Entries) {
    let number = |rule: Rule| {
        rule.map_or(PolicyValue::NONE.admin, |(place, action)| decision(place, action))
    };
    for (side, peer) in [PEER_IDENTITY, PEER_BLOCK].into_iter().enumerate() {
        let key = PolicyKey { subject, ..rule(DIRECTION_INGRESS, peer, PROTOCOL_TCP, PORT) };
        let value = PolicyValue {
            rule_set: if entries.allows[side] { ALLOWS } else { 0 },
            admin: number(entries.admin[side]),
            admin_rule_set: ADMIN[side],
            baseline: number(entries.baseline[side]),
            baseline_rule_set: BASELINE[side],
            reserved: 0,
        };
        fixture.datapath.insert_policies(&[(key, value)]).unwrap();
    }
}

/// Adds a view that has the audited policies, too.
fn audit(fixture: &mut Fixture, flags: u32, entries: Entries) {
    block(fixture, ALL);
    write(fixture, ALL, entries);
    fixture.update(|endpoint| {
        endpoint.audited = SubjectView {
            subject: ALL,
            flags: flags | CIDR_INGRESS,
            isolated_by_ingress: ALL_ISOLATED_BY,
            port_prefixes_ingress: 1 << 16,
            ports_ingress: port_bit(PORT),
            ..SubjectView::default()
        };
    });
}

/// The verdict on a first packet, which the kernel must have acted upon.
fn ask(fixture: &mut Fixture, source_port: u16) -> VerdictEvent {
    // Nothing of before counts.
    fixture.update(|endpoint| endpoint.revision += 1);
    fixture.events();
    let passed = fixture.gets_tcp(source_port, PORT, SYN);
    let event = fixture.event();
    assert_eq!(passed, event.verdict != VERDICT_DENY, "{event:?}");
    fixture.stats();
    event
}

/// Verdict, reason and who decided.
fn outcome(event: &VerdictEvent) -> (u8, u8, u32) {
    (event.verdict, event.reason, event.rule_set_identity | event.rule_set_cidr)
}

const ALLOW: Rule = Some((5, ACTION_ALLOW));
const DENY: Rule = Some((5, ACTION_DENY));
const PASS: Rule = Some((5, ACTION_PASS));

/// The lookup as `weir_abi::policy` has it, written once more, plainly.
fn expected(flags: u32, entries: Entries) -> (u8, u8, u32) {
    let first = |rules: [Rule; 2]| match rules {
        [Some(one), Some(other)] => Some(if one.0 <= other.0 { (one.1, 0) } else { (other.1, 1) }),
        [Some(one), None] => Some((one.1, 0)),
        [None, Some(other)] => Some((other.1, 1)),
        [None, None] => None,
    };
    let isolated = flags & ISOLATED_INGRESS != 0;
    if !isolated && flags & TIERS_INGRESS == 0 {
        return (VERDICT_ALLOW, REASON_NO_POLICY, 0);
    }
    match first(entries.admin) {
        Some((ACTION_ALLOW, side)) => return (VERDICT_ALLOW, REASON_POLICY, ADMIN[side]),
        Some((ACTION_DENY, side)) => return (VERDICT_DENY, REASON_EXPLICIT_DENY, ADMIN[side]),
        _ => {}
    }
    if isolated {
        return if entries.allows != [false; 2] {
            (VERDICT_ALLOW, REASON_POLICY, ALLOWS)
        } else {
            (VERDICT_DENY, REASON_DEFAULT_DENY, ISOLATED_BY[0])
        };
    }
    match first(entries.baseline) {
        Some((ACTION_ALLOW, side)) => (VERDICT_ALLOW, REASON_POLICY, BASELINE[side]),
        Some((ACTION_DENY, side)) => (VERDICT_DENY, REASON_EXPLICIT_DENY, BASELINE[side]),
        _ => (VERDICT_ALLOW, REASON_NO_POLICY, 0),
    }
}

#[test]
fn every_combination_of_tiers_and_sides() {
    let at = |place: u32, action: u32| Some((place, action));
    // The other side's rule comes first, or last, or is the same.
    let mut pairs: Vec<[Rule; 2]> = vec![[None, None]];
    for action in [ACTION_ALLOW, ACTION_DENY, ACTION_PASS] {
        pairs.push([at(0, action), None]);
        pairs.push([None, at((1 << 30) - 2, action)]);
        pairs.push([at(3, action), at(3, action)]);
        for other in [ACTION_ALLOW, ACTION_DENY, ACTION_PASS] {
            pairs.push([at(1, action), at(2, other)]);
            pairs.push([at(2, action), at(1, other)]);
        }
    }
    let mut asked = 0;
    for flags in [TIERS_INGRESS, ISOLATED_INGRESS, ISOLATED_INGRESS | TIERS_INGRESS] {
        let mut fixture = fixture(flags, Entries::default());
        for admin in &pairs {
            for baseline in &pairs {
                for allows in [[false, false], [true, false], [false, true], [true, true]] {
                    let entries = Entries { admin: *admin, allows, baseline: *baseline };
                    write(&mut fixture, SUBJECT, entries);
                    asked += 1;
                    let event = ask(&mut fixture, asked);
                    let wanted = expected(flags, entries);
                    assert_eq!(
                        outcome(&event),
                        wanted,
                        "flags {flags:#x}, admin {admin:?}, allows {allows:?}, baseline {baseline:?}"
                    );
                }
            }
        }
    }
    assert_eq!(asked as usize, 3 * pairs.len() * pairs.len() * 4);
}

#[test]
fn both_sides_of_network_policies_are_named_and_a_tiers_rule_alone() {
    let mut fixture = fixture(
        ISOLATED_INGRESS | TIERS_INGRESS,
        Entries { admin: [PASS, None], allows: [true, true], ..Entries::default() },
    );
    let event = ask(&mut fixture, 1);
    assert_eq!((event.rule_set_identity, event.rule_set_cidr), (ALLOWS, ALLOWS));
    write(
        &mut fixture,
        SUBJECT,
        Entries { admin: [None, ALLOW], allows: [true, true], ..Entries::default() },
    );
    let event = ask(&mut fixture, 2);
    assert_eq!((event.rule_set_identity, event.rule_set_cidr), (ADMIN[1], 0));
}

#[test]
fn tiers_of_one_direction_leave_the_other_alone() {
    let mut fixture = fixture(TIERS_EGRESS, Entries { admin: [DENY, None], ..Entries::default() });
    assert_eq!(ask(&mut fixture, 1).reason, REASON_NO_POLICY);
    let key =
        PolicyKey { subject: SUBJECT, ..rule(DIRECTION_EGRESS, PEER_IDENTITY, PROTOCOL_UDP, 53) };
    let value =
        PolicyValue { admin: decision(0, ACTION_DENY), admin_rule_set: 77, ..PolicyValue::NONE };
    fixture.datapath.insert_policies(&[(key, value)]).unwrap();
    fixture.update(|endpoint| {
        endpoint.enforced.port_prefixes_egress = 1 << 16;
        endpoint.enforced.ports_egress = u64::MAX;
    });
    fixture.events();
    assert!(!fixture.sends_udp(9, 53));
    let event = fixture.event();
    assert_eq!((event.reason, event.rule_set_identity), (REASON_EXPLICIT_DENY, 77));
    assert!(!fixture.sends_udp(10, 53));
    let fold = fixture.scan().denies[0];
    assert_eq!((fold.count, fold.value.reason, fold.value.rule_set), (1, REASON_EXPLICIT_DENY, 77));
    assert!(fixture.sends_udp(9, 54));
}

#[test]
fn no_tier_shuts_out_the_own_node() {
    let mut fixture = fixture(TIERS_INGRESS, Entries { admin: [DENY, DENY], ..Entries::default() });
    fixture.identify(PEER.into(), IDENTITY_LOCAL_NODE);
    assert_eq!(ask(&mut fixture, 1).reason, REASON_NODE_TRAFFIC);
}

#[test]
fn what_cannot_be_judged_is_dropped_where_tiers_apply() {
    let whole = ethernet(&inward(PROTOCOL_TCP).with(&tcp(9, PORT, SYN, b"")));
    let mut late = inward(PROTOCOL_TCP);
    late.fragment = 100;
    let late = ethernet(&late.with(&[0; 64]));
    let mut tiers = fixture(TIERS_INGRESS, Entries::default());
    assert!(!tiers.gets(&whole[..40]));
    assert_eq!(tiers.event().reason, REASON_INVALID_PACKET);
    assert!(!tiers.gets(&late));
    assert_eq!(tiers.event().reason, REASON_FRAGMENT);
    // What is only audited drops nothing, and neither do tiers of the other direction.
    let mut audited = fixture(TIERS_EGRESS, Entries::default());
    audit(&mut audited, TIERS_INGRESS | ISOLATED_INGRESS, Entries::default());
    assert!(audited.gets(&whole[..40]));
    assert!(audited.gets(&late));
}

#[test]
fn audited_policies_let_pass_what_they_would_deny_and_say_so() {
    // Nothing is in force; what is audited isolates.
    let mut fixture = fixture(0, Entries::default());
    audit(&mut fixture, ISOLATED_INGRESS, Entries::default());
    let event = ask(&mut fixture, 1);
    assert_eq!(outcome(&event), (VERDICT_AUDIT, REASON_DEFAULT_DENY, ALL_ISOLATED_BY));
    assert!(fixture.gets_tcp(1, PORT, SYN));
    assert_eq!(fixture.scan().connections[0].value.verdict, VERDICT_AUDIT);
    // And allows: its names.
    write(&mut fixture, ALL, Entries { allows: [true, false], ..Entries::default() });
    let event = ask(&mut fixture, 2);
    assert_eq!(outcome(&event), (VERDICT_ALLOW, REASON_POLICY, ALLOWS));
    // An audited tier.
    audit(&mut fixture, TIERS_INGRESS, Entries { admin: [DENY, None], ..Entries::default() });
    let event = ask(&mut fixture, 3);
    assert_eq!(outcome(&event), (VERDICT_AUDIT, REASON_EXPLICIT_DENY, ADMIN[0]));
    audit(&mut fixture, TIERS_INGRESS, Entries { baseline: [None, DENY], ..Entries::default() });
    let event = ask(&mut fixture, 4);
    assert_eq!(outcome(&event), (VERDICT_AUDIT, REASON_EXPLICIT_DENY, BASELINE[1]));
    assert_eq!(fixture.stats().denied, 0);
}

#[test]
fn what_is_in_force_denies_whatever_is_audited() {
    let open = Entries { admin: [ALLOW, ALLOW], allows: [true, true], baseline: [ALLOW, ALLOW] };
    // By default, by the admin tier and by the baseline tier.
    for (flags, entries, reason, rules) in [
        (ISOLATED_INGRESS, Entries::default(), REASON_DEFAULT_DENY, ISOLATED_BY[0]),
        (
            TIERS_INGRESS,
            Entries { admin: [None, DENY], ..Entries::default() },
            REASON_EXPLICIT_DENY,
            ADMIN[1],
        ),
        (
            TIERS_INGRESS,
            Entries { baseline: [DENY, None], ..Entries::default() },
            REASON_EXPLICIT_DENY,
            BASELINE[0],
        ),
    ] {
        let mut fixture = fixture(flags, entries);
        audit(&mut fixture, ISOLATED_INGRESS | TIERS_INGRESS, open);
        let event = ask(&mut fixture, 1);
        assert_eq!(outcome(&event), (VERDICT_DENY, reason, rules));
        // Folded, too.
        assert!(!fixture.gets_tcp(2, PORT, SYN));
        assert_eq!(fixture.stats().deny_folded, 1);
        // Unless the pod itself is audited: then with what is in force.
        fixture.update(|endpoint| endpoint.flags |= AUDIT);
        let event = ask(&mut fixture, 3);
        assert_eq!(outcome(&event), (VERDICT_AUDIT, reason, rules));
    }
}

#[test]
fn without_audited_policies_of_the_direction_nothing_is_different() {
    let mut fixture = fixture(ISOLATED_INGRESS, Entries::default());
    audit(&mut fixture, ISOLATED_EGRESS, Entries::default());
    let event = ask(&mut fixture, 1);
    assert_eq!(outcome(&event), (VERDICT_DENY, REASON_DEFAULT_DENY, ISOLATED_BY[0]));
    fixture.update(|endpoint| endpoint.enforced.flags &= !ISOLATED_INGRESS);
    assert_eq!(outcome(&ask(&mut fixture, 2)), (VERDICT_ALLOW, REASON_NO_POLICY, 0));
}

#[test]
fn entries_of_any_peer_hold_for_addresses_of_no_block() {
    let mut fixture = Fixture::new(TIERS_INGRESS);
    let key =
        PolicyKey { subject: SUBJECT, ..rule(DIRECTION_INGRESS, PEER_ANY, PROTOCOL_TCP, PORT) };
    let value = PolicyValue {
        baseline: decision(2, ACTION_DENY),
        baseline_rule_set: BASELINE[1],
        ..PolicyValue::NONE
    };
    fixture.datapath.insert_policies(&[(key, value)]).unwrap();
    fixture.update(|endpoint| {
        endpoint.enforced.port_prefixes_ingress = 1 << 16;
        endpoint.enforced.ports_ingress = port_bit(PORT);
        endpoint.enforced.flags |= ANY_INGRESS;
    });
    let event = ask(&mut fixture, 1);
    assert_eq!(outcome(&event), (VERDICT_DENY, REASON_EXPLICIT_DENY, BASELINE[1]));
}
