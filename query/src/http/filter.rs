//! `POST /api/v1/filter`: whether a filter can be read, and what it says.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use super::error::ApiError;
use super::sql::json_body;
use crate::filter::parse;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilterBody {
    filter: String,
}

/// The filter as a condition of SQL, and places in its text that look wrong or are.
pub(super) async fn filter(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let body: FilterBody = json_body(&app, &headers, body, "{\"filter\":\"…\"}").await?;
    Ok(Json(match parse(&body.filter) {
        Ok(parsed) => {
            let sql = parsed.filter.map_or_else(|| "true".to_owned(), |filter| filter.to_sql());
            json!({"ok": true, "sql": sql, "warnings": parsed.warnings, "error": null})
        }
        Err(error) => json!({"ok": false, "sql": null, "warnings": [], "error": error}),
    }))
}
