//! The query service as a whole.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::audit::Audit;
use crate::catalog::ledger::Ledger;
use crate::catalog::objects::Objects;
use crate::catalog::relay::RelayClient;
use crate::catalog::snapshot::Snapshots;
use crate::catalog::source::Source;
use crate::catalog::store::Store;
use crate::config::QueryConfig;
use crate::engine::{AbortOnDrop, Engine};
use crate::error::StartError;
use crate::grpc;
use crate::http::{App, Followers, router};
use crate::library;
use crate::live::{self, Hub};
use crate::logging::metrics::MetricStore;
use crate::metrics::Metrics;
use crate::postgres;
use crate::reload::{self, Reloaded, Renew};
use crate::remote::Remote;
use crate::serve::{Listener, Peer, Secured, Tls};

/// How long running answers may go on after the service was told to stop.
const GRACE: Duration = Duration::from_secs(3);

/// A query service that listens but does not answer yet.
pub struct Query {
    http: TcpListener,
    grpc: TcpListener,
    postgres: TcpListener,
    addresses: Addresses,
    tls: Option<Arc<Reloaded<Tls>>>,
    app: Arc<App>,
    /// Made anew when files change.
    renewed: Vec<Arc<dyn Renew>>,
    /// Counts log-based metrics.
    _counting: AbortOnDrop,
}

/// Where each door is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Addresses {
    /// HTTP.
    pub http: SocketAddr,
    /// gRPC.
    pub grpc: SocketAddr,
    /// The Postgres wire.
    pub postgres: SocketAddr,
}

impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Query").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Query {
    /// Opens the store, binds the addresses, and prepares the threads. The relays need not be there.
    ///
    /// # Errors
    /// A setting is wrong, the store's directory cannot be used, or an address cannot be bound.
    pub async fn bind(config: QueryConfig) -> Result<Self, StartError> {
        Self::bind_with(config, None).await
    }

    /// The same for a service whose plans that read files run elsewhere.
    ///
    /// # Errors
    /// Those of [`Query::bind`].
    pub async fn bind_with(
        config: QueryConfig,
        remote: Option<Arc<dyn Remote>>,
    ) -> Result<Self, StartError> {
        let sources = config
            .relays
            .iter()
            .map(|relay| Ok(Source::new(RelayClient::new(relay)?, config.limits.hot_bytes)))
            .collect::<Result<Vec<_>, StartError>>()?;
        check_reach(&config)?;
        let client_ca = config.access.as_ref().and_then(|access| access.client_ca.clone());
        let secure = config.tls.is_some();
        let tls = config.tls.map(|settings| Tls::open(settings, client_ca)).transpose()?;
        let access = Access::new(config.access)?;
        let mut renewed: Vec<Arc<dyn Renew>> = Vec::new();
        renewed.extend(tls.clone().map(|tls| tls as _));
        renewed.extend(access.tokens().map(|tokens| tokens as _));
        let metrics = Arc::new(Metrics::new());
        let audit = Audit::new(config.audit, metrics.audit_lost())?;
        let library = library::load(config.saved_queries.as_deref())?;
        let store = Store::open(&config.store)?;
        let (objects, ledger) = (Objects::default(), Ledger::default());
        let (http, http_address) = listen("HTTP", config.http).await?;
        let (grpc, grpc_address) = listen("gRPC", config.grpc).await?;
        let (postgres, postgres_address) = listen("Postgres", config.postgres).await?;
        let engine = Engine::new(
            config.limits,
            config.roll_ups,
            access.is_on(),
            Snapshots { sources, store, objects, ledger },
            metrics.clone(),
            audit.clone(),
            remote,
        )?;
        let hub = Hub::new(engine.snapshots().clone(), engine.live_threads().clone());
        let log_metrics = MetricStore::open(config.state.as_deref())?;
        let counting = engine.spawn_live(live::count(
            hub.clone(),
            log_metrics.watch(),
            engine.session().clone(),
            metrics.log_counters(),
        ));
        let app = Arc::new(App {
            engine,
            access,
            audit,
            hub,
            metrics,
            followers: Followers::default(),
            log_metrics,
            library,
            notice: config.notice,
            started: Instant::now(),
            secure,
        });
        let addresses =
            Addresses { http: http_address, grpc: grpc_address, postgres: postgres_address };
        Ok(Self { http, grpc, postgres, addresses, tls, app, renewed, _counting: counting })
    }

    /// Where the doors are.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Serves until told to stop; answers that are under way get a moment to end.
    ///
    /// # Errors
    /// A listener fails.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), std::io::Error> {
        let Self { http, grpc, postgres, addresses, tls, app, renewed, _counting } = self;
        let renewing = reload::watch(renewed, app.metrics.reload_errors());
        let tls = |protocols: &'static [&'static [u8]]| {
            tls.clone().map(|tls| Secured::new(tls, protocols))
        };
        let http_door = Listener::new(http, tls(&[b"h2", b"http/1.1"]))?;
        let grpc_door = Listener::new(grpc, tls(&[b"h2"]))?;
        let http_router = router(app.clone(), addresses.http.ip().is_loopback());
        let postgres_door = postgres::serve(postgres, tls(&[]), app.clone(), shutdown.clone());
        let grpc_router = grpc::router(app).await;
        let serve = |door: Listener, router: axum::Router| {
            let router = router.into_make_service_with_connect_info::<Peer>();
            axum::serve(door, router).with_graceful_shutdown(shutdown.clone().cancelled_owned())
        };
        let serving = async {
            tokio::try_join!(
                async { serve(http_door, http_router).await },
                async { serve(grpc_door, grpc_router).await },
                async {
                    postgres_door.await;
                    Ok(())
                },
            )
        };
        tokio::select! {
            served = serving => served.map(|_| ()),
            never = renewing => match never {},
            () = async { shutdown.cancelled().await; tokio::time::sleep(GRACE).await } => Ok(()),
        }
    }
}

async fn listen(
    door: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Bind { door, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Doors that other machines reach need access control, or that somebody says that they do not.
fn check_reach(config: &QueryConfig) -> Result<(), StartError> {
    let access = config.access.as_ref();
    if access.is_some_and(|access| access.client_ca.is_some()) && config.tls.is_none() {
        return Err(StartError::Access(
            "access.client_ca needs `tls`: certificates come by it".into(),
        ));
    }
    let reached: Vec<String> = [config.http, config.grpc, config.postgres]
        .iter()
        .filter(|address| !address.ip().is_loopback())
        .map(ToString::to_string)
        .collect();
    if reached.is_empty() {
        if access.is_none() {
            tracing::info!("access control is off: everybody on this machine sees all flows");
        }
        return Ok(());
    }
    let reached = reached.join(" and ");
    match access {
        Some(_) if config.tls.is_none() => {
            tracing::warn!(%reached, "tokens come to these addresses in plain text: set `tls`, or put a proxy with TLS before them");
            Ok(())
        }
        Some(_) => Ok(()),
        None if config.open => {
            tracing::warn!(%reached, "access control is off: everybody who reaches these addresses sees all flows");
            Ok(())
        }
        None => Err(StartError::Access(format!(
            "other machines reach {reached}, and access control is off: set `access`, or say `open: true` (--open) \
             if everybody may see all flows"
        ))),
    }
}
