//! The HTTP door.

pub(crate) mod error;
mod explain;
mod filter;
mod flows;
mod host;
mod intervals;
mod logging;
mod loss;
mod objects;
mod pages;
mod queries;
mod reply;
mod session;
mod sql;
pub(crate) mod status;
pub(crate) mod tail;
#[cfg(test)]
mod tests;
mod who;

use std::sync::Arc;
use std::time::Instant;

use axum::http::{Method, Uri};
use axum::routing::{delete, get, post};
use axum::{Router, middleware};
use tower_http::compression::CompressionLayer;

use crate::access::Access;
use crate::audit::Audit;
use crate::engine::Engine;
use crate::library::Saved;
use crate::live::Hub;
use crate::logging::metrics::MetricStore;
use crate::metrics::Metrics;
use error::ApiError;
pub(crate) use tail::Followers;
pub(crate) use who::{Who, admit, secret};

/// What every handler may use.
pub(crate) struct App {
    pub(crate) engine: Engine,
    pub(crate) access: Access,
    pub(crate) audit: Audit,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) followers: Followers,
    pub(crate) log_metrics: MetricStore,
    /// Ready queries.
    pub(crate) library: Vec<Saved>,
    pub(crate) started: Instant,
    /// Whether the doors speak TLS.
    pub(crate) secure: bool,
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
        .route("/api/v1/library", get(queries::library))
        .route("/api/v1/queries", get(queries::list))
        .route("/api/v1/queries/{id}", delete(queries::kill))
        .route("/api/v1/session", get(session::show))
        .fallback(async |uri: Uri| ApiError::no_such_path(uri.path()))
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            ApiError::method(&method, uri.path())
        })
        .layer(middleware::from_fn_with_state(app.clone(), who::find))
        .route("/api/v1/session", post(session::begin).delete(session::end))
        .with_state(app);
    if loopback {
        router = router.layer(middleware::from_fn(host::only_loopback));
    }
    router.layer(CompressionLayer::new())
}
