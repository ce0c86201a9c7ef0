//! The query service as a whole.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::catalog::ledger::Ledger;
use crate::catalog::objects::Objects;
use crate::catalog::relay::RelayClient;
use crate::catalog::snapshot::Snapshots;
use crate::catalog::source::Source;
use crate::catalog::store::Store;
use crate::config::QueryConfig;
use crate::engine::{AbortOnDrop, Engine};
use crate::error::StartError;
use crate::http::metrics::Metrics;
use crate::http::{App, Followers, router};
use crate::live::{self, Hub};
use crate::logging::metrics::MetricStore;

/// How long running answers may go on after the service was told to stop.
const GRACE: Duration = Duration::from_secs(3);

/// A query service that listens but does not answer yet.
pub struct Query {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
    /// Counts log-based metrics.
    _counting: AbortOnDrop,
}

impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Query").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Query {
    /// Opens the store, binds the address, and prepares the threads. The relays need not be there.
    ///
    /// # Errors
    /// A setting is wrong, the store's directory cannot be used, or the address cannot be bound.
    pub async fn bind(config: QueryConfig) -> Result<Self, StartError> {
        let sources = config
            .relays
            .iter()
            .map(|relay| Ok(Source::new(RelayClient::new(relay)?, config.limits.hot_bytes)))
            .collect::<Result<Vec<_>, StartError>>()?;
        let store = Store::open(&config.store)?;
        let (objects, ledger) = (Objects::default(), Ledger::default());
        let bound = |source| StartError::Bind { address: config.http, source };
        let listener = TcpListener::bind(config.http).await.map_err(bound)?;
        let address = listener.local_addr().map_err(bound)?;
        let engine = Engine::new(
            config.limits,
            config.roll_ups,
            Snapshots { sources, store, objects, ledger },
        )?;
        let hub = Hub::new(engine.snapshots().clone(), engine.threads().clone());
        let (metrics, log_metrics) = (Metrics::new(), MetricStore::open(config.state.as_deref())?);
        let counting = engine.spawn(live::count(
            hub.clone(),
            log_metrics.watch(),
            engine.session().clone(),
            metrics.log_counters(),
        ));
        let app = Arc::new(App {
            engine,
            hub,
            metrics,
            followers: Followers::default(),
            log_metrics,
            started: Instant::now(),
        });
        Ok(Self { listener, address, app, _counting: counting })
    }

    /// Where HTTP is served.
    pub fn http_address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until told to stop; answers that are under way get a moment to end.
    ///
    /// # Errors
    /// The listener fails.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), std::io::Error> {
        let router = router(self.app, self.address.ip().is_loopback());
        // A row that follows closely upon another message must not wait for its acknowledgement.
        let listener = self.listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "small messages may be late");
            }
        });
        let serving = axum::serve(listener, router)
            .with_graceful_shutdown(shutdown.clone().cancelled_owned());
        tokio::select! {
            served = async { serving.await } => served,
            () = async { shutdown.cancelled().await; tokio::time::sleep(GRACE).await } => Ok(()),
        }
    }
}
