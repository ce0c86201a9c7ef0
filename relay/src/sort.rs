//! The order of rows in a file: one sorted batch for each hour of `time`, with one dictionary a
//! column.
//!
//! The order makes equal values neighbours where that saves most. Pods of a workload share nearly
//! all their labels, so the workloads of both ends come before their pods. In between stands what
//! kind of row it is: those of first packets are alike in all counters, and what they say of time
//! comes again, in the same order, in the rows of the rest. Then the connection; time last. Other
//! orders weighed up to 4 bytes a row more in `benches/ingest.rs`.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch, StringArray, UInt32Array,
};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Int32Type, TimestampNanosecondType, UInt16Type};
use arrow::error::ArrowError;
use rustc_hash::FxHashMap;
use weir_flow::schema::stored_schema;

/// Columns in which a file is sorted, within its hour; the last two are numbers.
pub const ORDER: &[&str] = &[
    "verdict",
    "source_workload",
    "destination_workload",
    "direction",
    "state",
    "source_pod",
    "destination_pod",
    "source_ip",
    "destination_ip",
    "destination_port",
    "source_port",
    "time",
];

/// Rows of more hours than this share files: only broken clocks spread so far.
const MAX_FILES: usize = 64;
const HOUR_NS: i64 = 3600 * 1_000_000_000;

/// One batch for each hour, oldest first, sorted by [`ORDER`].
///
/// # Errors
/// The batches are not of the stored schema, or hold more than an Arrow array can.
pub fn partitions(batches: &[RecordBatch]) -> Result<Vec<RecordBatch>, ArrowError> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if rows == 0 {
        return Ok(Vec::new());
    }
    let schema = stored_schema();
    let mut columns = Vec::with_capacity(schema.fields().len());
    for index in 0..schema.fields().len() {
        let arrays: Vec<&dyn Array> =
            batches.iter().map(|batch| batch.column(index).as_ref()).collect();
        columns.push(match arrays[0].data_type() {
            DataType::Dictionary(..) => unify(&arrays)?,
            _ => concat(&arrays)?,
        });
    }
    let all = RecordBatch::try_new(schema, columns)?;
    let order = order(&all);
    let mut parts = Vec::new();
    for part in order.chunk_by(|a, b| a.part == b.part) {
        let indices = UInt32Array::from_iter_values(part.iter().map(|row| row.row));
        let columns = all
            .columns()
            .iter()
            .map(|column| take(column, &indices, None))
            .collect::<Result<Vec<_>, _>>()?;
        parts.push(RecordBatch::try_new(all.schema(), columns)?);
    }
    Ok(parts)
}

/// Least `time` and greatest `end_time`.
pub fn time_range(batch: &RecordBatch) -> (i64, i64) {
    let values =
        |index: usize| batch.column(index).as_primitive::<TimestampNanosecondType>().values();
    let least = values(0).iter().copied().min().unwrap_or(0);
    let greatest = values(1).iter().copied().max().unwrap_or(0);
    (least, greatest)
}

/// What a row is sorted by. Fields are compared in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct SortRow {
    part: u32,
    key: Key,
    time: i64,
    row: u32,
}

/// Ranks packed one after another, the first in the highest bits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Key([u64; 4]);

impl Key {
    fn push(&mut self, rank: u64, bits: u32) {
        for word in 0..3 {
            self.0[word] = self.0[word] << bits | self.0[word + 1] >> (64 - bits);
        }
        self.0[3] = self.0[3] << bits | rank;
    }
}

fn order(all: &RecordBatch) -> Vec<SortRow> {
    let mut rows = parts(all);
    for name in ORDER {
        let Some(column) = all.column_by_name(name) else { continue };
        match column.data_type() {
            // One dictionary, sorted: its keys are ranks.
            DataType::Dictionary(..) => {
                let keys = column.as_dictionary::<Int32Type>();
                let bits = bits_for(keys.values().len() as u64);
                for (row, rank) in rows.iter_mut().zip(keys.keys_iter()) {
                    row.key.push(rank.map_or(0, |rank| rank as u64 + 1), bits);
                }
            }
            DataType::UInt16 => {
                for (row, port) in rows.iter_mut().zip(column.as_primitive::<UInt16Type>()) {
                    row.key.push(port.map_or(0, |port| u64::from(port) + 1), 17);
                }
            }
            // The time is compared by itself.
            _ => {}
        }
    }
    rows.sort_unstable();
    rows
}

/// Bits that hold 0..=`greatest`; at least one, so that shifts stay below a word.
fn bits_for(greatest: u64) -> u32 {
    (u64::BITS - greatest.leading_zeros()).max(1)
}

/// Every row with its time and its part, which is its hour as long as there are not too many.
fn parts(all: &RecordBatch) -> Vec<SortRow> {
    let times = all.column(0).as_primitive::<TimestampNanosecondType>().values();
    let mut hours: Vec<i64> = times.iter().map(|time| time.div_euclid(HOUR_NS)).collect();
    hours.dedup();
    hours.sort_unstable();
    hours.dedup();
    let hours_per_part = hours.len().div_ceil(MAX_FILES).max(1);
    let mut known = (i64::MIN, 0);
    (0u32..)
        .zip(times)
        .map(|(row, &time)| {
            let hour = time.div_euclid(HOUR_NS);
            if hour != known.0 {
                let index = hours.partition_point(|&other| other < hour);
                known = (hour, (index / hours_per_part) as u32);
            }
            SortRow { part: known.1, key: Key::default(), time, row }
        })
        .collect()
}

/// The arrays as one, with one sorted dictionary of the values that occur.
fn unify(arrays: &[&dyn Array]) -> Result<ArrayRef, ArrowError> {
    let mut ranks: FxHashMap<&str, i32> = FxHashMap::default();
    let mut used_values = Vec::with_capacity(arrays.len());
    for array in arrays {
        let array = array.as_dictionary::<Int32Type>();
        let values = array.values().as_string::<i32>();
        let mut used = vec![false; values.len()];
        for key in array.keys_iter().flatten() {
            used[key] = true;
        }
        for (index, _) in used.iter().enumerate().filter(|(_, used)| **used) {
            ranks.entry(values.value(index)).or_insert(0);
        }
        used_values.push((values, used));
    }
    let mut sorted: Vec<&str> = ranks.keys().copied().collect();
    sorted.sort_unstable();
    for (rank, value) in (0..).zip(&sorted) {
        ranks.insert(value, rank);
    }
    let all_keys: Vec<&dyn Array> = arrays
        .iter()
        .map(|array| array.as_dictionary::<Int32Type>().keys() as &dyn Array)
        .collect();
    let old = concat(&all_keys)?;
    let old = old.as_primitive::<Int32Type>();
    let mut keys = Vec::with_capacity(old.len());
    for (array, (values, used)) in arrays.iter().zip(used_values) {
        let new: Vec<i32> = used
            .iter()
            .enumerate()
            .map(|(index, used)| if *used { ranks[values.value(index)] } else { 0 })
            .collect();
        let array = array.as_dictionary::<Int32Type>();
        // What lies under a null is anything.
        keys.extend(array.keys().values().iter().map(|&key| {
            usize::try_from(key).ok().and_then(|key| new.get(key)).copied().unwrap_or(0)
        }));
    }
    let keys = Int32Array::try_new(keys.into(), old.nulls().cloned())?;
    let values: StringArray = StringArray::from_iter_values(sorted);
    Ok(Arc::new(DictionaryArray::try_new(keys, Arc::new(values))?))
}

#[cfg(test)]
mod tests;
