//! `GET /api/v1/groups`: who talks to whom, each with its sums, when it was seen, and how it went over time.
//!
//! SQL can group as well, but it takes no filter of the Cloud Logging language, and needs two statements
//! of different moments for the sums of the largest groups over time. Here both are one plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array as _, UInt64Array};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_flow::schema::TimestampNs;

use super::App;
use super::axis::Axis;
use super::error::ApiError;
use super::sums::{About, Sums, Totals, number, numbers, read, selection, texts, times};
use super::who::Who;
use crate::engine::{BUCKET, By, Caller, GroupOrder, Measure, SEEN};
use crate::metrics::Door;

/// What flows of a group have in common.
const COLUMNS: [&str; 16] = [
    "cluster",
    "direction",
    "verdict",
    "reason",
    "policy",
    "protocol",
    PORT,
    "source_kind",
    "source_namespace",
    "source_workload_kind",
    "source_workload",
    "destination_kind",
    "destination_namespace",
    "destination_workload_kind",
    "destination_workload",
    "destination_service",
];
/// The one of them that is a number.
const PORT: &str = "destination_port";
const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 5_000;
const DEFAULT_BUCKETS: usize = 24;
const MAX_BUCKETS: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    #[serde(default)]
    filter: Option<String>,
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    until: Option<String>,
    #[serde(default)]
    order: Option<String>,
    #[serde(default)]
    limit: Option<String>,
    #[serde(default)]
    buckets: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Groups {
    step_seconds: f64,
    /// Where the buckets of `counts` begin.
    times: Vec<TimestampNs>,
    /// Those that are first in the order, in it.
    groups: Vec<Group>,
    /// Whether there are more groups.
    truncated: bool,
    #[serde(flatten)]
    about: About,
}

#[derive(Debug, Serialize)]
struct Group {
    #[serde(flatten)]
    key: BTreeMap<&'static str, Value>,
    #[serde(flatten)]
    total: Totals,
    first_seen: TimestampNs,
    last_seen: TimestampNs,
    /// Of `count`, by bucket.
    counts: Vec<u64>,
}

pub(super) async fn groups(
    State(app): State<Arc<App>>,
    Who(principal): Who,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Json<Groups>, ApiError> {
    let Query(asked) = parameters.map_err(|rejection| {
        ApiError::invalid(format!(
            "{}: known are filter, since, until, order, limit and buckets",
            rejection.body_text()
        ))
    })?;
    let flows = selection(asked.filter.as_deref(), asked.since.as_deref(), asked.until.as_deref())?;
    let order = order(asked.order.as_deref())?;
    let limit = number("limit", asked.limit.as_deref(), DEFAULT_LIMIT, MAX_LIMIT)?;
    let buckets = number("buckets", asked.buckets.as_deref(), DEFAULT_BUCKETS, MAX_BUCKETS)?;
    let axis = Axis::new(flows.since_ns, flows.until_ns, None, buckets)?;
    let caller = Caller::new(principal, Door::Groups, asked.filter.unwrap_or_default());
    let mut found: BTreeMap<Vec<Option<String>>, Group> = BTreeMap::new();
    // One more, to know whether there are more.
    let request = By::First { columns: &COLUMNS, order, limit: limit + 1, step_ns: axis.step_ns };
    let about = read(&app, caller, &flows, request, |batch| {
        let begins = times(batch, BUCKET)?;
        let keys = COLUMNS.iter().map(|name| texts(batch, name)).collect::<Result<Vec<_>, _>>()?;
        let ports = numbers(batch, PORT)?;
        let sums = Sums::of(batch)?;
        let [first, last] = SEEN;
        let (first, last) = (times(batch, first)?, times(batch, last)?);
        for row in 0..batch.num_rows() {
            let key: Vec<Option<String>> =
                keys.iter().map(|texts| super::sums::text(texts, row)).collect();
            let new = || Group {
                key: named(&key, &ports, row),
                total: Totals::default(),
                first_seen: TimestampNs(i64::MAX),
                last_seen: TimestampNs(i64::MIN),
                counts: vec![0; axis.buckets],
            };
            let group = found.entry(key.clone()).or_insert_with(new);
            group.total.add(sums.row(row));
            group.first_seen = group.first_seen.min(TimestampNs(first.value(row)));
            group.last_seen = group.last_seen.max(TimestampNs(last.value(row)));
            if let Some(count) = group.counts.get_mut(axis.bucket(begins.value(row))) {
                *count = count.saturating_add(sums.row(row).count);
            }
        }
        Ok(())
    });
    let about = about.await?;
    let mut groups: Vec<Group> = found.into_values().collect();
    groups.sort_by(|left, right| {
        let ascending = left.measured(order.by).cmp(&right.measured(order.by));
        if order.ascending { ascending } else { ascending.reverse() }
    });
    let truncated = groups.len() > limit;
    groups.truncate(limit);
    let (step_seconds, times) = (axis.step_seconds(), axis.times());
    Ok(Json(Groups { step_seconds, times, groups, truncated, about }))
}

impl Group {
    fn measured(&self, by: Measure) -> i128 {
        match by {
            Measure::Count => self.total.count.into(),
            Measure::Bytes => self.total.bytes.into(),
            Measure::ReplyBytes => self.total.reply_bytes.into(),
            Measure::FirstSeen => self.first_seen.0.into(),
            Measure::LastSeen => self.last_seen.0.into(),
        }
    }
}

/// `count`, or `count:asc` for the smallest first.
fn order(text: Option<&str>) -> Result<GroupOrder, ApiError> {
    let Some(text) = text else { return Ok(GroupOrder { by: Measure::Count, ascending: false }) };
    let (name, ascending) = match text.strip_suffix(":asc") {
        Some(name) => (name, true),
        None => (text, false),
    };
    let by = Measure::ALL.into_iter().find(|measure| measure.name() == name);
    by.map(|by| GroupOrder { by, ascending }).ok_or_else(|| {
        let names = Measure::ALL.map(Measure::name).join(", ");
        ApiError::invalid(format!(
            "order={text:?}: there are {names}, each the largest first, or the smallest with `:asc` behind it"
        ))
    })
}

/// What the flows have in common, by column.
fn named(key: &[Option<String>], ports: &UInt64Array, row: usize) -> BTreeMap<&'static str, Value> {
    let named = COLUMNS.into_iter().zip(key).map(|(name, text)| {
        let value = match name {
            PORT if ports.is_valid(row) => ports.value(row).into(),
            _ => text.clone().into(),
        };
        (name, value)
    });
    named.collect()
}
