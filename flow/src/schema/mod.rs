//! The one table of flow columns. The Rust type [`Flow`], the Arrow schema, the batch builder and
//! `docs/SCHEMA.md` all come from it.

mod kind;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use kind::column_of;
pub use kind::{
    Kind, LabelMap, Labels, Names, Policies, Text, TextOrNull, TimestampNs, UInt8OrNull,
    UInt16OrNull, UInt64, UInt64OrNull,
};

/// Bumped with every change of the stored columns; files of older versions are fixed up on read.
pub const SCHEMA_VERSION: u32 = 1;

/// One column of table `flows`.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its SQL name.
    pub name: &'static str,
    /// Its Arrow type.
    pub data_type: DataType,
    /// Whether it may be null.
    pub nullable: bool,
    /// Computed from other columns when read, never stored.
    pub derived: bool,
    /// What it means.
    pub doc: &'static str,
}

/// Expands the table into the struct, the builder and the list of columns.
macro_rules! flow_table {
    (
        stored { $($name:ident: $kind:ident, $doc:literal;)+ }
        derived { $($derived:ident: $derived_kind:ident, $derived_doc:literal;)+ }
    ) => {
        /// One row: what one observation point saw of one connection, or of one kind of denied
        /// attempt, in one interval. Counters are deltas.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Flow {
            $(#[doc = $doc] pub $name: <$kind as Kind>::Value,)+
        }

        /// Builds record batches row by row. For bulk work build the columns instead.
        #[derive(Default)]
        pub struct FlowBuilder {
            rows: usize,
            $($name: <$kind as Kind>::Builder,)+
        }

        impl FlowBuilder {
            /// Adds a row.
            pub fn append(&mut self, flow: &Flow) {
                self.rows += 1;
                $($kind::append(&mut self.$name, &flow.$name);)+
            }

            /// The rows added so far as a batch of [`stored_schema`]; the builder is empty again.
            pub fn finish(&mut self) -> RecordBatch {
                self.rows = 0;
                let columns: Vec<ArrayRef> = vec![$($kind::finish(&mut self.$name),)+];
                RecordBatch::try_new(stored_schema(), columns)
                    .expect("builders and schema come from one table")
            }
        }

        impl Flow {
            /// Reads all rows of a batch. Columns are found by name and cast to the table's types.
            ///
            /// # Errors
            /// A column is missing or has a type that does not cast.
            pub fn read(batch: &RecordBatch) -> Result<Vec<Flow>, ArrowError> {
                $(let $name = column_of::<$kind>(batch, stringify!($name))?;)+
                Ok((0..batch.num_rows())
                    .map(|row| Flow { $($name: $kind::read(&$name, row),)+ })
                    .collect())
            }
        }

        static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(|| vec![
            $(Column {
                name: stringify!($name),
                data_type: $kind::data_type(),
                nullable: $kind::NULLABLE,
                derived: false,
                doc: $doc,
            },)+
            $(Column {
                name: stringify!($derived),
                data_type: $derived_kind::data_type(),
                nullable: $derived_kind::NULLABLE,
                derived: true,
                doc: $derived_doc,
            },)+
        ]);
    };
}

flow_table! {
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

impl fmt::Debug for FlowBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowBuilder").field("rows", &self.rows).finish()
    }
}

impl FlowBuilder {
    /// Rows added since the last [`finish`](Self::finish).
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether no row was added since the last [`finish`](Self::finish).
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }
}

/// Every column of table `flows`, in order.
pub fn columns() -> &'static [Column] {
    &COLUMNS
}

/// What collectors send and Parquet files hold: every column but the derived ones.
pub fn stored_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> =
        LazyLock::new(|| Arc::new(Schema::new(fields(|column| !column.derived))));
    SCHEMA.clone()
}

/// What queries see: every column.
pub fn table_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(Schema::new(fields(|_| true))));
    SCHEMA.clone()
}

/// The column documentation as a Markdown page.
pub fn documentation() -> String {
    let mut page = String::from(
        "# Table `flows`\n\nGenerated from the schema table in `flow/src/schema`; a test compares.\n\n\
         | column | type | null | meaning |\n|---|---|---|---|\n",
    );
    for column in columns() {
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

fn fields(keep: impl Fn(&Column) -> bool) -> Vec<Field> {
    columns()
        .iter()
        .filter(|column| keep(column))
        .map(|column| Field::new(column.name, column.data_type.clone(), column.nullable))
        .collect()
}
