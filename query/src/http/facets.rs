//! `GET /api/v1/facets`: the values of fields with their sums, for rails of facets and for completion.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::Array as _;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::App;
use super::error::ApiError;
use super::sums::{About, Sums, Totals, number, numbers, read, selection, texts};
use super::who::Who;
use crate::engine::{By, Caller, FIELD, VALUE};
use crate::filter::Facet;
use crate::functions::fold::fold;
use crate::metrics::Door;

/// What is shown if no fields are named.
const DEFAULT_FIELDS: &str = "verdict,reason,policy,direction,protocol,destination_port,source_namespace,\
                              source_workload,destination_namespace,destination_workload";
const DEFAULT_LIMIT: usize = 10;
const MAX_LIMIT: usize = 1_000;
/// Most fields at a time.
const MAX_FIELDS: usize = 20;
/// Longest prefix, in bytes.
const MAX_PREFIX: usize = 1_000;

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
    fields: Option<String>,
    #[serde(default)]
    limit: Option<String>,
    #[serde(default)]
    prefix: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Facets {
    facets: Vec<OfField>,
    #[serde(flatten)]
    about: About,
}

/// The values of one field.
#[derive(Debug, Serialize)]
struct OfField {
    field: String,
    /// How many values there are, of those that begin with `prefix`.
    distinct: u64,
    /// Those with the largest sums of `count`, the largest first.
    values: Vec<OfValue>,
    /// Those that are not listed.
    other: Totals,
    /// Flows that have no value, unless there is a prefix.
    none: Totals,
}

#[derive(Debug, Serialize)]
struct OfValue {
    value: Value,
    #[serde(flatten)]
    total: Totals,
}

pub(super) async fn facets(
    State(app): State<Arc<App>>,
    Who(principal): Who,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Json<Facets>, ApiError> {
    let Query(asked) = parameters.map_err(|rejection| {
        ApiError::invalid(format!(
            "{}: known are filter, since, until, fields, limit and prefix",
            rejection.body_text()
        ))
    })?;
    let flows = selection(asked.filter.as_deref(), asked.since.as_deref(), asked.until.as_deref())?;
    let limit = number("limit", asked.limit.as_deref(), DEFAULT_LIMIT, MAX_LIMIT)?;
    let fields = fields(asked.fields.as_deref().unwrap_or(DEFAULT_FIELDS))?;
    let prefix = asked.prefix.unwrap_or_default();
    if prefix.len() > MAX_PREFIX {
        return Err(ApiError::invalid(format!("prefix has more than {MAX_PREFIX} bytes")));
    }
    let caller = Caller::new(principal, Door::Facets, asked.filter.unwrap_or_default());
    let prefix = fold(&prefix).into_owned();
    let mut found: Vec<Found> = fields.iter().map(|_| Found::new(limit)).collect();
    let request = By::Values(fields.iter().map(|field| field.expr.clone()).collect());
    let about = read(&app, caller, &flows, request, |batch| {
        let (of_field, values) = (numbers(batch, FIELD)?, texts(batch, VALUE)?);
        let sums = Sums::of(batch)?;
        for row in 0..batch.num_rows() {
            let index = usize::try_from(of_field.value(row)).unwrap_or(usize::MAX);
            let Some(found) = found.get_mut(index) else { continue };
            if values.is_null(row) {
                if prefix.is_empty() {
                    found.none.add(sums.row(row));
                }
            } else if fold(values.value(row)).starts_with(&prefix) {
                found.add(values.value(row), sums.row(row));
            }
        }
        Ok(())
    });
    let about = about.await?;
    let facets = fields.into_iter().zip(found).map(|(field, found)| found.told(field)).collect();
    Ok(Json(Facets { facets, about }))
}

fn fields(text: &str) -> Result<Vec<Facet>, ApiError> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let fields = names.map(Facet::of).collect::<Result<Vec<_>, _>>().map_err(ApiError::invalid)?;
    match fields.len() {
        0 => Err(ApiError::invalid("fields names none: write fields=verdict,destination_port")),
        1..=MAX_FIELDS => Ok(fields),
        many => Err(ApiError::invalid(format!(
            "fields names {many}, {MAX_FIELDS} are possible at a time"
        ))),
    }
}

/// Keeps the largest values, and the sums of the others.
struct Found {
    limit: usize,
    distinct: u64,
    other: Totals,
    none: Totals,
    /// By count, the least first; among equals the last in the alphabet.
    largest: BTreeSet<(u64, Reverse<String>, [u64; 2])>,
}

impl Found {
    fn new(limit: usize) -> Self {
        let (other, none) = (Totals::default(), Totals::default());
        Self { limit, distinct: 0, other, none, largest: BTreeSet::new() }
    }

    fn add(&mut self, value: &str, total: Totals) {
        self.distinct += 1;
        let Totals { count, bytes, reply_bytes } = total;
        self.largest.insert((count, Reverse(value.to_owned()), [bytes, reply_bytes]));
        if self.largest.len() > self.limit
            && let Some((count, _, [bytes, reply_bytes])) = self.largest.pop_first()
        {
            self.other.add(Totals { count, bytes, reply_bytes });
        }
    }

    fn told(self, field: Facet) -> OfField {
        let values = self.largest.into_iter().rev();
        let values = values.map(|(count, Reverse(text), [bytes, reply_bytes])| {
            let number = || text.parse::<u64>().ok().filter(|_| field.number).map(Value::from);
            let total = Totals { count, bytes, reply_bytes };
            OfValue { value: number().unwrap_or_else(|| text.into()), total }
        });
        let values = values.collect();
        let (distinct, other, none) = (self.distinct, self.other, self.none);
        OfField { field: field.name, distinct, values, other, none }
    }
}
