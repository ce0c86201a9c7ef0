//! The roll-up of a file of flows: its rows by workloads and minute. No I/O.
//!
//! It is made of the very rows of the file, when the file is, so it is right whenever the file is,
//! however late its rows were.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray, StringArray, TimestampNanosecondArray, UInt16Array, UInt64Array,
};
use arrow::datatypes::{TimestampNanosecondType, UInt16Type, UInt64Type};
use arrow::error::ArrowError;
use rustc_hash::FxHashMap;
use weir_flow::schema::edges::edge_schema;

use crate::columns::{Column, Columns, NULL};

const MINUTE_NS: i64 = 60 * 1_000_000_000;
/// Columns of text that tell edges apart.
const TEXTS: usize = 15;

/// What tells edges apart: the minute, the port and the keys of the texts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct EdgeKey {
    texts: [u32; TEXTS],
    port: u32,
    minute: i64,
}

/// Rows and the five counters.
type Sums = [u64; 6];
/// Of the flows, in the order of [`Sums`] after the rows.
const COUNTERS: [&str; 5] = ["count", "packets", "bytes", "reply_packets", "reply_bytes"];

/// A column of text.
type Text<'a> = (&'a Arc<StringArray>, &'a [u32]);

/// The edges of flows, of [`edge_schema`], sorted by its text, each of them once.
///
/// # Errors
/// The columns are not those of flows.
pub(crate) fn edges(flows: &Columns) -> Result<Columns, ArrowError> {
    let schema = edge_schema();
    let mut names = Vec::new();
    let mut texts: Vec<Text<'_>> = Vec::new();
    for field in schema.fields() {
        if let Ok(Column::Text { values, keys }) = flows.column(field.name()) {
            names.push(field.name().as_str());
            texts.push((values, keys));
        }
    }
    let texts: [Text<'_>; TEXTS] = texts
        .try_into()
        .map_err(|_| ArrowError::SchemaError(format!("an edge has {TEXTS} columns of text")))?;
    let groups = group(flows, texts.map(|(_, keys)| keys))?;

    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let name = field.name().as_str();
        let counter = COUNTERS.iter().position(|counter| *counter == name);
        let text = names.iter().position(|text| *text == name);
        columns.push(match (name, text, counter) {
            (_, Some(text), _) => Column::Text {
                values: texts[text].0.clone(),
                keys: groups.iter().map(|(key, _)| key.texts[text]).collect(),
            },
            (_, _, Some(counter)) => sums(&groups, counter + 1),
            ("flow_rows", ..) => sums(&groups, 0),
            ("destination_port", ..) => {
                let ports = groups.iter().map(|(key, _)| u16::try_from(key.port).ok());
                Column::Plain(Arc::new(ports.collect::<UInt16Array>()))
            }
            ("time", ..) => {
                let times = groups.iter().map(|(key, _)| key.minute.saturating_mul(MINUTE_NS));
                let times = TimestampNanosecondArray::from_iter_values(times);
                Column::Plain(Arc::new(times.with_timezone("UTC")))
            }
            _ => return Err(ArrowError::SchemaError(format!("no rule for column {name}"))),
        });
    }
    Ok(Columns { schema, columns, rows: groups.len() })
}

fn group(flows: &Columns, texts: [&[u32]; TEXTS]) -> Result<Vec<(EdgeKey, Sums)>, ArrowError> {
    let times = plain(flows, "time")?.as_primitive::<TimestampNanosecondType>().values();
    let ports = plain(flows, "destination_port")?.as_primitive::<UInt16Type>();
    let mut counters: [&[u64]; COUNTERS.len()] = [&[]; COUNTERS.len()];
    for (counter, name) in counters.iter_mut().zip(COUNTERS) {
        *counter = plain(flows, name)?.as_primitive::<UInt64Type>().values();
    }
    let mut known: FxHashMap<EdgeKey, usize> = FxHashMap::default();
    let mut groups: Vec<(EdgeKey, Sums)> = Vec::new();
    let mut last = usize::MAX;
    for row in 0..flows.rows {
        let key = EdgeKey {
            texts: texts.map(|keys| keys[row]),
            port: if ports.is_null(row) { NULL } else { u32::from(ports.value(row)) },
            minute: times[row].div_euclid(MINUTE_NS),
        };
        // Neighbours are alike more often than not.
        if groups.get(last).is_none_or(|(of_last, _)| *of_last != key) {
            last = *known.entry(key).or_insert_with(|| {
                groups.push((key, Sums::default()));
                groups.len() - 1
            });
        }
        let sums = &mut groups[last].1;
        sums[0] += 1;
        for (sum, counter) in sums[1..].iter_mut().zip(counters) {
            *sum = sum.saturating_add(counter[row]);
        }
    }
    groups.sort_unstable_by_key(|(key, _)| *key);
    Ok(groups)
}

fn sums(groups: &[(EdgeKey, Sums)], at: usize) -> Column {
    let sums = UInt64Array::from_iter_values(groups.iter().map(|(_, sums)| sums[at]));
    Column::Plain(Arc::new(sums))
}

fn plain<'a>(flows: &'a Columns, name: &str) -> Result<&'a ArrayRef, ArrowError> {
    match flows.column(name)? {
        Column::Plain(array) => Ok(array),
        _ => Err(ArrowError::SchemaError(format!("column {name} is no number"))),
    }
}

#[cfg(test)]
mod tests;
