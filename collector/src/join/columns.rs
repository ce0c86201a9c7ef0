//! The columns of a batch while rows are added.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, RecordBatch, TimestampNanosecondArray, UInt8Array, UInt16Array, UInt64Array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::error::ArrowError;
use weir_abi::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP};
use weir_flow::schema::sent_schema;
use weir_flow::values::protocol_name;

use super::row::Row;
use super::rules::Rules;
use super::side::Sides;
use super::texts::{DIRECTIONS, REASONS, STATES, Texts, VERDICTS, constant, dictionary, words};
use crate::directory::Directory;
use crate::kernel::MonotonicClock;

/// Columns side by side; row *n* is the *n*th value of each.
#[derive(Debug, Default)]
pub(super) struct Columns {
    time: Vec<i64>,
    end_time: Vec<i64>,
    direction: Vec<u8>,
    verdict: Vec<u8>,
    reason: Vec<u8>,
    rules: Rules,
    revision: Vec<u64>,
    protocol: Vec<u8>,
    source: Sides,
    source_port: Vec<u16>,
    destination: Sides,
    destination_port: Vec<u16>,
    tcp_flags: Vec<u8>,
    icmp_type: Vec<u8>,
    icmp_code: Vec<u8>,
    count: Vec<u64>,
    packets: Vec<u64>,
    bytes: Vec<u64>,
    reply_packets: Vec<u64>,
    reply_bytes: Vec<u64>,
    duration_ns: Vec<Option<u64>>,
    rtt_ns: Vec<u64>,
    state: Vec<u8>,
}

impl Columns {
    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.time.len()
    }

    /// Names may have changed.
    pub(super) fn directory_changed(&mut self) {
        self.source.directory_changed();
        self.destination.directory_changed();
    }

    /// Adds a row. Returns its times.
    pub(super) fn push(
        &mut self,
        row: &Row,
        directory: &Directory,
        clock: MonotonicClock,
    ) -> (i64, i64) {
        let (time, end) = (clock.to_utc_ns(row.time_ns), clock.to_utc_ns(row.end_ns));
        let end = if row.end_by_tick { whole_milliseconds(end).max(time) } else { end };
        self.time.push(time);
        self.end_time.push(end);
        self.direction.push(row.direction);
        self.verdict.push(row.verdict);
        self.reason.push(row.reason);
        self.rules.push(row.rule_sets, directory);
        self.revision.push(row.revision);
        self.protocol.push(row.protocol);
        self.source.push(row.source, row.named_ns, directory);
        self.source_port.push(row.source_port);
        self.destination.push(row.destination, row.named_ns, directory);
        self.destination_port.push(row.destination_port);
        self.tcp_flags.push(row.tcp_flags);
        self.icmp_type.push(row.icmp_type);
        self.icmp_code.push(row.icmp_code);
        self.count.push(row.count);
        self.packets.push(row.packets);
        self.bytes.push(row.bytes);
        self.reply_packets.push(row.reply_packets);
        self.reply_bytes.push(row.reply_bytes);
        self.duration_ns.push(row.duration_ns);
        self.rtt_ns.push(row.rtt_ns);
        self.state.push(row.state as u8);
        (time, end)
    }

    /// The rows as a batch.
    pub(super) fn finish(self, cluster: &str, node: &str) -> Result<RecordBatch, ArrowError> {
        let rows = self.len();
        let of_protocols = |protocols: &[u8]| {
            let valid =
                BooleanBuffer::collect_bool(rows, |row| protocols.contains(&self.protocol[row]));
            Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0)
        };
        let with_ports = of_protocols(&[PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_SCTP]);
        let tcp = of_protocols(&[PROTOCOL_TCP]);
        let icmp = of_protocols(&[PROTOCOL_ICMP, PROTOCOL_ICMPV6]);
        let protocol = protocols(&self.protocol)?;
        let (policies, policy) = self.rules.finish()?;
        let source = self.source.finish()?;
        let destination = self.destination.finish()?;
        let columns: Vec<ArrayRef> = vec![
            times(self.time),
            times(self.end_time),
            constant(cluster, rows)?,
            constant(node, rows)?,
            words(&self.direction, &DIRECTIONS)?,
            words(&self.verdict, &VERDICTS)?,
            words(&self.reason, &REASONS)?,
            policies,
            policy,
            numbers(self.revision),
            protocol,
            source.ip,
            ports(self.source_port, with_ports.clone()),
            destination.ip,
            ports(self.destination_port, with_ports),
            bytes(self.tcp_flags, tcp),
            bytes(self.icmp_type, icmp.clone()),
            bytes(self.icmp_code, icmp),
            source.kind,
            source.namespace,
            source.pod,
            source.workload_kind,
            source.workload,
            source.labels,
            source.node,
            source.names,
            destination.kind,
            destination.namespace,
            destination.pod,
            destination.workload_kind,
            destination.workload,
            destination.labels,
            destination.node,
            destination.names,
            destination.service,
            numbers(self.count),
            numbers(self.packets),
            numbers(self.bytes),
            numbers(self.reply_packets),
            numbers(self.reply_bytes),
            Arc::new(UInt64Array::from(self.duration_ns)),
            numbers_or_null(self.rtt_ns),
            words(&self.state, &STATES)?,
        ];
        RecordBatch::try_new(sent_schema(), columns)
    }
}

/// Rounded down. Finer digits of a time by the tick mean nothing, and cost most of a row on disk.
fn whole_milliseconds(ns: i64) -> i64 {
    ns - ns.rem_euclid(1_000_000)
}

fn times(values: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::new(values.into(), None).with_timezone("UTC"))
}

fn numbers(values: Vec<u64>) -> ArrayRef {
    Arc::new(UInt64Array::new(values.into(), None))
}

/// Zero stands for unknown.
fn numbers_or_null(values: Vec<u64>) -> ArrayRef {
    let valid = BooleanBuffer::collect_bool(values.len(), |row| values[row] != 0);
    Arc::new(UInt64Array::new(values.into(), Some(NullBuffer::new(valid))))
}

fn ports(values: Vec<u16>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(UInt16Array::new(values.into(), nulls))
}

fn bytes(values: Vec<u8>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(UInt8Array::new(values.into(), nulls))
}

fn protocols(numbers: &[u8]) -> Result<ArrayRef, ArrowError> {
    let mut texts = Texts::default();
    let mut keys = [None; 256];
    let rows = numbers
        .iter()
        .map(|number| {
            *keys[usize::from(*number)].get_or_insert_with(|| texts.key(&protocol_name(*number)))
        })
        .collect();
    dictionary(rows, texts.finish())
}
