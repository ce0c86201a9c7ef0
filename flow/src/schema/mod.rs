//! The tables of columns: flows, and the cluster's objects. The Rust type of a row, the Arrow schema,
//! the batch builder and `docs/SCHEMA.md` all come from them.

#[macro_use]
mod table;
mod conform;
pub mod connections;
pub mod edges;
mod kind;
pub mod loss;
pub mod objects;
mod sent;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Schema, SchemaRef};

pub use conform::{FIXUPS, Fixup, conform};
pub use kind::{
    Kind, LabelMap, Labels, Names, Policies, Text, TextOrNull, TimestampNs, TimestampNsOrNull,
    UInt8OrNull, UInt16OrNull, UInt64, UInt64OrNull,
};
pub use sent::sent_schema;
pub use table::{Column, Table, tables};

/// Bumped with every change of the stored columns; files of older versions are fixed up on read.
pub const SCHEMA_VERSION: u32 = 1;

/// Columns of flows that questions name exact values of, each of which few rows have, spread over a file however it
/// is sorted. Verdicts, workloads and policies are none: rows are sorted by them or nearly so.
pub const NEEDLES: [&str; 4] = ["source_ip", "destination_ip", "source_pod", "destination_pod"];

table! {
    /// One row: what one observation point saw of one connection, or of one kind of denied
    /// attempt, in one interval. Counters are deltas.
    row Flow;
    /// Builds record batches row by row. For bulk work build the columns instead.
    builder FlowBuilder;
    /// Every column of table `flows`, in order.
    columns columns;
    /// What Parquet files hold: every column but the derived ones.
    schema stored_schema;
    stored {
        time: TimestampNs, "First packet in the row, UTC, exact if it is the first of the connection. Else the moment of the collector's reading before, which no packet in the row precedes: the kernel only counts further ones.";
        end_time: TimestampNs, "Last packet in the row, UTC; exact in `open` rows, in others rounded down to whole milliseconds, since the kernel notes it by its tick.";
        cluster: Text, "Cluster where it was observed.";
        node: Text, "Node where it was observed.";
        direction: Text, "`ingress` or `egress`, of the enforced pod.";
        verdict: Text, "`allow`, `deny` or `audit` (passed, would have been denied).";
        reason: Text, "Why: `policy`, `no_policy`, `default_deny`, `explicit_deny`, `node_traffic`, `invalid_packet`, `spoofed_source`, `not_ready`, `related`, `fragment`.";
        policies: Policies, "Who decided. Allow: every rule that allowed. Deny: the policies that isolated the pod, or the explicit deny.";
        policy: Text, "The same as `namespace/name`, comma-joined; empty where no policy took part.";
        policy_revision: UInt64, "Compiled policy set in force in the kernel at that packet.";
        protocol: Text, "`TCP`, `UDP`, `SCTP`, `ICMP`, `ICMPv6`, else the IANA number.";
        source_ip: Text, "Who began the connection.";
        source_port: UInt16OrNull, "Null where the protocol has none. Denies: of the first attempt in the row.";
        destination_ip: Text, "Who was dialled.";
        destination_port: UInt16OrNull, "Null where the protocol has none.";
        tcp_flags: UInt8OrNull, "Union of the TCP flags in the row (RFC 9293 bit order); null for other protocols.";
        icmp_type: UInt8OrNull, "ICMP or ICMPv6 type; null for other protocols.";
        icmp_code: UInt8OrNull, "ICMP or ICMPv6 code; null for other protocols.";
        source_kind: Text, "`pod`, `node`, `service`, `world` or `unknown`.";
        source_namespace: TextOrNull, "Namespace of the source pod.";
        source_pod: TextOrNull, "Name of the source pod.";
        source_workload_kind: TextOrNull, "`Deployment`, `StatefulSet`, … of the source; `Pod` for a pod without an owner.";
        source_workload: TextOrNull, "Name of the source's workload.";
        source_labels: Labels, "Labels of the source pod; empty where there are none.";
        source_node: TextOrNull, "Node of the source pod, or the node that is the source.";
        source_names: Names, "DNS names known for the source address.";
        destination_kind: Text, "`pod`, `node`, `service`, `world` or `unknown`.";
        destination_namespace: TextOrNull, "Namespace of the destination pod.";
        destination_pod: TextOrNull, "Name of the destination pod.";
        destination_workload_kind: TextOrNull, "`Deployment`, `StatefulSet`, … of the destination; `Pod` for a pod without an owner.";
        destination_workload: TextOrNull, "Name of the destination's workload.";
        destination_labels: Labels, "Labels of the destination pod; empty where there are none.";
        destination_node: TextOrNull, "Node of the destination pod, or the node that is the destination.";
        destination_names: Names, "DNS names known for the destination address.";
        destination_service: TextOrNull, "`namespace/name` when the client dialled a Service.";
        count: UInt64, "Verdicts folded in: connections begun (allow), attempts (deny).";
        packets: UInt64, "Packets of the source in the row, as on the wire.";
        bytes: UInt64, "Bytes of the source in the row, whole frames as an interface counts them.";
        reply_packets: UInt64, "Packets of the destination in the row.";
        reply_bytes: UInt64, "Bytes of the destination in the row.";
        duration_ns: UInt64OrNull, "First packet of the connection to the last in the row, rounded down to whole milliseconds; null if unknown.";
        rtt_ns: UInt64OrNull, "First packet to first reply, rounded up to whole microseconds; null if unknown.";
        state: Text, "`open`, `active` or `closed`.";
    }
    derived {
        connection_id: TextOrNull, "Community ID v1, so that both ends, Zeek and Suricata join on it; null where the addresses are unknown.";
    }
}

/// What queries see: every column.
pub fn table_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> =
        LazyLock::new(|| Arc::new(Schema::new(table::fields(columns(), |_| true))));
    SCHEMA.clone()
}

/// The documentation of all tables as a Markdown page.
pub fn documentation() -> String {
    let mut page = String::from(
        "# Tables\n\nGenerated from the schema tables in `flow/src/schema`; a test compares.\n",
    );
    for table in tables() {
        let _ = write!(
            page,
            "\n## `{}`\n{}\n\n| column | type | null | meaning |\n|---|---|---|---|\n",
            table.name, table.doc
        );
        for column in table.columns {
            let null = if column.nullable { "yes" } else { "" };
            let derived = if column.derived { " Computed when read." } else { "" };
            let _ = writeln!(
                page,
                "| {} | {} | {null} | {}{derived} |",
                column.name,
                sql_type(&column.data_type),
                column.doc
            );
        }
    }
    page
}

/// The type as SQL users know it.
pub fn sql_type(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Timestamp(..) => "timestamp(ns, UTC)",
        DataType::Dictionary(..) | DataType::Utf8 => "text",
        DataType::UInt8 => "uint8",
        DataType::UInt16 => "uint16",
        DataType::UInt64 => "uint64",
        DataType::Map(..) => "map(text, text)",
        DataType::List(field) if matches!(field.data_type(), DataType::Struct(_)) => {
            "list of {kind, namespace, name, rule}"
        }
        DataType::List(_) => "list of text",
        _ => "other",
    }
}
