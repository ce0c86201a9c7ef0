use super::*;
use crate::values::PolicyRule;

fn sample() -> Flow {
    Flow {
        time: TimestampNs(1_700_000_000_000_000_001),
        end_time: TimestampNs(1_700_000_000_500_000_000),
        cluster: "lab".into(),
        node: "node-1".into(),
        direction: "ingress".into(),
        verdict: "deny".into(),
        reason: "default_deny".into(),
        policies: vec![PolicyRule {
            kind: "NetworkPolicy".into(),
            namespace: "default".into(),
            name: "redis".into(),
            rule: None,
        }],
        policy: "default/redis".into(),
        policy_revision: 7,
        protocol: "TCP".into(),
        source_ip: "10.0.0.1".into(),
        source_port: Some(40_000),
        destination_ip: "10.0.0.2".into(),
        destination_port: Some(6379),
        tcp_flags: Some(2),
        icmp_type: None,
        icmp_code: None,
        source_kind: "pod".into(),
        source_namespace: Some("default".into()),
        source_pod: Some("rogue".into()),
        source_workload_kind: Some("Pod".into()),
        source_workload: Some("rogue".into()),
        source_labels: LabelMap::from([("run".into(), "rogue".into())]),
        source_node: Some("node-1".into()),
        source_names: vec![],
        destination_kind: "pod".into(),
        destination_namespace: None,
        destination_pod: None,
        destination_workload_kind: None,
        destination_workload: None,
        destination_labels: LabelMap::new(),
        destination_node: None,
        destination_names: vec!["redis.default.svc".into()],
        destination_service: None,
        count: 3,
        packets: 3,
        bytes: 222,
        reply_packets: 0,
        reply_bytes: 0,
        duration_ns: None,
        rtt_ns: Some(5),
        state: "open".into(),
    }
}

#[test]
fn rows_round_trip_through_arrow() {
    let mut other = sample();
    other.source_labels.clear();
    other.policies[0].rule = Some(4);
    other.source_port = None;
    let mut builder = FlowBuilder::default();
    builder.append(&sample());
    builder.append(&other);
    assert_eq!(builder.len(), 2);
    let batch = builder.finish();
    assert!(builder.is_empty());
    assert_eq!(batch.schema(), stored_schema());
    assert_eq!(Flow::read(&batch).unwrap(), vec![sample(), other]);
}

#[test]
fn an_empty_builder_gives_an_empty_batch_of_the_schema() {
    let batch = FlowBuilder::default().finish();
    assert_eq!(batch.num_rows(), 0);
    assert_eq!(batch.schema(), stored_schema());
}

#[test]
fn reading_names_the_missing_column() {
    let mut builder = FlowBuilder::default();
    builder.append(&sample());
    let batch = builder.finish();
    let without_time = batch.project(&(1..batch.num_columns()).collect::<Vec<_>>()).unwrap();
    let error = Flow::read(&without_time).unwrap_err().to_string();
    assert!(error.contains("column time is missing"), "{error}");
}

#[test]
fn documentation_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/SCHEMA.md");
    if std::env::var_os("WEIR_UPDATE").is_some() {
        std::fs::write(path, documentation()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, documentation(), "run `WEIR_UPDATE=1 cargo test` to write {path} anew");
}
