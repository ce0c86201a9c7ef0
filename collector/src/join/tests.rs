use std::net::IpAddr;

use weir_abi::conntrack::{Connection, ConnectionKey, Deny, DenyKey};
use weir_abi::event::{
    REASON_DEFAULT_DENY, REASON_FRAGMENT, REASON_POLICY, REASON_SPOOFED_SOURCE, VERDICT_ALLOW,
    VERDICT_DENY,
};
use weir_abi::{DIRECTION_EGRESS, DIRECTION_INGRESS, PROTOCOL_ICMP, PROTOCOL_TCP};
use weir_flow::schema::{Flow, LabelMap, TimestampNs, sent_schema};
use weir_flow::values::{Direction, EndpointKind, PolicyRule, Reason, State, Verdict};
use weir_policy::Cluster;
use weir_policy::model::{Labels, Node, Pod, Service, Workload};

use super::*;
use crate::directory::{DirectoryWriter, to_kernel};
use crate::kernel::ConnectionState;
use crate::ledger::Malformed;

const REDIS: u32 = 7;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn pod(namespace: &str, name: &str, address: &str) -> Pod {
    Pod {
        namespace: namespace.into(),
        name: name.into(),
        labels: Labels::from([("app".into(), name.into())]),
        addresses: vec![ip(address), ip(&format!("fd00::{}", &address[7..]))],
        node: Some("n1".into()),
        ..Pod::default()
    }
}

fn rule(name: &str, rule: Option<u32>) -> PolicyRule {
    PolicyRule {
        kind: "NetworkPolicy".into(),
        namespace: "default".into(),
        name: name.into(),
        rule,
    }
}

fn cluster() -> Cluster {
    let mut redis = pod("default", "redis-0", "10.0.0.1");
    redis.workload = Some(Workload { kind: "StatefulSet".into(), name: "redis".into() });
    Cluster {
        pods: vec![redis, pod("default", "rogue", "10.0.0.2")],
        services: vec![Service {
            namespace: "default".into(),
            name: "redis".into(),
            cluster_ips: vec![ip("10.96.0.1")],
            ..Service::default()
        }],
        nodes: vec![Node {
            name: "n1".into(),
            addresses: vec![ip("192.168.0.1")],
            ..Node::default()
        }],
        ..Cluster::default()
    }
}

/// A directory in which redis is a local pod, and rule sets 1 to 3 are known.
fn writer() -> DirectoryWriter {
    let mut writer = DirectoryWriter::default();
    let cluster = cluster();
    writer.set_cluster(&cluster, 0);
    writer.set_endpoint(REDIS, &cluster.pods[0], 0);
    writer.set_rule_sets(&[
        Arc::from([]),
        Arc::from([rule("redis", None)]),
        Arc::from([rule("redis", Some(1)), rule("redis", Some(0))]),
        Arc::from([rule("another", Some(0)), rule("redis", Some(0))]),
    ]);
    writer.publish();
    writer
}

fn joiner() -> Joiner {
    Joiner::new("lab", "n1", writer().shared())
}

fn event() -> VerdictEvent {
    VerdictEvent {
        time_ns: 1_000,
        revision: 3,
        source: to_kernel(ip("10.0.0.2")),
        destination: to_kernel(ip("10.0.0.1")),
        endpoint: REDIS,
        remote_identity: 17,
        rule_set_identity: 1,
        rule_set_cidr: 0,
        bytes: 74,
        packets: 1,
        source_port: 40_000,
        destination_port: 6379,
        protocol: PROTOCOL_TCP,
        verdict: VERDICT_DENY,
        reason: REASON_DEFAULT_DENY,
        direction: DIRECTION_INGRESS,
        tcp_flags: 2,
        icmp_type: 0,
        icmp_code: 0,
        reserved: [0; 5],
    }
}

fn connection(direction: u8) -> ConnectionDelta {
    ConnectionDelta {
        key: ConnectionKey {
            remote: to_kernel(ip("10.0.0.2")),
            endpoint: REDIS,
            local_port: 6379,
            remote_port: 40_000,
            protocol: PROTOCOL_TCP,
            icmp: 0,
            reserved: [0; 6],
        },
        value: Connection {
            packets: 10,
            bytes: 1000,
            reply_packets: 8,
            reply_bytes: 800,
            first_ns: 1_000,
            last_ns: 9_123_456,
            reply_delay_ns: 77_001,
            revision: 2,
            rule_set_identity: 2,
            rule_set_cidr: 3,
            flags: 0,
            event_packets: 1,
            event_bytes: 74,
            reason: REASON_POLICY,
            verdict: VERDICT_ALLOW,
            direction,
            tcp_flags: 0x1b,
            icmp_type: 0,
            icmp_code: 0,
            reserved: [0; 6],
        },
        packets: 9,
        bytes: 926,
        reply_packets: 8,
        reply_bytes: 800,
        count: 0,
        since_ns: 1_000,
        state: ConnectionState::Closed,
    }
}

fn deny() -> DenyDelta {
    DenyDelta {
        key: DenyKey {
            remote: to_kernel(ip("10.0.0.2")),
            revision: 3,
            endpoint: REDIS,
            destination_port: 6379,
            protocol: PROTOCOL_TCP,
            direction: DIRECTION_INGRESS,
            class: REASON_DEFAULT_DENY,
            icmp_type: 0,
            icmp_code: 0,
            reserved: [0; 5],
            claimed: [0; 16],
        },
        value: Deny {
            count: 5,
            packets: 5,
            bytes: 370,
            first_ns: 1_000,
            last_ns: 8_000_000,
            rule_set: 1,
            epoch: 0,
            source_port: 40_000,
            tcp_flags: 2,
            reason: REASON_DEFAULT_DENY,
            reserved: 0,
        },
        count: 4,
        packets: 4,
        bytes: 296,
        since_ns: 1_000,
    }
}

fn rows(joiner: &mut Joiner) -> Vec<Flow> {
    let mut rows = Vec::new();
    for class in Class::ALL {
        let joined = joiner.finish(class).unwrap();
        assert_eq!(joined.batch.schema(), sent_schema());
        rows.extend(Flow::read(&joined.batch).unwrap());
    }
    // Times are as far apart as the kernel said; where they begin depends on when the test runs.
    let start = joiner.clock.to_utc_ns(0);
    for row in &mut rows {
        row.time.0 -= start;
        row.end_time.0 -= start;
    }
    rows
}

/// A time as rows of counters have it.
fn by_tick(joiner: &Joiner, ns: u64) -> i64 {
    let utc = joiner.clock.to_utc_ns(ns);
    utc - utc.rem_euclid(1_000_000) - joiner.clock.to_utc_ns(0)
}

#[test]
fn a_row_never_ends_before_it_begins() {
    let mut quick = connection(DIRECTION_EGRESS);
    (quick.value.last_ns, quick.value.reply_delay_ns) = (quick.value.first_ns, 0);
    let mut missed_tick = connection(DIRECTION_EGRESS);
    missed_tick.since_ns = missed_tick.value.last_ns + 3_999_999;
    let mut joiner = joiner();
    joiner.add_connections(&[quick, missed_tick]);
    let joined = rows(&mut joiner);
    assert_eq!((joined[0].time, joined[0].duration_ns), (joined[0].end_time, Some(0)));
    assert_eq!(joined[0].rtt_ns, None);
    assert!((joined[1].time..=TimestampNs(13_123_455)).contains(&joined[1].end_time));
}

#[test]
fn a_denied_attempt_names_both_ends_and_the_policy() {
    let mut joiner = joiner();
    joiner.add_events(&[event()]);
    let row = rows(&mut joiner).remove(0);
    let expected = Flow {
        time: TimestampNs(1_000),
        end_time: TimestampNs(1_000),
        cluster: "lab".into(),
        node: "n1".into(),
        direction: "ingress".into(),
        verdict: "deny".into(),
        reason: "default_deny".into(),
        policies: vec![rule("redis", None)],
        policy: "default/redis".into(),
        policy_revision: 3,
        protocol: "TCP".into(),
        source_ip: "10.0.0.2".into(),
        source_port: Some(40_000),
        destination_ip: "10.0.0.1".into(),
        destination_port: Some(6379),
        tcp_flags: Some(2),
        icmp_type: None,
        icmp_code: None,
        source_kind: "pod".into(),
        source_namespace: Some("default".into()),
        source_pod: Some("rogue".into()),
        source_workload_kind: Some("Pod".into()),
        source_workload: Some("rogue".into()),
        source_labels: LabelMap::from([("app".into(), "rogue".into())]),
        source_node: Some("n1".into()),
        source_names: vec![],
        destination_kind: "pod".into(),
        destination_namespace: Some("default".into()),
        destination_pod: Some("redis-0".into()),
        destination_workload_kind: Some("StatefulSet".into()),
        destination_workload: Some("redis".into()),
        destination_labels: LabelMap::from([("app".into(), "redis-0".into())]),
        destination_node: Some("n1".into()),
        destination_names: vec![],
        destination_service: None,
        count: 1,
        packets: 1,
        bytes: 74,
        reply_packets: 0,
        reply_bytes: 0,
        duration_ns: None,
        rtt_ns: None,
        state: "open".into(),
    };
    assert_eq!(row, expected);
}

#[test]
fn a_connection_is_told_from_its_initiators_side() {
    let mut joiner = joiner();
    joiner.add_connections(&[connection(DIRECTION_INGRESS), connection(DIRECTION_EGRESS)]);
    let joined = rows(&mut joiner);
    let [inbound, outbound] = joined.as_slice() else { panic!("{joined:?}") };
    assert_eq!((inbound.source_ip.as_str(), inbound.source_port), ("10.0.0.2", Some(40_000)));
    assert_eq!(
        (inbound.destination_ip.as_str(), inbound.destination_port),
        ("10.0.0.1", Some(6379))
    );
    assert_eq!((outbound.source_ip.as_str(), outbound.source_port), ("10.0.0.1", Some(6379)));
    assert_eq!(outbound.source_pod.as_deref(), Some("redis-0"));
    assert_eq!((inbound.time.0, inbound.end_time.0), (1_000, by_tick(&joiner, 9_123_456)));
    assert_eq!((inbound.count, inbound.packets, inbound.reply_bytes), (0, 9, 800));
    assert_eq!((inbound.duration_ns, inbound.rtt_ns), (Some(9_000_000), Some(78_000)));
    assert_eq!(inbound.state, "closed");
    // The rules of both sets, each once.
    let rules = [rule("another", Some(0)), rule("redis", Some(0)), rule("redis", Some(1))];
    assert_eq!(inbound.policies, rules);
    assert_eq!(inbound.policy, "default/another,default/redis");
}

#[test]
fn folded_denies_count_all_attempts() {
    let mut joiner = joiner();
    joiner.add_denies(&[deny()]);
    let row = rows(&mut joiner).remove(0);
    assert_eq!((row.count, row.packets, row.bytes), (4, 4, 296));
    assert_eq!(
        (row.source_pod.as_deref(), row.destination_pod.as_deref()),
        (Some("rogue"), Some("redis-0"))
    );
    assert_eq!((row.time.0, row.end_time.0), (1_000, by_tick(&joiner, 8_000_000)));
    assert_eq!(row.state, "active");
    assert_eq!(row.policy, "default/redis");
}

#[test]
fn a_pod_that_lies_about_its_address_is_named_all_the_same() {
    let mut spoofed = event();
    spoofed.direction = DIRECTION_EGRESS;
    spoofed.reason = REASON_SPOOFED_SOURCE;
    spoofed.destination = to_kernel(ip("192.168.0.1"));
    let mut folded = deny();
    folded.key.direction = DIRECTION_EGRESS;
    folded.key.claimed = to_kernel(ip("10.0.0.2"));
    let mut joiner = joiner();
    joiner.add_events(&[spoofed]);
    joiner.add_denies(&[folded]);
    let joined = rows(&mut joiner);
    for row in &joined {
        assert_eq!(row.source_ip, "10.0.0.2");
        assert_eq!(row.source_pod.as_deref(), Some("redis-0"));
    }
    assert_eq!(
        (joined[0].destination_kind.as_str(), joined[0].destination_node.as_deref()),
        ("node", Some("n1"))
    );
}

#[test]
fn services_the_world_and_other_protocols() {
    let mut dialled = event();
    dialled.direction = DIRECTION_EGRESS;
    dialled.source = to_kernel(ip("10.0.0.1"));
    dialled.destination = to_kernel(ip("10.96.0.1"));
    let mut echo = dialled;
    echo.destination = to_kernel(ip("2001:db8::1"));
    echo.source = to_kernel(ip("fd00::1"));
    (echo.protocol, echo.icmp_type) = (PROTOCOL_ICMP, 8);
    let mut other = echo;
    other.protocol = 47;
    let mut joiner = joiner();
    joiner.add_events(&[dialled, echo, other]);
    let joined = rows(&mut joiner);
    assert_eq!(joined[0].destination_kind, "service");
    assert_eq!(joined[0].destination_service.as_deref(), Some("default/redis"));
    assert_eq!(
        (joined[1].destination_kind.as_str(), joined[1].destination_ip.as_str()),
        ("world", "2001:db8::1")
    );
    assert_eq!(joined[1].destination_pod, None);
    assert_eq!(
        (joined[1].source_port, joined[1].tcp_flags, joined[1].icmp_type),
        (None, None, Some(8))
    );
    assert_eq!((joined[2].protocol.as_str(), joined[2].icmp_type), ("47", None));
}

#[test]
fn names_are_those_of_the_time_and_survive_the_pod() {
    let mut writer = writer();
    let mut joiner = Joiner::new("lab", "n1", writer.shared());
    let mut later = cluster();
    later.pods[1].name = "heir".into();
    later.pods.remove(0);
    writer.set_cluster(&later, 5_000);
    writer.remove_endpoint(REDIS, 5_000);
    joiner.add_events(&[event()]);
    writer.publish();
    let mut after = event();
    after.time_ns = 6_000;
    joiner.add_events(&[event(), after]);
    let sources: Vec<_> = rows(&mut joiner)
        .into_iter()
        .map(|row| (row.source_pod.unwrap(), row.destination_pod.unwrap()))
        .collect();
    let pair = |source: &str| (source.to_owned(), "redis-0".to_owned());
    assert_eq!(sources, [pair("rogue"), pair("rogue"), pair("heir")]);
}

#[test]
fn batches_are_independent_and_denies_have_their_own() {
    let mut joiner = joiner();
    joiner.add_events(&[event()]);
    let joined = joiner.finish(Class::Denies).unwrap();
    let Tally { rows: 1, allow: 0, deny: 1, from_ns, to_ns, .. } = joined.tally else { panic!() };
    assert!(from_ns == to_ns && from_ns > 0);
    let mut allowed = event();
    allowed.verdict = VERDICT_ALLOW;
    joiner.add_events(&[allowed]);
    assert_eq!(joiner.len(), 1);
    let joined = joiner.finish(Class::Allows).unwrap();
    assert!(joiner.is_empty());
    assert_eq!((joined.batch.num_rows(), joined.tally.allow, joined.tally.deny), (1, 1, 0));
    assert_eq!(joiner.finish(Class::Allows).unwrap().batch.num_rows(), 0);
}

/// The kernel's times do not step, so what is between two of them stays right.
#[test]
fn rows_follow_a_clock_that_was_set_and_keep_their_distances() {
    let hour = 3_600_000_000_000;
    for step in [hour, -hour] {
        let mut joiner = joiner();
        let now = joiner.clock;
        // As it was before somebody set the clock.
        joiner.clock = now.ahead(step);
        let (mut first, mut second) = (event(), event());
        (first.time_ns, second.time_ns) = (1_000_000, 5_000_000);
        joiner.add_events(&[first, second]);
        let joined = joiner.finish(Class::Denies).unwrap();
        let rows = Flow::read(&joined.batch).unwrap();
        assert_eq!(rows[1].time.0 - rows[0].time.0, 4_000_000);
        assert!(rows[0].time.0.abs_diff(now.to_utc_ns(1_000_000)) < 1_000_000_000);
        assert_eq!((joined.tally.from_ns, joined.tally.to_ns), (rows[0].time.0, rows[1].time.0));
    }
}

#[test]
fn numbers_of_another_version_are_counted_and_never_rows() {
    let mut joiner = joiner();
    let broken = |change: fn(&mut VerdictEvent)| {
        let mut event = event();
        change(&mut event);
        event
    };
    joiner.add_events(&[
        broken(|event| event.verdict = 3),
        broken(|event| event.reason = REASON_FRAGMENT + 1),
        broken(|event| event.direction = 2),
    ]);
    assert_eq!((joiner.malformed(), joiner.len()), (Malformed { allows: 1, denies: 2 }, 0));
}

#[test]
fn an_endpoint_nobody_knows_is_unknown() {
    let mut stranger = connection(DIRECTION_EGRESS);
    stranger.key.endpoint = 99;
    let mut joiner = joiner();
    joiner.add_connections(&[stranger]);
    let row = rows(&mut joiner).remove(0);
    assert_eq!((row.source_kind.as_str(), row.source_ip.as_str()), ("unknown", "0.0.0.0"));
}

/// Rows hold the words by number.
#[test]
fn numbers_of_the_kernel_are_the_order_of_the_words() {
    use weir_abi::event;
    let reasons = [
        (event::REASON_POLICY, Reason::Policy),
        (event::REASON_NO_POLICY, Reason::NoPolicy),
        (event::REASON_DEFAULT_DENY, Reason::DefaultDeny),
        (event::REASON_EXPLICIT_DENY, Reason::ExplicitDeny),
        (event::REASON_NODE_TRAFFIC, Reason::NodeTraffic),
        (event::REASON_INVALID_PACKET, Reason::InvalidPacket),
        (event::REASON_SPOOFED_SOURCE, Reason::SpoofedSource),
        (event::REASON_NOT_READY, Reason::NotReady),
        (event::REASON_RELATED, Reason::Related),
        (event::REASON_FRAGMENT, Reason::Fragment),
    ];
    assert_eq!(reasons.len(), Reason::ALL.len());
    for (number, reason) in reasons {
        assert_eq!(Reason::ALL[usize::from(number)], reason);
    }
    assert_eq!(Direction::ALL[usize::from(DIRECTION_INGRESS)], Direction::Ingress);
    assert_eq!(Direction::ALL[usize::from(DIRECTION_EGRESS)], Direction::Egress);
    assert_eq!(Verdict::ALL[usize::from(event::VERDICT_ALLOW)], Verdict::Allow);
    assert_eq!(Verdict::ALL[usize::from(event::VERDICT_DENY)], Verdict::Deny);
    assert_eq!(Verdict::ALL[usize::from(event::VERDICT_AUDIT)], Verdict::Audit);
    for (number, kind) in EndpointKind::ALL.iter().enumerate() {
        assert_eq!(*kind as usize, number);
    }
    for (number, state) in State::ALL.iter().enumerate() {
        assert_eq!(*state as usize, number);
    }
}
