//! The HTTP door.

mod axis;
mod document;
pub(crate) mod error;
mod explain;
mod facets;
mod filter;
mod flows;
mod groups;
mod histogram;
mod host;
mod intervals;
mod logging;
mod loss;
mod objects;
mod pages;
mod queries;
mod reply;
mod review;
mod session;
mod sql;
pub(crate) mod status;
mod sums;
pub(crate) mod tail;
#[cfg(test)]
mod tests;
mod who;

use std::sync::Arc;
use std::time::Instant;

use axum::http::{Method, Uri};
use axum::routing::{MethodRouter, delete, get, post};
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
    /// What the status says of this service.
    pub(crate) notice: Option<String>,
    pub(crate) started: Instant,
    /// Whether the doors speak TLS.
    pub(crate) secure: bool,
}

/// A call: its method, its path and what answers.
type Route = (Method, &'static str, MethodRouter<Arc<App>>);

/// The calls of those who were let in.
fn routes() -> Vec<Route> {
    let own = [
        (Method::GET, "/", get(pages::landing)),
        (Method::GET, "/api", get(pages::calls)),
        (Method::GET, "/healthz", get(pages::healthy)),
        (Method::GET, "/readyz", get(pages::ready)),
        (Method::GET, "/metrics", get(pages::metrics)),
        (Method::GET, "/openapi.json", get(document::show)),
        (Method::GET, "/api/v1/schema", get(pages::schema)),
        (Method::POST, "/api/v1/sql", post(sql::sql)),
        (Method::POST, "/api/v1/filter", post(filter::filter)),
        (Method::GET, "/api/v1/flows", get(flows::flows)),
        (Method::GET, "/api/v1/flows/tail", get(tail::tail)),
        (Method::GET, "/api/v1/histogram", get(histogram::histogram)),
        (Method::GET, "/api/v1/facets", get(facets::facets)),
        (Method::GET, "/api/v1/groups", get(groups::groups)),
        (Method::GET, "/api/v1/policies", get(objects::policies)),
        (Method::GET, "/api/v1/policies/review", get(review::review_policies)),
        (Method::POST, "/api/v1/policies/explain", post(explain::explained)),
        (Method::GET, "/api/v1/endpoints", get(objects::endpoints)),
        (Method::GET, "/api/v1/loss", get(loss::loss)),
        (Method::GET, "/api/v1/intervals/preview", get(intervals::preview)),
        (Method::GET, "/api/v1/status", get(status::status)),
        (Method::GET, "/api/v1/library", get(queries::library)),
        (Method::GET, "/api/v1/queries", get(queries::list)),
        (Method::DELETE, "/api/v1/queries/{id}", delete(queries::kill)),
        (Method::GET, "/api/v1/session", get(session::show)),
    ];
    own.into_iter().chain(logging::routes()).collect()
}

/// The calls by which one is let in, and goes.
fn open_routes() -> [Route; 2] {
    [
        (Method::POST, "/api/v1/session", post(session::begin)),
        (Method::DELETE, "/api/v1/session", delete(session::end)),
    ]
}

/// The door. `loopback` says whether only this machine can reach it.
pub(crate) fn router(app: Arc<App>, loopback: bool) -> Router {
    let with = |router: Router<Arc<App>>, (_, path, answer): Route| router.route(path, answer);
    let inner = routes().into_iter().fold(Router::new(), with);
    let inner = inner
        .fallback(pages::other)
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            ApiError::method(&method, uri.path())
        })
        .route_layer(middleware::from_fn_with_state(app.clone(), who::find));
    let mut router = open_routes().into_iter().fold(inner, with).with_state(app);
    if loopback {
        router = router.layer(middleware::from_fn(host::only_loopback));
    }
    router.layer(CompressionLayer::new())
}
