//! Which rows share a file, and their order in it: a file for each hour of `time`, allows apart from
//! denies, since these are kept for longer.
//!
//! The order makes equal values neighbours where that saves most. Pods of a workload share nearly
//! all their labels, so the workloads of both ends come before their pods. In between stands what
//! kind of row it is: those of first packets are alike in all counters, and what they say of time
//! comes again, in the same order, in the rows of the rest. Then the connection; time last. Other
//! orders weighed up to 4 bytes a row more in `benches/ingest.rs`.
//!
//! Of denies the latest are asked for most, and an hour of them is one file: they are in runs of some
//! minutes, newest first, and in that order within each, so that row groups differ in time.

use arrow::array::{Array as _, AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::{TimestampNanosecondType, UInt16Type};
use arrow::error::ArrowError;
use weir_flow::manifest::Verdicts;
use weir_flow::schema::stored_schema;
use weir_flow::values::Verdict;

use crate::columns::{Column, Columns, NULL};

/// Columns in which a file is sorted, or each of its runs; the last two are numbers.
pub(crate) const ORDER: &[&str] = &[
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
const MAX_HOURS: usize = 64;
const HOUR_NS: i64 = 3600 * 1_000_000_000;
/// Of denies. Each kind of deny is there once a run: an hour in runs of five minutes takes 2.5 bytes a deny
/// more than as one, of one minute 5.7.
const RUN_NS: i64 = HOUR_NS / RUNS as i64;
const RUNS: u32 = 12;

/// The rows of one file.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) verdicts: Verdicts,
    /// Sorted by [`ORDER`], or in runs that are.
    pub(crate) columns: Columns,
}

/// The rows of the batches by file, oldest hour first.
///
/// # Errors
/// The batches are not of the stored schema, or hold more than an Arrow array can.
pub(crate) fn partitions(batches: &[RecordBatch]) -> Result<Vec<Part>, ArrowError> {
    if batches.iter().all(|batch| batch.num_rows() == 0) {
        return Ok(Vec::new());
    }
    let all = Columns::merge(&stored_schema(), batches)?;
    let mut parts = Vec::new();
    for part in order(&all)?.chunk_by(|a, b| a.part() == b.part()) {
        let rows = UInt32Array::from_iter_values(part.iter().map(|row| row.row));
        let denies = part.first().is_some_and(|row| row.part() % 2 == 1);
        let verdicts = if denies { Verdicts::Deny } else { Verdicts::Allow };
        parts.push(Part { verdicts, columns: all.take(&rows)? });
    }
    Ok(parts)
}

/// Least `time` and greatest `end_time`.
///
/// # Errors
/// A column is missing.
pub(crate) fn time_range(columns: &Columns) -> Result<(i64, i64), ArrowError> {
    let least = times(columns, "time")?.iter().copied().min();
    let greatest = times(columns, "end_time")?.iter().copied().max();
    Ok((least.unwrap_or(0), greatest.unwrap_or(0)))
}

/// Whether rows are in the order of a file.
///
/// # Errors
/// A column is missing.
pub(crate) fn is_sorted(columns: &Columns) -> Result<bool, ArrowError> {
    let rows = order_keys(columns)?;
    Ok(rows.is_sorted_by_key(|row| (row.run, row.key, row.time)))
}

/// A column of times.
fn times<'a>(columns: &'a Columns, name: &str) -> Result<&'a [i64], ArrowError> {
    match columns.column(name)? {
        Column::Plain(array) => Ok(array.as_primitive::<TimestampNanosecondType>().values()),
        _ => Err(ArrowError::SchemaError(format!("column {name} is no time"))),
    }
}

/// What a row is sorted by. Fields are compared in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct SortRow {
    /// [`RUNS`] for each part.
    run: u32,
    key: Key,
    time: i64,
    row: u32,
}

impl SortRow {
    /// Twice the number of its hour, and one more for denies.
    fn part(&self) -> u32 {
        self.run / RUNS
    }
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

fn order(all: &Columns) -> Result<Vec<SortRow>, ArrowError> {
    let mut rows = order_keys(all)?;
    rows.sort_unstable();
    Ok(rows)
}

fn order_keys(all: &Columns) -> Result<Vec<SortRow>, ArrowError> {
    let mut rows = runs(all)?;
    for name in ORDER {
        match all.column(name)? {
            // The values are sorted: keys are ranks.
            Column::Text { values, keys } => {
                let bits = bits_for(values.len() as u64);
                for (row, &rank) in rows.iter_mut().zip(keys) {
                    row.key.push(if rank == NULL { 0 } else { u64::from(rank) + 1 }, bits);
                }
            }
            Column::Plain(array) => {
                // The time is compared by itself.
                let Some(ports) = array.as_primitive_opt::<UInt16Type>() else { continue };
                for (row, port) in rows.iter_mut().zip(ports) {
                    row.key.push(port.map_or(0, |port| u64::from(port) + 1), 17);
                }
            }
            Column::Lists { .. } => {}
        }
    }
    Ok(rows)
}

/// Bits that hold 0..=`greatest`; at least one, so that shifts stay below a word.
fn bits_for(greatest: u64) -> u32 {
    (u64::BITS - greatest.leading_zeros()).max(1)
}

/// Every row with its time and its run. Hours are numbered, as long as there are not too many.
fn runs(all: &Columns) -> Result<Vec<SortRow>, ArrowError> {
    let times = times(all, "time")?;
    let Column::Text { values, keys } = all.column("verdict")? else {
        return Err(ArrowError::SchemaError("column verdict is no text".into()));
    };
    let allow = values.iter().position(|verdict| verdict == Some(Verdict::Allow.as_str()));
    let allow = allow.map(|rank| rank as u32);
    let mut hours: Vec<i64> = times.iter().map(|time| time.div_euclid(HOUR_NS)).collect();
    hours.dedup();
    hours.sort_unstable();
    hours.dedup();
    let hours_per_part = hours.len().div_ceil(MAX_HOURS).max(1);
    let mut known = (i64::MIN, 0);
    let row = |((row, &time), &verdict): ((u32, &i64), &u32)| {
        let hour = time.div_euclid(HOUR_NS);
        if hour != known.0 {
            let index = hours.partition_point(|&other| other < hour);
            known = (hour, (index / hours_per_part) as u32);
        }
        let deny = Some(verdict) != allow;
        let part = 2 * known.1 + u32::from(deny);
        let later = if deny { RUNS - 1 - (time.rem_euclid(HOUR_NS) / RUN_NS) as u32 } else { 0 };
        SortRow { run: RUNS * part + later, key: Key::default(), time, row }
    };
    Ok((0..).zip(times).zip(keys).map(row).collect())
}

#[cfg(test)]
mod tests;
