//! From rows to Arrow columns, column by column, with every text made once.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, DictionaryArray, Int32Array, ListArray, MapArray, RecordBatch,
    StringArray, StructArray, TimestampNanosecondArray, UInt8Array, UInt16Array, UInt32Array,
    UInt64Array,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Fields};

use super::cluster::{Cluster, Endpoint, node_name};
use super::traffic::Row;
use crate::schema::{columns, sent_schema};
use crate::values::{Direction, EndpointKind, Reason, State, Verdict, protocol_name};

/// Dictionaries and everything that is the same for all rows of an endpoint.
#[derive(Debug)]
pub(super) struct Columns {
    cluster: Arc<StringArray>,
    nodes: Arc<StringArray>,
    directions: Arc<StringArray>,
    verdicts: Arc<StringArray>,
    reasons: Arc<StringArray>,
    states: Arc<StringArray>,
    kinds: Arc<StringArray>,
    protocols: Arc<StringArray>,
    policies: Arc<StringArray>,
    addresses: Arc<StringArray>,
    namespaces: Arc<StringArray>,
    pods: Arc<StringArray>,
    workload_kinds: Arc<StringArray>,
    workloads: Arc<StringArray>,
    services: Arc<StringArray>,
    labels: Vec<LabelText>,
}

/// An endpoint's labels, ready to be copied.
#[derive(Debug, Default)]
struct LabelText {
    count: usize,
    keys: Text,
    values: Text,
}

/// Strings one after another.
#[derive(Debug, Default)]
struct Text {
    bytes: Vec<u8>,
    ends: Vec<i32>,
}

impl Text {
    fn push(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
        self.ends.push(self.bytes.len() as i32);
    }

    fn extend(&mut self, other: &Text) {
        let base = self.bytes.len() as i32;
        self.bytes.extend_from_slice(&other.bytes);
        self.ends.extend(other.ends.iter().map(|end| base + end));
    }

    fn finish(self) -> StringArray {
        let offsets: Vec<i32> = std::iter::once(0).chain(self.ends).collect();
        StringArray::new(OffsetBuffer::new(offsets.into()), Buffer::from_vec(self.bytes), None)
    }
}

fn words<T>(all: &[T], word: impl Fn(&T) -> &'static str) -> Arc<StringArray> {
    Arc::new(StringArray::from_iter_values(all.iter().map(word)))
}

fn texts(all: impl Iterator<Item = String>) -> Arc<StringArray> {
    Arc::new(StringArray::from_iter_values(all))
}

const WORKLOAD_KINDS: [&str; 2] = ["Deployment", "StatefulSet"];
const PROTOCOLS: [u8; 3] = [1, 6, 17];

impl Columns {
    pub(super) fn new(name: &str, cluster: &Cluster) -> Self {
        let workloads = &cluster.workloads;
        Self {
            cluster: texts(std::iter::once(name.to_owned())),
            nodes: texts((0..cluster.nodes).map(node_name)),
            directions: words(Direction::ALL, |word| word.as_str()),
            verdicts: words(Verdict::ALL, |word| word.as_str()),
            reasons: words(Reason::ALL, |word| word.as_str()),
            states: words(State::ALL, |word| word.as_str()),
            kinds: words(EndpointKind::ALL, |word| word.as_str()),
            protocols: texts(PROTOCOLS.iter().map(|&number| protocol_name(number).into_owned())),
            policies: texts(cluster.policies.iter().map(|set| set.text.clone())),
            addresses: texts(cluster.endpoints.iter().map(|end| end.address.to_string())),
            namespaces: texts(cluster.namespaces.iter().cloned()),
            pods: texts(cluster.endpoints[..cluster.pods].iter().map(|pod| pod.name.clone())),
            workload_kinds: texts(WORKLOAD_KINDS.iter().map(|kind| (*kind).to_owned())),
            workloads: texts(workloads.iter().map(|workload| workload.name.clone())),
            services: texts(workloads.iter().map(|workload| {
                format!("{}/{}", cluster.namespaces[workload.namespace], workload.name)
            })),
            labels: cluster.endpoints.iter().map(label_text).collect(),
        }
    }

    pub(super) fn build(&self, cluster: &Cluster, rows: &[Row]) -> RecordBatch {
        let built = columns()
            .iter()
            .filter(|column| !column.derived)
            .map(|column| self.column(column.name, &column.data_type, cluster, rows))
            .collect();
        RecordBatch::try_new(sent_schema(), built).expect("each column is built for its type")
    }

    fn column(
        &self,
        name: &str,
        data_type: &DataType,
        cluster: &Cluster,
        rows: &[Row],
    ) -> ArrayRef {
        let end: fn(&Row) -> usize =
            if name.starts_with("source_") { |row| row.source } else { |row| row.destination };
        let shared = name.strip_prefix("source_").or_else(|| name.strip_prefix("destination_"));
        let shared = shared.and_then(|name| self.end(name, data_type, cluster, rows, end));
        if let Some(column) = shared {
            return column;
        }
        let numbers = |value: fn(&Row) -> u64| -> ArrayRef {
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(value)))
        };
        let maybe = |value: fn(&Row) -> Option<u64>| -> ArrayRef {
            Arc::new(rows.iter().map(value).collect::<UInt64Array>())
        };
        let bytes = |value: fn(&Row) -> Option<u8>| -> ArrayRef {
            Arc::new(rows.iter().map(value).collect::<UInt8Array>())
        };
        let ports = |value: fn(&Row) -> Option<u16>| -> ArrayRef {
            Arc::new(rows.iter().map(value).collect::<UInt16Array>())
        };
        let times = |value: fn(&Row) -> i64| -> ArrayRef {
            let times = TimestampNanosecondArray::from_iter_values(rows.iter().map(value));
            Arc::new(times.with_timezone("UTC"))
        };
        let echo = |row: &Row| (row.protocol == 1).then_some(8);
        match name {
            "time" => times(|row| row.time),
            "end_time" => times(|row| row.end_time),
            "cluster" => text(&self.cluster, rows, |_| Some(0)),
            "node" => text(&self.nodes, rows, |row| observer(cluster, row)),
            "direction" => text(&self.directions, rows, |row| Some(row.direction as usize)),
            "verdict" => text(&self.verdicts, rows, |row| Some(row.verdict as usize)),
            "reason" => text(&self.reasons, rows, |row| Some(row.reason as usize)),
            "policies" => distinct(
                rows,
                cluster.policies.len(),
                |row| row.policies,
                |used| policies(data_type, cluster, used),
            ),
            "policy" => text(&self.policies, rows, |row| Some(row.policies)),
            // A new policy set every ten minutes.
            "policy_revision" => numbers(|row| (row.time / 600_000_000_000) as u64),
            "protocol" => text(&self.protocols, rows, |row| {
                PROTOCOLS.iter().position(|&number| number == row.protocol)
            }),
            "source_port" => ports(|row| row.source_port),
            "destination_port" => ports(|row| row.destination_port),
            "tcp_flags" => bytes(|row| row.tcp_flags),
            "icmp_type" => Arc::new(rows.iter().map(echo).collect::<UInt8Array>()),
            "icmp_code" => bytes(|row| (row.protocol == 1).then_some(0)),
            "destination_service" => text(&self.services, rows, |row| row.service),
            "count" => numbers(|row| row.count),
            "packets" => numbers(|row| row.packets),
            "bytes" => numbers(|row| row.bytes),
            "reply_packets" => numbers(|row| row.reply_packets),
            "reply_bytes" => numbers(|row| row.reply_bytes),
            "duration_ns" => maybe(|row| row.duration),
            "rtt_ns" => maybe(|row| row.rtt),
            "state" => text(&self.states, rows, |row| Some(row.state as usize)),
            other => unreachable!("a test builds every column, and {other} is none of them"),
        }
    }

    /// A column that both ends have; `None` for a name that only looks like one.
    fn end(
        &self,
        name: &str,
        data_type: &DataType,
        cluster: &Cluster,
        rows: &[Row],
        end: fn(&Row) -> usize,
    ) -> Option<ArrayRef> {
        let workload = |row: &Row| cluster.workload_of(end(row));
        let endpoint = |row: &Row| &cluster.endpoints[end(row)];
        Some(match name {
            "ip" => text(&self.addresses, rows, |row| Some(end(row))),
            "kind" => text(&self.kinds, rows, |row| Some(endpoint(row).kind as usize)),
            "namespace" => text(&self.namespaces, rows, |row| workload(row).map(|w| w.namespace)),
            "pod" => text(&self.pods, rows, |row| endpoint(row).workload.map(|_| end(row))),
            "workload_kind" => text(&self.workload_kinds, rows, |row| {
                let kind = workload(row)?.kind;
                WORKLOAD_KINDS.iter().position(|other| *other == kind)
            }),
            "workload" => text(&self.workloads, rows, |row| endpoint(row).workload),
            "node" => text(&self.nodes, rows, |row| endpoint(row).node),
            "labels" => {
                distinct(rows, cluster.endpoints.len(), end, |used| self.labels(data_type, used))
            }
            "names" => distinct(rows, cluster.endpoints.len(), end, |used| {
                names(data_type, used.iter().map(|&end| &cluster.endpoints[end].names))
            }),
            _ => return None,
        })
    }

    fn labels(&self, data_type: &DataType, ends: &[usize]) -> ArrayRef {
        let DataType::Map(entry, sorted) = data_type else { unreachable!("labels are a map") };
        let (mut keys, mut values) = (Text::default(), Text::default());
        for &end in ends {
            let labels = &self.labels[end];
            keys.extend(&labels.keys);
            values.extend(&labels.values);
        }
        let offsets = OffsetBuffer::from_lengths(ends.iter().map(|&end| self.labels[end].count));
        let entries = StructArray::new(
            struct_fields(entry.data_type()),
            vec![Arc::new(keys.finish()), Arc::new(values.finish())],
            None,
        );
        Arc::new(MapArray::new(entry.clone(), offsets, entries, None, *sorted))
    }
}

/// The node whose pod is the enforced one.
fn observer(cluster: &Cluster, row: &Row) -> Option<usize> {
    let end = if row.direction == Direction::Egress { row.source } else { row.destination };
    cluster.endpoints[end].node
}

fn label_text(endpoint: &Endpoint) -> LabelText {
    let mut text = LabelText { count: endpoint.labels.len(), ..LabelText::default() };
    for (key, value) in &endpoint.labels {
        text.keys.push(key);
        text.values.push(value);
    }
    text
}

/// Like a collector's: the dictionary has what the rows use, in the order in which they do.
fn text(
    values: &Arc<StringArray>,
    rows: &[Row],
    index: impl Fn(&Row) -> Option<usize>,
) -> ArrayRef {
    let (keys, used) = used(rows, values.len(), index);
    let mut texts = Text::default();
    used.into_iter().for_each(|index| texts.push(values.value(index)));
    Arc::new(DictionaryArray::new(keys, Arc::new(texts.finish())))
}

/// The same of lists and maps, which `build` makes of the numbers of those in use.
fn distinct(
    rows: &[Row],
    count: usize,
    index: impl Fn(&Row) -> usize,
    build: impl FnOnce(&[usize]) -> ArrayRef,
) -> ArrayRef {
    let (keys, used) = used(rows, count, |row| Some(index(row)));
    Arc::new(DictionaryArray::new(keys, build(&used)))
}

/// The numbers that rows use, of so many, and the place of each row's among them.
fn used(
    rows: &[Row],
    count: usize,
    index: impl Fn(&Row) -> Option<usize>,
) -> (Int32Array, Vec<usize>) {
    const UNUSED: i32 = -1;
    let mut places = vec![UNUSED; count];
    let mut used = Vec::new();
    let keys = rows
        .iter()
        .map(|row| {
            let index = index(row)?;
            if places[index] == UNUSED {
                places[index] = used.len() as i32;
                used.push(index);
            }
            Some(places[index])
        })
        .collect();
    (keys, used)
}

fn names<'a>(data_type: &DataType, all: impl Iterator<Item = &'a Vec<String>> + Clone) -> ArrayRef {
    let DataType::List(item) = data_type else { unreachable!("names are a list") };
    let mut values = Text::default();
    all.clone().flatten().for_each(|name| values.push(name));
    let offsets = OffsetBuffer::from_lengths(all.map(Vec::len));
    Arc::new(ListArray::new(item.clone(), offsets, Arc::new(values.finish()), None))
}

fn policies(data_type: &DataType, cluster: &Cluster, sets: &[usize]) -> ArrayRef {
    let DataType::List(item) = data_type else { unreachable!("policies are a list") };
    let (mut kinds, mut namespaces, mut names) =
        (Text::default(), Text::default(), Text::default());
    let mut rules: Vec<Option<u32>> = Vec::with_capacity(sets.len());
    let mut offsets = Vec::with_capacity(sets.len() + 1);
    offsets.push(0);
    for &set in sets {
        for rule in &cluster.policies[set].rules {
            kinds.push(&rule.kind);
            namespaces.push(&rule.namespace);
            names.push(&rule.name);
            rules.push(rule.rule);
        }
        offsets.push(rules.len() as i32);
    }
    let rules = StructArray::new(
        struct_fields(item.data_type()),
        vec![
            Arc::new(kinds.finish()),
            Arc::new(namespaces.finish()),
            Arc::new(names.finish()),
            Arc::new(UInt32Array::from(rules)),
        ],
        None,
    );
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    Arc::new(ListArray::new(item.clone(), offsets, Arc::new(rules), None))
}

fn struct_fields(data_type: &DataType) -> Fields {
    let DataType::Struct(fields) = data_type else { unreachable!("the items are structs") };
    fields.clone()
}
