//! What a row costs: from the bytes of an event to a row of an Arrow batch, next to copying the
//! bytes.

use std::fmt;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::error::ArrowError;
use weir_abi::event::{REASON_POLICY, VERDICT_ALLOW, VerdictEvent};
use weir_abi::{DIRECTION_INGRESS, PROTOCOL_TCP};
use weir_flow::values::PolicyRule;
use weir_policy::Cluster;
use weir_policy::model::{Pod, Workload};

use super::Joiner;
use crate::directory::DirectoryWriter;
use crate::journal::pack;
use crate::ledger::Class;
use crate::uplink::{encode, size};

/// The costs of a row. Displays as a table.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Nanoseconds to copy an event's bytes.
    pub copy_ns: f64,
    /// Nanoseconds from those bytes to a row with names.
    pub join_ns: f64,
    /// Nanoseconds from that row to messages for the relay.
    pub encode_ns: f64,
    /// Nanoseconds to compress them for the spool.
    pub pack_ns: f64,
    /// Bytes of a row in messages.
    pub bytes: f64,
    /// Bytes of a row in the spool.
    pub packed_bytes: f64,
}

/// Measures. Takes a few seconds.
///
/// # Errors
/// The rows do not fit Arrow's limits.
pub fn run() -> Result<Report, ArrowError> {
    let events = events();
    let mut copied = Vec::with_capacity(EVENTS);
    let copy_ns = best(|| {
        copied.clear();
        for chunk in events.chunks(BATCH_ROWS) {
            copied.extend_from_slice(black_box(chunk));
        }
        black_box(&copied);
        Ok(())
    })?;
    let mut joiner = Joiner::new("bench", "node-0", writer().shared());
    let join_ns = best(|| {
        for chunk in events.chunks(BATCH_ROWS) {
            joiner.add_events(black_box(chunk));
            black_box(joiner.finish(Class::Allows)?);
        }
        Ok(())
    })?;
    let mut batches = Vec::new();
    for chunk in events.chunks(BATCH_ROWS) {
        joiner.add_events(chunk);
        batches.push(joiner.finish(Class::Allows)?.batch);
    }
    let encode_ns = best(|| {
        for batch in &batches {
            black_box(encode::batch(batch)?);
        }
        Ok(())
    })?;
    let encoded = batches.iter().map(encode::batch).collect::<Result<Vec<_>, _>>()?;
    let mut packed = 0;
    let pack_ns = best(|| {
        packed = 0;
        for messages in &encoded {
            packed += black_box(pack(messages)?).len();
        }
        Ok(())
    })?;
    let bytes: usize = encoded.iter().map(|messages| size(messages)).sum();
    let a_row = |bytes: usize| bytes as f64 / EVENTS as f64;
    let (bytes, packed_bytes) = (a_row(bytes), a_row(packed));
    Ok(Report { copy_ns, join_ns, encode_ns, pack_ns, bytes, packed_bytes })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| {EVENTS} events, {PODS} pods, batches of {BATCH_ROWS} | ns a row |")?;
        writeln!(f, "|---|---|")?;
        writeln!(f, "| copy of the {} bytes | {:.1} |", size_of::<VerdictEvent>(), self.copy_ns)?;
        writeln!(f, "| event to Arrow row with names | {:.1} |", self.join_ns)?;
        writeln!(f, "| row to messages, {:.0} bytes | {:.1} |", self.bytes, self.encode_ns)?;
        writeln!(
            f,
            "| compressed for the spool, {:.0} bytes | {:.1} |",
            self.packed_bytes, self.pack_ns
        )
    }
}

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
fn best(mut round: impl FnMut() -> Result<(), ArrowError>) -> Result<f64, ArrowError> {
    let mut least = Duration::MAX;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        round()?;
        least = least.min(begun.elapsed());
    }
    Ok(least.as_nanos() as f64 / EVENTS as f64)
}
