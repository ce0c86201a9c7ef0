//! The small pages: the web UI's, the list of calls, schema, health, metrics.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use futures::future::join_all;
use serde_json::{Value, json};
use weir_flow::schema::tables;
use weir_service::admin::OPENMETRICS;

use super::error::ApiError;
use super::{App, who};
use crate::catalog::FLOWS;
use crate::filter::{filterable, names};
use crate::metrics::Door;
use crate::output::type_name;
use crate::serve::Peer;

/// To a browser the web UI, if it was built; to others, and without it, the list of calls.
pub(super) async fn landing(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let page = weir_ui::answer(&method, &uri, &headers).map(|page| page.map(Body::from));
    page.unwrap_or_else(|| calls_page().into_response())
}

pub(super) async fn calls() -> Response {
    calls_page().into_response()
}

fn calls_page() -> Html<&'static str> {
    Html(include_str!("landing.html"))
}

/// What no call answers: the web UI's files and pages, for whoever asks, or that there is no such path.
pub(super) async fn other(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
) -> Response {
    let headers = request.headers();
    if let Some(page) = weir_ui::answer(request.method(), request.uri(), headers) {
        return page.map(Body::from);
    }
    match who::admit(&app, Door::Http, headers, &peer).await {
        Ok(_) => ApiError::no_such_path(request.uri().path()).into_response(),
        Err(denied) => ApiError::unauthenticated(denied.to_string()).into_response(),
    }
}

pub(super) async fn schema() -> Json<Value> {
    let tables: Vec<Value> = tables()
        .iter()
        .map(|table| {
            let filterable = |column| table.name == FLOWS && filterable(column);
            let columns: Vec<Value> = table
                .columns
                .iter()
                .map(|column| {
                    json!({
                        "name": column.name,
                        "type": type_name(&column.data_type),
                        "nullable": column.nullable,
                        "filterable": filterable(column),
                        "doc": column.doc,
                    })
                })
                .collect();
            json!({"name": table.name, "doc": table.doc, "columns": columns})
        })
        .collect();
    Json(json!({"tables": tables, "filter_names": names()}))
}

pub(super) async fn healthy() -> &'static str {
    "ok\n"
}

/// Ready as soon as there is anything to answer from.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let snapshots = app.engine.snapshots();
    let answers = snapshots.sources.iter().map(async |source| source.relay.status().await);
    let answers = join_all(answers).await;
    let silent: Vec<String> =
        answers.iter().filter_map(|answer| Some(answer.as_ref().err()?.to_string())).collect();
    if silent.len() < answers.len() || answers.is_empty() {
        return "ready\n".into_response();
    }
    let relay = silent.join("; ");
    match snapshots.store.newest().await {
        Ok(manifest) if manifest.version > 0 => {
            format!("ready, from the store alone: {relay}\n").into_response()
        }
        Ok(_) => {
            let text = format!("not ready: the store is empty and {relay}\n");
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
        Err(store) => {
            let text = format!("not ready: {store}; {relay}\n");
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let text = app.metrics.exposition(app.engine.busy(), app.followers.count());
    ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response()
}
