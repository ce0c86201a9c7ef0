//! `GET /api/v1/library`: ready queries. `GET /api/v1/queries`: what runs now. `DELETE /api/v1/queries/{id}`: ends one.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::App;
use super::error::ApiError;
use super::who::Who;

pub(super) async fn library(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({"queries": app.library}))
}

pub(super) async fn list(State(app): State<Arc<App>>, Who(principal): Who) -> Json<Value> {
    Json(json!({"queries": app.engine.running().seen_by(&principal)}))
}

pub(super) async fn kill(
    State(app): State<Arc<App>>,
    Who(principal): Who,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let gone = || {
        ApiError::not_found(format!(
            "there is no query {id:?} that you may end: GET /api/v1/queries lists them"
        ))
    };
    let number: u64 = id.parse().map_err(|_| gone())?;
    if !app.engine.running().kill(number, &principal) {
        return Err(gone());
    }
    Ok(Json(json!({"killed": number})))
}
