//! Rows for tests.

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use weir_flow::Flow;
use weir_flow::schema::{LabelMap, TimestampNs};
use weir_flow::values::PolicyRule;

use crate::columns::Columns;
use crate::encode::{Shape, encode_columns};

/// 2023-11-14T22:00:00Z.
pub(crate) const HOUR: i64 = 1_699_999_200_000_000_000;

/// What a file of the columns has, in its order.
pub(crate) fn flows_of(columns: &Columns) -> Vec<Flow> {
    let file = encode_columns(columns, &Shape::FLUSHED).unwrap();
    let batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    batches.flat_map(|batch| Flow::read(&batch.unwrap()).unwrap()).collect()
}

/// A row that is told apart from every other by `number`: it is its `count`.
pub(crate) fn flow(number: u64) -> Flow {
    Flow {
        time: TimestampNs(HOUR + number as i64 * 1_000_003),
        end_time: TimestampNs(HOUR + number as i64 * 1_000_003 + 5_000),
        cluster: "lab".into(),
        node: format!("node-{}", number % 2),
        direction: "ingress".into(),
        verdict: if number.is_multiple_of(7) { "deny" } else { "allow" }.into(),
        reason: "policy".into(),
        policies: vec![PolicyRule {
            kind: "NetworkPolicy".into(),
            namespace: "default".into(),
            name: "redis".into(),
            rule: (!number.is_multiple_of(7)).then_some(0),
        }],
        policy: "default/redis".into(),
        policy_revision: 7,
        protocol: "TCP".into(),
        source_ip: format!("10.0.0.{}", number % 50),
        source_port: Some(40_000 + (number % 1000) as u16),
        destination_ip: "10.0.1.2".into(),
        destination_port: Some(6379),
        tcp_flags: Some(2),
        icmp_type: None,
        icmp_code: None,
        source_kind: "pod".into(),
        source_namespace: Some("default".into()),
        source_pod: Some(format!("client-{}", number % 50)),
        source_workload_kind: Some("Deployment".into()),
        source_workload: Some("client".into()),
        source_labels: LabelMap::from([("app".into(), "client".into())]),
        source_node: Some("node-0".into()),
        source_names: vec![],
        destination_kind: "pod".into(),
        destination_namespace: Some("default".into()),
        destination_pod: Some("redis-0".into()),
        destination_workload_kind: Some("StatefulSet".into()),
        destination_workload: Some("redis".into()),
        destination_labels: LabelMap::new(),
        destination_node: None,
        destination_names: vec!["redis.default.svc".into()],
        destination_service: None,
        count: number,
        packets: 3,
        bytes: 222,
        reply_packets: 0,
        reply_bytes: 0,
        duration_ns: number.is_multiple_of(3).then_some(number),
        rtt_ns: None,
        state: "open".into(),
    }
}
