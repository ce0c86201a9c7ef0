//! The roll-up `edges_1m`: what table `flows` says, by workloads and minute.

use super::kind::{Text, TextOrNull, TimestampNs, UInt16OrNull, UInt64};

table! {
    /// What one kind of traffic between two workloads did in one minute: a part of it. The whole is
    /// the sum over all rows of equal key, since each file of flows has a roll-up of its own.
    row EdgeRow;
    /// Builds record batches of roll-ups.
    builder EdgeBuilder;
    /// Every column of table `edges_1m`, in order.
    columns edge_columns;
    /// The schema of table `edges_1m`, and of its Parquet files.
    schema edge_schema;
    stored {
        time: TimestampNs, "Begin of the minute in which `time` of the flows is, UTC.";
        cluster: Text, "Cluster where it was observed.";
        direction: Text, "`ingress` or `egress`, of the enforced pod.";
        verdict: Text, "`allow`, `deny` or `audit`.";
        reason: Text, "As in `flows`.";
        policy: Text, "As in `flows`.";
        protocol: Text, "As in `flows`.";
        destination_port: UInt16OrNull, "As in `flows`.";
        source_kind: Text, "As in `flows`.";
        source_namespace: TextOrNull, "As in `flows`.";
        source_workload_kind: TextOrNull, "As in `flows`.";
        source_workload: TextOrNull, "As in `flows`.";
        destination_kind: Text, "As in `flows`.";
        destination_namespace: TextOrNull, "As in `flows`.";
        destination_workload_kind: TextOrNull, "As in `flows`.";
        destination_workload: TextOrNull, "As in `flows`.";
        destination_service: TextOrNull, "As in `flows`.";
        flow_rows: UInt64, "Rows of `flows` in it.";
        count: UInt64, "Sum of `count`.";
        packets: UInt64, "Sum of `packets`.";
        bytes: UInt64, "Sum of `bytes`.";
        reply_packets: UInt64, "Sum of `reply_packets`.";
        reply_bytes: UInt64, "Sum of `reply_bytes`.";
    }
    derived {}
}
