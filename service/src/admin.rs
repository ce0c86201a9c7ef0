//! The door of processes that have no other HTTP door: `/metrics`, `/healthz`, `/readyz`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Content type of [`exposition`].
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Says whether the process does its work at present.
pub type Readiness = Arc<dyn Fn() -> bool + Send + Sync>;

/// A bound door that does not serve yet.
pub struct Admin {
    listener: TcpListener,
    registry: Arc<Registry>,
    readiness: Readiness,
}

impl Admin {
    /// Binds the address; port 0 picks a free one.
    ///
    /// # Errors
    /// The address cannot be bound; the message names it.
    pub async fn bind(
        address: SocketAddr,
        registry: Arc<Registry>,
        readiness: Readiness,
    ) -> Result<Self, std::io::Error> {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            std::io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
        })?;
        Ok(Self { listener, registry, readiness })
    }

    /// The bound address.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until told to stop.
    ///
    /// # Errors
    /// Accepting failed for good.
    pub async fn run(self, shutdown: CancellationToken) -> std::io::Result<()> {
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .with_state((self.registry, self.readiness));
        axum::serve(self.listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
    }
}

/// The registry's metrics as OpenMetrics text.
pub fn exposition(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, registry);
    text
}

async fn metrics(State((registry, _)): State<(Arc<Registry>, Readiness)>) -> Response {
    ([(header::CONTENT_TYPE, OPENMETRICS)], exposition(&registry)).into_response()
}

async fn ready(State((_, readiness)): State<(Arc<Registry>, Readiness)>) -> Response {
    if readiness() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}
