//! The Cloud Logging API, version 2, as REST.
//!
//! Clients of that API work unchanged: what they ask for, and what they trip over, is in the comments.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::routing::{delete, get, post, put};
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::sql::json_body;
use super::who::Who;
use super::{App, Route};
use crate::filter::Names;
use crate::filter::entry::RESOURCE_TYPE;
use crate::logging::entry::{entry, log_name};
use crate::logging::grpc::READ_ONLY;
use crate::logging::list::list;
use crate::logging::metrics::LogMetric;
use crate::logging::request::{ListRequest, projects};

const METRIC: &str = "{\"name\":\"denies\",\"filter\":\"verdict=\\\"deny\\\"\"}";

/// The calls.
pub(super) fn routes() -> [Route; 12] {
    let refused = async || ApiError::forbidden(READ_ONLY);
    let one = "/v2/projects/{project}/metrics/{metric}";
    [
        (Method::POST, "/v2/entries:list", post(entries)),
        (Method::POST, "/v2/entries:write", post(refused)),
        (Method::POST, "/v2/entries:tail", post(tail)),
        (Method::GET, "/v2/{kind}/{id}/logs", get(logs)),
        (Method::DELETE, "/v2/{kind}/{id}/logs/{log}", delete(refused)),
        (Method::GET, "/v2/{kind}/{id}/sinks", get(sinks)),
        (Method::GET, "/v2/projects/{project}/metrics", get(metrics)),
        (Method::POST, "/v2/projects/{project}/metrics", post(create_metric)),
        (Method::GET, one, get(metric)),
        (Method::PUT, one, put(update_metric)),
        (Method::DELETE, one, delete(delete_metric)),
        (Method::GET, "/v2/monitoredResourceDescriptors", get(descriptors)),
    ]
}

/// `entries:list`. Clients in a browser's page cannot send it: the type of the body must be JSON.
async fn entries(
    State(app): State<Arc<App>>,
    Who(principal): Who,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let hint = "{\"resourceNames\":[\"projects/demo\"]}, and filter, orderBy, pageSize and \
                pageToken if wanted";
    let request: ListRequest = json_body(&app, &headers, body, hint).await?;
    let page = list(&app.engine, &principal, &request).await?;
    let entries: Vec<Value> = page.rows.iter().map(|row| entry(row, &page.names)).collect();
    // The end is a token that is not there: an empty one makes clients ask for ever.
    let mut answer = Map::new();
    answer.insert("entries".into(), entries.into());
    if let Some(next) = page.next {
        answer.insert("nextPageToken".into(), next.into());
    }
    Ok(Json(Value::Object(answer)))
}

async fn tail() -> ApiError {
    ApiError::new(
        StatusCode::NOT_IMPLEMENTED,
        "UNIMPLEMENTED",
        "entries:tail is a stream of gRPC: use a gRPC client, or GET /api/v1/flows/tail for \
         server-sent events",
    )
}

async fn logs(Path((kind, id)): Path<(String, String)>) -> Result<Json<Value>, ApiError> {
    let project = projects(&[format!("{kind}/{id}")])?;
    let names = Names { project, location: None };
    Ok(Json(json!({"logNames": [log_name(&names)]})))
}

async fn sinks(Path((kind, id)): Path<(String, String)>) -> Result<Json<Value>, ApiError> {
    projects(&[format!("{kind}/{id}")])?;
    Ok(Json(json!({"sinks": []})))
}

async fn metrics(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({"metrics": app.log_metrics.list()}))
}

async fn metric(
    State(app): State<Arc<App>>,
    Path((_, name)): Path<(String, String)>,
) -> Result<Json<LogMetric>, ApiError> {
    app.log_metrics.get(&name).map(Json)
}

async fn create_metric(
    State(app): State<Arc<App>>,
    Who(principal): Who,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<LogMetric>, ApiError> {
    let metric = json_body(&app, &headers, body, METRIC).await?;
    app.log_metrics.create(&principal, metric).map(Json)
}

async fn update_metric(
    State(app): State<Arc<App>>,
    Who(principal): Who,
    Path((_, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<LogMetric>, ApiError> {
    let metric = json_body(&app, &headers, body, METRIC).await?;
    app.log_metrics.update(&principal, &name, metric).map(Json)
}

async fn delete_metric(
    State(app): State<Arc<App>>,
    Who(principal): Who,
    Path((_, name)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    app.log_metrics.delete(&principal, &name)?;
    Ok(Json(json!({})))
}

async fn descriptors() -> Json<Value> {
    let labels = ["project_id", "location", "cluster_name", "node_name"];
    let labels: Vec<Value> =
        labels.iter().map(|key| json!({"key": key, "valueType": "STRING"})).collect();
    Json(json!({"resourceDescriptors": [{
        "type": RESOURCE_TYPE,
        "displayName": "Kubernetes Node",
        "description": "The node that decided.",
        "labels": labels,
    }]}))
}
