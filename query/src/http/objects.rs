//! `GET /api/v1/policies` and `GET /api/v1/endpoints`: what there is now, or was at a time.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::App;
use super::error::ApiError;
use super::flows::time;
use super::reply::{format, reply};
use super::who::Who;
use crate::access::Principal;
use crate::catalog::state::Kind;
use crate::engine::{Caller, Request, StateRequest};
use crate::metrics::Door;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    #[serde(default)]
    at: Option<String>,
    #[serde(default)]
    format: Option<String>,
}

pub(super) async fn policies(
    State(app): State<Arc<App>>,
    Who(principal): Who,
    headers: HeaderMap,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Response, ApiError> {
    objects(&app, principal, &headers, parameters, Kind::Policies).await
}

pub(super) async fn endpoints(
    State(app): State<Arc<App>>,
    Who(principal): Who,
    headers: HeaderMap,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Response, ApiError> {
    objects(&app, principal, &headers, parameters, Kind::Endpoints).await
}

async fn objects(
    app: &Arc<App>,
    principal: Arc<Principal>,
    headers: &HeaderMap,
    parameters: Result<Query<Parameters>, QueryRejection>,
    kind: Kind,
) -> Result<Response, ApiError> {
    let Query(parameters) = parameters.map_err(|rejection| {
        ApiError::invalid(format!("{}: known are at and format", rejection.body_text()))
    })?;
    let format = format(parameters.format.as_deref(), headers)?;
    let at = match parameters.at {
        Some(at) => time("at", &at, SystemTime::now())?,
        // The last version of each that is there.
        None => i64::MAX,
    };
    let limit = app.engine.limits().max_rows;
    let request = Request::State(StateRequest { kind, at, limit: limit.saturating_add(1) });
    let caller = Caller::new(principal, Door::Objects, kind.name());
    reply(app, caller, request, limit, format).await
}
