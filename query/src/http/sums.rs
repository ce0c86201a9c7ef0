//! What histograms, facets and groups have in common: which flows, over which time, and how their sums
//! are read.

use std::time::SystemTime;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, StringArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimestampNanosecondType, UInt64Type};
use arrow::record_batch::RecordBatch;
use serde::Serialize;
use weir_flow::schema::TimestampNs;

use super::App;
use super::error::ApiError;
use super::flows::time;
use crate::catalog::completeness::Completeness;
use crate::catalog::range::TimeRange;
use crate::engine::{Answer, By, Caller, Next, Request, SUMS, Selection, SumsRequest};
use crate::error::QueryError;
use crate::filter;

/// How far back is looked if nothing is said.
const SINCE: &str = "1h";

/// The flows of `filter` in `since..until`; without these, of the last hour.
pub(super) fn selection(
    filter: Option<&str>,
    since: Option<&str>,
    until: Option<&str>,
) -> Result<Selection, ApiError> {
    let now = SystemTime::now();
    let since_ns = time("since", since.unwrap_or(SINCE), now)?;
    let until_ns = time("until", until.unwrap_or("0s"), now)?;
    if since_ns >= until_ns {
        return Err(ApiError::invalid("since is not before until: there is nothing between"));
    }
    let parsed = filter::parse(filter.unwrap_or_default())?;
    let warnings = parsed.warnings.iter().map(ToString::to_string).collect();
    Ok(Selection { filter: parsed.filter, warnings, since_ns, until_ns })
}

impl Selection {
    /// Its time.
    pub(super) fn range(&self) -> TimeRange {
        TimeRange { from_ns: self.since_ns, until_ns: self.until_ns.saturating_sub(1) }
    }
}

/// A number from 1 on; `default` if none is said.
pub(super) fn number(
    name: &str,
    text: Option<&str>,
    default: usize,
    most: usize,
) -> Result<usize, ApiError> {
    let Some(text) = text else { return Ok(default) };
    match text.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(ApiError::invalid(format!("{name}={text:?}: use a number from 1 to {most}"))),
    }
}

/// The same three sums wherever flows are summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Totals {
    /// Verdicts: connections begun, or attempts.
    pub(super) count: u64,
    /// Of the sources.
    pub(super) bytes: u64,
    /// Of the destinations.
    pub(super) reply_bytes: u64,
}

impl Totals {
    pub(super) fn add(&mut self, more: Self) {
        self.count = self.count.saturating_add(more.count);
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.reply_bytes = self.reply_bytes.saturating_add(more.reply_bytes);
    }
}

/// How an answer came about.
#[derive(Debug, Serialize)]
pub(super) struct About {
    since: TimestampNs,
    until: TimestampNs,
    elapsed_ms: f64,
    bytes_scanned: Option<u64>,
    warnings: Vec<String>,
    completeness: Option<Completeness>,
}

/// Reads all sums of flows; every batch goes to `with`.
pub(super) async fn read(
    app: &App,
    caller: Caller,
    flows: &Selection,
    by: By,
    mut with: impl FnMut(&RecordBatch) -> Result<(), QueryError>,
) -> Result<About, QueryError> {
    let request = Request::Sums(SumsRequest { flows: flows.clone(), by });
    let mut answer = app.engine.run_whole(caller, request, usize::MAX).await?;
    loop {
        match answer.next().await? {
            Next::Batch(batch) => with(&batch)?,
            Next::End(end) => return Ok(about(&answer, flows, end.bytes_scanned)),
        }
    }
}

fn about(answer: &Answer, flows: &Selection, bytes_scanned: Option<u64>) -> About {
    About {
        since: TimestampNs(flows.since_ns),
        until: TimestampNs(flows.until_ns),
        elapsed_ms: (answer.started().elapsed().as_secs_f64() * 1e6).round() / 1e3,
        bytes_scanned,
        warnings: answer.warnings().to_vec(),
        completeness: answer.completeness().cloned(),
    }
}

/// The sums of each row.
pub(super) struct Sums([UInt64Array; 3]);

impl Sums {
    pub(super) fn of(batch: &RecordBatch) -> Result<Self, QueryError> {
        let [count, bytes, reply_bytes] = SUMS;
        Ok(Self([numbers(batch, count)?, numbers(batch, bytes)?, numbers(batch, reply_bytes)?]))
    }

    pub(super) fn row(&self, row: usize) -> Totals {
        let [count, bytes, reply_bytes] = &self.0;
        Totals {
            count: count.value(row),
            bytes: bytes.value(row),
            reply_bytes: reply_bytes.value(row),
        }
    }
}

/// A column of numbers.
pub(super) fn numbers(batch: &RecordBatch, name: &str) -> Result<UInt64Array, QueryError> {
    let column = cast(column(batch, name)?, &DataType::UInt64).map_err(|e| defect(&e))?;
    Ok(column.as_primitive::<UInt64Type>().clone())
}

/// A column as texts.
pub(super) fn texts(batch: &RecordBatch, name: &str) -> Result<StringArray, QueryError> {
    let column = cast(column(batch, name)?, &DataType::Utf8).map_err(|e| defect(&e))?;
    Ok(column.as_string::<i32>().clone())
}

/// A column of times.
pub(super) fn times(
    batch: &RecordBatch,
    name: &str,
) -> Result<TimestampNanosecondArray, QueryError> {
    let times = column(batch, name)?.as_primitive_opt::<TimestampNanosecondType>();
    times.cloned().ok_or_else(|| defect(&format!("column {name} has no times")))
}

/// A text of a row, if it has one.
pub(super) fn text(texts: &StringArray, row: usize) -> Option<String> {
    texts.is_valid(row).then(|| texts.value(row).to_owned())
}

/// A column by its name.
pub(super) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, QueryError> {
    batch.column_by_name(name).ok_or_else(|| defect(&format!("column {name} is missing")))
}

fn defect(cause: &dyn std::fmt::Display) -> QueryError {
    QueryError::Internal(cause.to_string())
}

#[cfg(test)]
mod tests;
