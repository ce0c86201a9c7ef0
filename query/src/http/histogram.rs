//! `GET /api/v1/histogram`: sums of flows by time, what was lost meanwhile, and when policies changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use weir_flow::schema::TimestampNs;
use weir_flow::schema::loss::{BEHIND_STORE, LossRow};

use super::App;
use super::axis::Axis;
use super::error::ApiError;
use super::sums::{About, Sums, Totals, number, read, selection, text, texts, times};
use super::who::Who;
use crate::catalog::history::Change;
use crate::catalog::names;
use crate::engine::{BUCKET, By, Caller};
use crate::metrics::Door;

const DEFAULT_BUCKETS: usize = 60;
const MAX_BUCKETS: usize = 1_000;
/// What series may be of: columns that have few values.
const BY: [&str; 6] =
    ["verdict", "reason", "direction", "state", "source_kind", "destination_kind"];
/// Most of them at a time.
const MAX_BY: usize = 2;
/// Most gaps of an answer.
const MAX_GAPS: usize = 500;
/// Most changes of policies of an answer.
const MAX_CHANGES: usize = 500;

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
    buckets: Option<String>,
    #[serde(default)]
    step: Option<String>,
    #[serde(default)]
    by: Option<String>,
}

/// The answer. Lists of numbers have one for each of `times`.
#[derive(Debug, Serialize)]
pub(super) struct Histogram {
    step_seconds: f64,
    /// Where the buckets begin; the first may begin before `since`, what is in it does not.
    times: Vec<TimestampNs>,
    by: Vec<&'static str>,
    /// The largest first.
    series: Vec<Series>,
    total: Totals,
    gaps: Vec<Gap>,
    /// Further gaps that are not listed.
    more_gaps: usize,
    policy_changes: Vec<Marked>,
    /// Further changes that are not listed.
    more_policy_changes: usize,
    #[serde(flatten)]
    about: About,
}

/// The flows of one verdict, say.
#[derive(Debug, Serialize)]
struct Series {
    /// What they have in common.
    key: BTreeMap<&'static str, Option<String>>,
    total: Totals,
    count: Vec<u64>,
    bytes: Vec<u64>,
    reply_bytes: Vec<u64>,
}

/// What is in no row: nobody knows in which of its buckets.
#[derive(Debug, Serialize)]
struct Gap {
    first_bucket: usize,
    last_bucket: usize,
    time: TimestampNs,
    end_time: TimestampNs,
    stage: String,
    verdict: String,
    unit: String,
    reason: String,
    count: u64,
}

#[derive(Debug, Serialize)]
struct Marked {
    bucket: usize,
    #[serde(flatten)]
    change: Change,
}

pub(super) async fn histogram(
    State(app): State<Arc<App>>,
    Who(principal): Who,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Json<Histogram>, ApiError> {
    let Query(asked) = parameters.map_err(|rejection| {
        ApiError::invalid(format!(
            "{}: known are filter, since, until, buckets, step and by",
            rejection.body_text()
        ))
    })?;
    if asked.step.is_some() && asked.buckets.is_some() {
        return Err(ApiError::invalid("say either step or buckets"));
    }
    let flows = selection(asked.filter.as_deref(), asked.since.as_deref(), asked.until.as_deref())?;
    let buckets = number("buckets", asked.buckets.as_deref(), DEFAULT_BUCKETS, MAX_BUCKETS)?;
    let axis = Axis::new(flows.since_ns, flows.until_ns, asked.step.as_deref(), buckets)?;
    let by = columns(asked.by.as_deref().unwrap_or("verdict"))?;
    let caller = Caller::new(principal.clone(), Door::Histogram, asked.filter.unwrap_or_default());

    let mut series: BTreeMap<Vec<Option<String>>, Series> = BTreeMap::new();
    let mut total = Totals::default();
    let request = By::Time { step_ns: axis.step_ns, columns: by.clone() };
    let about = read(&app, caller.clone(), &flows, request, |batch| {
        let begins = times(batch, BUCKET)?;
        let keys = by.iter().map(|name| texts(batch, name)).collect::<Result<Vec<_>, _>>()?;
        let sums = Sums::of(batch)?;
        for row in 0..batch.num_rows() {
            let key: Vec<Option<String>> = keys.iter().map(|texts| text(texts, row)).collect();
            let named = || by.iter().copied().zip(key.iter().cloned()).collect();
            let of_key = series.entry(key.clone()).or_insert_with(|| Series::new(named(), &axis));
            of_key.add(axis.bucket(begins.value(row)), sums.row(row));
            total.add(sums.row(row));
        }
        Ok(())
    });
    let about = about.await?;
    let mut series: Vec<Series> = series.into_values().collect();
    series.sort_by_key(|series| std::cmp::Reverse(series.total.count));

    let (gaps, more_gaps) = gaps(&axis, &app.engine.losses(flows.range()).await?);
    let changed = app.engine.compute(caller, move |history, _| {
        let changes = history.policy_changes(flows.since_ns, flows.until_ns);
        let seen = changes.into_iter().filter(|change| {
            change.namespace.is_empty() || principal.namespaces.has(&change.namespace)
        });
        Ok(seen.collect::<Vec<Change>>())
    });
    let changed = changed.await?;
    let more_policy_changes = changed.len().saturating_sub(MAX_CHANGES);
    // The latest are those that are looked for.
    let policy_changes = changed.into_iter().skip(more_policy_changes);
    let policy_changes = policy_changes
        .map(|change| Marked { bucket: axis.bucket(change.time.0), change })
        .collect();
    Ok(Json(Histogram {
        step_seconds: axis.step_seconds(),
        times: axis.times(),
        by,
        series,
        total,
        gaps,
        more_gaps,
        policy_changes,
        more_policy_changes,
        about,
    }))
}

impl Series {
    fn new(key: BTreeMap<&'static str, Option<String>>, axis: &Axis) -> Self {
        let zeros = || vec![0; axis.buckets];
        Self { key, total: Totals::default(), count: zeros(), bytes: zeros(), reply_bytes: zeros() }
    }

    fn add(&mut self, bucket: usize, more: Totals) {
        self.total.add(more);
        let sums = [
            (&mut self.count, more.count),
            (&mut self.bytes, more.bytes),
            (&mut self.reply_bytes, more.reply_bytes),
        ];
        for (sums, more) in sums {
            if let Some(sum) = sums.get_mut(bucket) {
                *sum = sum.saturating_add(more);
            }
        }
    }
}

/// `verdict,reason`: columns of which there are few values.
fn columns(text: &str) -> Result<Vec<&'static str>, ApiError> {
    let known = |name: &str| {
        BY.into_iter().find(|column| *column == name).ok_or_else(|| {
            let near = names::nearest(name, BY.into_iter());
            let meant = near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
            let all = BY.join(", ");
            ApiError::invalid(format!(
                "by={text:?}: there are no series by `{name}`{meant} There are {all}"
            ))
        })
    };
    let mut columns =
        text.split(',').map(|name| known(name.trim())).collect::<Result<Vec<_>, _>>()?;
    columns.dedup();
    if columns.len() > MAX_BY {
        return Err(ApiError::invalid(format!("by={text:?}: {MAX_BY} columns are possible")));
    }
    Ok(columns)
}

/// What was lost, by buckets and kind, the largest first, and how much more there is.
fn gaps(axis: &Axis, losses: &[LossRow]) -> (Vec<Gap>, usize) {
    let mut found: BTreeMap<(usize, usize, [&str; 4]), Gap> = BTreeMap::new();
    let missing = |row: &&LossRow| row.count > 0 && !BEHIND_STORE.contains(&row.stage.as_str());
    for row in losses.iter().filter(missing) {
        let (first_bucket, last_bucket) = (axis.bucket(row.time.0), axis.bucket(row.end_time.0));
        let kind = [&row.stage, &row.verdict, &row.unit, &row.reason].map(String::as_str);
        let gap = found.entry((first_bucket, last_bucket, kind)).or_insert_with(|| Gap {
            first_bucket,
            last_bucket,
            time: row.time,
            end_time: row.end_time,
            stage: row.stage.clone(),
            verdict: row.verdict.clone(),
            unit: row.unit.clone(),
            reason: row.reason.clone(),
            count: 0,
        });
        gap.time = gap.time.min(row.time);
        gap.end_time = gap.end_time.max(row.end_time);
        gap.count = gap.count.saturating_add(row.count);
    }
    let mut gaps: Vec<Gap> = found.into_values().collect();
    gaps.sort_by_key(|gap| std::cmp::Reverse(gap.count));
    let more = gaps.len().saturating_sub(MAX_GAPS);
    gaps.truncate(MAX_GAPS);
    (gaps, more)
}
