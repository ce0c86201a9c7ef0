//! `GET /api/v1/loss`: the loss ledger, the latest entries first.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::App;
use super::error::ApiError;
use super::flows::{limit, time};
use super::reply::{format, reply};
use super::who::Who;
use crate::catalog::LOSS;
use crate::engine::{Caller, LossRequest, Request};
use crate::metrics::Door;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    until: Option<String>,
    #[serde(default)]
    limit: Option<String>,
    #[serde(default)]
    format: Option<String>,
}

pub(super) async fn loss(
    State(app): State<Arc<App>>,
    Who(principal): Who,
    headers: HeaderMap,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(parameters) = parameters.map_err(|rejection| {
        ApiError::invalid(format!(
            "{}: known are since, until, limit and format",
            rejection.body_text()
        ))
    })?;
    let format = format(parameters.format.as_deref(), &headers)?;
    let now = SystemTime::now();
    let given =
        |text: &Option<String>, name| text.as_deref().map(|text| time(name, text, now)).transpose();
    let request = LossRequest {
        since: given(&parameters.since, "since")?,
        until: given(&parameters.until, "until")?,
        limit: limit(parameters.limit.as_deref())?,
    };
    let caller = Caller::new(principal, Door::Loss, LOSS);
    reply(&app, caller, Request::Loss(request), request.limit, format).await
}
