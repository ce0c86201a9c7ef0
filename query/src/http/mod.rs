//! The HTTP door.

pub(crate) mod error;
mod explain;
mod filter;
mod flows;
mod host;
mod intervals;
mod logging;
mod loss;
pub(crate) mod metrics;
mod objects;
mod pages;
mod reply;
mod sql;
mod status;
pub(crate) mod tail;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use axum::http::{Method, Uri};
use axum::routing::{get, post};
use axum::{Router, middleware};
use tower_http::compression::CompressionLayer;

use crate::engine::Engine;
use crate::live::Hub;
use crate::logging::metrics::MetricStore;
use error::ApiError;
use metrics::Metrics;
pub(crate) use tail::Followers;

/// What every handler may use.
pub(crate) struct App {
    pub(crate) engine: Engine,
    pub(crate) metrics: Metrics,
    pub(crate) hub: Arc<Hub>,
    pub(crate) followers: Followers,
    pub(crate) log_metrics: MetricStore,
    pub(crate) started: Instant,
}

/// All routes. `loopback` says whether only this machine can reach the door.
pub(crate) fn router(app: Arc<App>, loopback: bool) -> Router {
    let mut router = Router::new()
        .route("/", get(pages::landing))
        .route("/healthz", get(pages::healthy))
        .route("/readyz", get(pages::ready))
        .route("/metrics", get(pages::metrics))
        .route("/api/v1/schema", get(pages::schema))
        .route("/api/v1/sql", post(sql::sql))
        .route("/api/v1/filter", post(filter::filter))
        .route("/api/v1/flows", get(flows::flows))
        .route("/api/v1/flows/tail", get(tail::tail))
        .route("/api/v1/policies", get(objects::policies))
        .route("/api/v1/policies/explain", post(explain::explained))
        .route("/api/v1/endpoints", get(objects::endpoints))
        .route("/api/v1/loss", get(loss::loss))
        .route("/api/v1/intervals/preview", get(intervals::preview))
        .route("/api/v1/status", get(status::status))
        .merge(logging::routes())
        .merge(logging::grpc(&app))
        .fallback(async |uri: Uri| ApiError::no_such_path(uri.path()))
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            ApiError::method(&method, uri.path())
        })
        .with_state(app);
    if loopback {
        router = router.layer(middleware::from_fn(host::only_loopback));
    }
    router.layer(CompressionLayer::new())
}
