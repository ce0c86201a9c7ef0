//! Runs a query and streams its answer.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};

use super::App;
use super::error::ApiError;
use crate::engine::{Answer, Caller, Request};
use crate::output::{Format, encode};

/// Most rows of this answer. CSV and Arrow cannot say that rows were cut off; a reader who got
/// exactly this many knows.
const ROW_LIMIT: &str = "weir-row-limit";
/// What the reader must know about the rows, once for each.
const WARNING: &str = "weir-warning";

/// Of answers over flows: what is known to be missing, as JSON.
const COMPLETENESS: &str = "weir-completeness";

/// Of pages that are not the last: what to send for the next.
const NEXT_PAGE: &str = "weir-next-page-token";

/// Runs a query and streams its answer; the query ends when the client goes away.
pub(super) async fn reply(
    app: &Arc<App>,
    caller: Caller,
    request: Request,
    limit: usize,
    format: Format,
) -> Result<Response, ApiError> {
    respond(app.engine.run(caller, request, limit).await?, format)
}

/// Streams an answer.
pub(super) fn respond(answer: Answer, format: Format) -> Result<Response, ApiError> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ROW_LIMIT, HeaderValue::from(answer.limit()));
    for warning in answer.warnings() {
        let printable: String =
            warning.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect();
        if let Ok(value) = HeaderValue::from_str(&printable) {
            headers.append(WARNING, value);
        }
    }
    if let Some(completeness) = answer.completeness()
        && let Ok(value) = HeaderValue::from_str(&completeness.to_ascii())
    {
        headers.insert(COMPLETENESS, value);
    }
    if let Some(next) = answer.next_page()
        && let Ok(value) = HeaderValue::from_str(next)
    {
        headers.insert(NEXT_PAGE, value);
    }
    let body = Body::from_stream(encode(answer, format)?);
    Ok((headers, body).into_response())
}

/// The format by name, or else by the `Accept` header.
pub(super) fn format(name: Option<&str>, headers: &HeaderMap) -> Result<Format, ApiError> {
    match name {
        Some(name) => Format::from_name(name).ok_or_else(|| {
            let known = Format::ALL.map(Format::name).join(", ");
            ApiError::invalid(format!("there is no format {name:?}: use one of {known}"))
        }),
        None => {
            let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
            Ok(accept.map(Format::from_accept).unwrap_or_default())
        }
    }
}
