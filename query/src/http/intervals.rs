//! `GET /api/v1/intervals/preview`: rows and bytes that each reporting interval would make.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use weir_flow::schema::TimestampNs;

use super::App;
use super::error::ApiError;
use super::flows::time;
use super::who::Who;
use crate::engine::Caller;
use crate::metrics::Door;
use crate::preview::{self, Preview};

/// How far back is looked if nothing is said.
const SINCE: &str = "1h";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    until: Option<String>,
}

pub(super) async fn preview(
    State(app): State<Arc<App>>,
    Who(principal): Who,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Json<Preview>, ApiError> {
    let Query(Parameters { namespace, since, until }) = parameters.map_err(|rejection| {
        ApiError::invalid(format!(
            "{}: known are namespace, since and until",
            rejection.body_text()
        ))
    })?;
    let now = SystemTime::now();
    let from = TimestampNs(time("since", since.as_deref().unwrap_or(SINCE), now)?);
    let until = TimestampNs(time("until", until.as_deref().unwrap_or("0s"), now)?);
    if from.0 >= until.0 {
        return Err(ApiError::invalid("since is not before until: there is nothing between"));
    }
    let namespace = namespace.filter(|namespace| !namespace.is_empty());
    let text = namespace.as_deref().unwrap_or("all namespaces");
    let caller = Caller::new(principal, Door::Intervals, text);
    Ok(Json(preview::preview(&app.engine, caller, namespace, from, until).await?))
}
