//! The view `connections`: what both ends saw of one connection, in one row.

use super::kind::{Text, TextOrNull, TimestampNsOrNull, UInt8OrNull, UInt16OrNull, UInt64OrNull};

table! {
    /// One connection, or one kind of denied attempt.
    row ConnectionRow;
    /// Builds record batches of connections.
    builder ConnectionBuilder;
    /// Every column of view `connections`, in order.
    columns connection_columns;
    /// What the view computes; see [`connection_columns`] for all columns.
    schema connection_schema;
    stored {
        time: TimestampNsOrNull, "When it began, as the end that saw it first says.";
        end_time: TimestampNsOrNull, "Last packet that either end reported.";
        cluster: Text, "Its cluster.";
        outcome: TextOrNull, "`allowed`; `denied_at_source`; `denied_at_destination`; `never_arrived`: it was allowed to leave its source, and the destination, a pod on a node that reported at that time, never saw it.";
        protocol: Text, "As in `flows`.";
        source_ip: Text, "As in `flows`.";
        source_port: UInt16OrNull, "As in `flows`.";
        destination_ip: TextOrNull, "As in `flows`. Where a Service was dialled, the pod that answered, if it was seen there.";
        destination_port: UInt16OrNull, "As `destination_ip`.";
        icmp_type: UInt8OrNull, "As in `flows`.";
        icmp_code: UInt8OrNull, "As in `flows`.";
        egress_verdict: TextOrNull, "What was decided at the source, last; null if it was not seen there.";
        egress_reason: TextOrNull, "Why.";
        egress_policy: TextOrNull, "By whom.";
        egress_node: TextOrNull, "Where.";
        ingress_verdict: TextOrNull, "What was decided at the destination, last; null if it was not seen there.";
        ingress_reason: TextOrNull, "Why.";
        ingress_policy: TextOrNull, "By whom.";
        ingress_node: TextOrNull, "Where.";
        source_kind: TextOrNull, "As in `flows`.";
        source_namespace: TextOrNull, "As in `flows`.";
        source_pod: TextOrNull, "As in `flows`.";
        source_workload_kind: TextOrNull, "As in `flows`.";
        source_workload: TextOrNull, "As in `flows`.";
        destination_kind: TextOrNull, "As in `flows`.";
        destination_namespace: TextOrNull, "As in `flows`.";
        destination_pod: TextOrNull, "As in `flows`.";
        destination_workload_kind: TextOrNull, "As in `flows`.";
        destination_workload: TextOrNull, "As in `flows`.";
        destination_service: TextOrNull, "As in `flows`.";
        count: UInt64OrNull, "Verdicts; more than 1 for denied attempts of one kind. Counters are the source's, and the destination's where only it saw the connection.";
        packets: UInt64OrNull, "As in `flows`.";
        bytes: UInt64OrNull, "As in `flows`.";
        reply_packets: UInt64OrNull, "As in `flows`.";
        reply_bytes: UInt64OrNull, "As in `flows`.";
        rtt_ns: UInt64OrNull, "As in `flows`.";
        state: TextOrNull, "The last one.";
    }
    derived {
        connection_id: TextOrNull, "As in `flows`.";
    }
}
