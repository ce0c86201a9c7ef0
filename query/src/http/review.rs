//! `GET /api/v1/policies/review`: policies with what they select and decided, and what looks wrong.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use weir_flow::schema::{Kind as _, Policies, TimestampNs};
use weir_flow::values::{Direction, Verdict};

use super::App;
use super::error::ApiError;
use super::sums::{About, Sums, column, read, selection, texts, times};
use super::who::Who;
use crate::engine::{By, Caller, SEEN};
use crate::error::QueryError;
use crate::metrics::Door;
use crate::review::{AllHits, Hits, Review, review};

/// Whose verdicts are summed.
const COLUMNS: [&str; 4] = ["cluster", "direction", "verdict", POLICIES];
const POLICIES: &str = "policies";
/// How far back is looked if nothing is said.
const SINCE: &str = "1d";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    until: Option<String>,
    #[serde(default)]
    cluster: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    clusters: Vec<Review>,
    #[serde(flatten)]
    about: About,
}

pub(super) async fn review_policies(
    State(app): State<Arc<App>>,
    Who(principal): Who,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Json<Answer>, ApiError> {
    let Query(asked) = parameters.map_err(|rejection| {
        ApiError::invalid(format!("{}: known are since, until and cluster", rejection.body_text()))
    })?;
    let since = asked.since.as_deref().unwrap_or(SINCE);
    let flows = selection(None, Some(since), asked.until.as_deref())?;
    let text = asked.cluster.as_deref().unwrap_or("all clusters");
    let caller = Caller::new(principal.clone(), Door::Review, text);
    let mut hits = AllHits::default();
    let about = read(&app, caller.clone(), &flows, By::Columns(&COLUMNS), |batch| {
        let clusters = texts(batch, "cluster")?;
        let (directions, verdicts) = (texts(batch, "direction")?, texts(batch, "verdict")?);
        let policies = arrow::compute::cast(column(batch, POLICIES)?, &Policies::data_type());
        let policies = policies.map_err(|error| QueryError::Internal(error.to_string()))?;
        let (sums, last) = (Sums::of(batch)?, times(batch, SEEN[1])?);
        for row in 0..batch.num_rows() {
            let count = sums.row(row).count;
            let mut known = Direction::ALL.iter();
            let direction = known.find(|word| word.as_str() == directions.value(row));
            // What goes on was decided before.
            let Some(direction) = direction.filter(|_| count > 0) else { continue };
            let verdict = verdicts.value(row);
            let of = |wanted: Verdict| if verdict == wanted.as_str() { count } else { 0 };
            let more = Hits {
                allow: of(Verdict::Allow),
                deny: of(Verdict::Deny),
                audit: of(Verdict::Audit),
                last_hit: Some(TimestampNs(last.value(row))),
            };
            for by in Policies::read(&policies, row) {
                hits.add(clusters.value(row), *direction, by, more);
            }
        }
        Ok(())
    });
    let about = about.await?;
    let at_ns = flows.until_ns;
    let clusters = app.engine.compute(caller, move |history, _| {
        let known = || history.clusters().map(str::to_owned).collect::<Vec<_>>();
        let names = match asked.cluster {
            None => known(),
            Some(name) if known().contains(&name) => vec![name],
            Some(name) => {
                return Err(QueryError::Invalid(format!(
                    "there is no cluster {name:?}: known are {}",
                    known().join(", ")
                )));
            }
        };
        let of = |name: &String| review(history, name, at_ns, &hits, &principal.namespaces);
        Ok(names.iter().map(of).collect::<Vec<_>>())
    });
    Ok(Json(Answer { clusters: clusters.await?, about }))
}
