//! What a row costs: from the bytes of an event to a row of an Arrow batch, next to copying the
//! bytes. Run with `cargo bench -p weir-collector --bench join`.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_abi::event::{REASON_POLICY, VERDICT_ALLOW, VerdictEvent};
use weir_abi::{DIRECTION_INGRESS, PROTOCOL_TCP};
use weir_collector::directory::DirectoryWriter;
use weir_collector::join::Joiner;
use weir_flow::values::PolicyRule;
use weir_policy::Cluster;
use weir_policy::model::{Pod, Workload};

const EVENTS: usize = 1_000_000;
const PODS: u32 = 2_000;
const LOCAL_PODS: u32 = 100;
const RULE_SETS: u32 = 50;
const BATCH_ROWS: usize = 4_096;
const ROUNDS: usize = 3;

fn address(pod: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + 1 + pod)
}

fn pod(number: u32) -> Pod {
    let app = format!("app-{}", number / 8);
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    Pod {
        namespace: format!("team-{}", number % 20),
        name: format!("{app}-7d4b9c6f5d-{number:05}"),
        labels: [
            label("app.kubernetes.io/name", &app),
            label("app.kubernetes.io/part-of", "shop"),
            label("pod-template-hash", "7d4b9c6f5d"),
            label("tier", ["web", "api", "db"][number as usize % 3]),
        ]
        .into(),
        addresses: vec![IpAddr::from(address(number))],
        node: Some(format!("node-{}", number % 50)),
        workload: Some(Workload { kind: "Deployment".into(), name: app }),
        ..Pod::default()
    }
}

fn writer() -> DirectoryWriter {
    let mut writer = DirectoryWriter::default();
    let cluster = Cluster { pods: (0..PODS).map(pod).collect(), ..Cluster::default() };
    writer.set_cluster(&cluster, 0);
    for local in 0..LOCAL_PODS {
        writer.set_endpoint(local + 1, &cluster.pods[local as usize], 0);
    }
    let rules = (0..RULE_SETS).map(|set| {
        Arc::from([PolicyRule {
            kind: "NetworkPolicy".into(),
            namespace: format!("team-{}", set % 20),
            name: format!("allow-{set}"),
            rule: Some(set % 3),
        }])
    });
    writer.set_rule_sets(&rules.collect::<Vec<_>>());
    writer.publish();
    writer
}

fn events() -> Vec<VerdictEvent> {
    let mut state = 88_172_645_463_325_252u64;
    let mut random = move |below: u32| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as u32 % below
    };
    let event = |time: usize| {
        let local = random(LOCAL_PODS);
        VerdictEvent {
            time_ns: time as u64 * 1_000,
            revision: 7,
            source: address(random(PODS)).to_ipv6_mapped().octets(),
            destination: address(local).to_ipv6_mapped().octets(),
            endpoint: local + 1,
            remote_identity: 16 + random(300),
            rule_set_identity: random(RULE_SETS),
            rule_set_cidr: 0,
            bytes: 74,
            packets: 1,
            source_port: 32_768 + random(28_000) as u16,
            destination_port: [80, 443, 5432, 6379][random(4) as usize],
            protocol: PROTOCOL_TCP,
            verdict: VERDICT_ALLOW,
            reason: REASON_POLICY,
            direction: DIRECTION_INGRESS,
            tcp_flags: 2,
            icmp_type: 0,
            icmp_code: 0,
            reserved: [0; 5],
        }
    };
    (0..EVENTS).map(event).collect()
}

/// The best of a few rounds, as the machine has other work too.
fn best(mut round: impl FnMut()) -> f64 {
    let time = |round: &mut dyn FnMut()| {
        let begun = Instant::now();
        round();
        begun.elapsed()
    };
    let least = (0..ROUNDS).map(|_| time(&mut round)).min().unwrap_or(Duration::MAX);
    least.as_nanos() as f64 / EVENTS as f64
}

fn main() {
    let events = events();
    let mut copied = Vec::with_capacity(EVENTS);
    let copy = best(|| {
        copied.clear();
        for chunk in events.chunks(BATCH_ROWS) {
            copied.extend_from_slice(black_box(chunk));
        }
        black_box(&copied);
    });
    let mut joiner = Joiner::new("bench", "node-0", writer().shared());
    let mut rows = 0;
    let join = best(|| {
        rows = 0;
        for chunk in events.chunks(BATCH_ROWS) {
            joiner.add_events(black_box(chunk));
            match joiner.finish() {
                Ok(joined) => rows += black_box(joined).batch.num_rows(),
                Err(error) => panic!("{error}"),
            }
        }
    });
    assert_eq!(rows, EVENTS);
    println!("event to Arrow row, {EVENTS} events, {PODS} pods, batches of {BATCH_ROWS}");
    println!("  copy of the {} bytes  {copy:8.1} ns a row", size_of::<VerdictEvent>());
    println!("  joined with names      {join:8.1} ns a row");
}
