//! `POST /api/v1/sql`.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::App;
use super::error::ApiError;
use super::reply::{format, reply, respond};
use super::who::Who;
use crate::engine::{Caller, Request, SqlRequest};
use crate::guard::parameters::Parameter;
use crate::metrics::Door;

/// Rows of a page if only a token is sent.
const DEFAULT_PAGE_SIZE: usize = 1_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SqlBody {
    #[serde(default)]
    sql: Option<String>,
    #[serde(default)]
    format: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    roll_ups: Option<bool>,
    #[serde(default)]
    kept: Option<bool>,
    #[serde(default)]
    words: Option<bool>,
    #[serde(default)]
    latest: Option<bool>,
    #[serde(default)]
    parameters: Vec<serde_json::Value>,
    #[serde(default)]
    page_size: Option<usize>,
    #[serde(default)]
    page_token: Option<String>,
}

pub(super) async fn sql(
    State(app): State<Arc<App>>,
    Who(principal): Who,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let hint = "{\"sql\":\"select …\"}, and \"parameters\", \"format\", \"limit\", \"page_size\", \"roll_ups\" and \"kept\" if \
                wanted";
    let body: SqlBody = json_body(&app, &headers, body, hint).await?;
    let format = format(body.format.as_deref(), &headers)?;
    let page_size = page_size(body.page_size, app.engine.limits().max_rows)?;
    if let Some(token) = &body.page_token {
        if body.sql.is_some() || body.limit.is_some() || !body.parameters.is_empty() {
            return Err(ApiError::invalid(
                "page_token goes on with a result: send it alone, or with \"page_size\" and \"format\"",
            ));
        }
        let size = page_size.unwrap_or(DEFAULT_PAGE_SIZE);
        return respond(app.engine.next_page(principal, Door::Sql, token, size).await?, format);
    }
    let sql =
        body.sql.ok_or_else(|| ApiError::invalid(format!("\"sql\" is missing: send {hint}")))?;
    let limit = body.limit.unwrap_or(usize::MAX);
    let caller = Caller::new(principal, Door::Sql, &sql);
    let request = Request::Sql(SqlRequest {
        parameters: body.parameters.iter().map(Parameter::from_json).collect::<Result<_, _>>()?,
        roll_ups: body.roll_ups,
        kept: body.kept,
        words: body.words,
        latest: body.latest,
        ..SqlRequest::new(sql)
    });
    if let Some(size) = page_size {
        return respond(app.engine.first_page(caller, request, limit, size).await?, format);
    }
    reply(&app, caller, request, limit, format).await
}

/// How many rows a page has.
fn page_size(size: Option<usize>, most: usize) -> Result<Option<usize>, ApiError> {
    match size {
        Some(size) if !(1..=most).contains(&size) => {
            Err(ApiError::invalid(format!("page_size {size}: use a number from 1 to {most}")))
        }
        size => Ok(size),
    }
}

/// Reads a body; `hint` says what to send.
pub(super) async fn json_body<T: DeserializeOwned>(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    hint: &str,
) -> Result<T, ApiError> {
    // A page of another origin can send anything but this type without asking first.
    if !is_json(headers) {
        return Err(ApiError::not_json());
    }
    let limit = app.engine.limits().request_bytes;
    let body = to_bytes(body, limit).await.map_err(|_| ApiError::too_large(limit))?;
    serde_json::from_slice(&body).map_err(|error| {
        ApiError::invalid(format!("the body cannot be read ({error}): send {hint}"))
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type
        .and_then(|value| value.split(';').next())
        .is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}
