//! Connections of an executor to others, kept for a while after their use.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ballista_core::client::BallistaClient;
use ballista_core::client_pool::{BallistaClientPool, PooledClient};
use ballista_core::error::Result;
use ballista_core::extension::BallistaConfigGrpcEndpoint;
use ballista_core::utils::GrpcClientConfig;

/// How long one is kept that nobody uses.
const KEPT: Duration = Duration::from_secs(30);
/// How many are kept; more are closed.
const MOST: usize = 64;

/// A connection and since when nobody uses it.
type Idle = (BallistaClient, Instant);

/// Those that nobody uses, by host and port.
#[derive(Default)]
pub(crate) struct Connections(Arc<Mutex<ByPeer>>);

/// Idle ones by host and port.
type ByPeer = HashMap<(String, u16), Vec<Idle>>;

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}

#[async_trait]
impl BallistaClientPool for Connections {
    async fn acquire(
        &self,
        host: &str,
        port: u16,
        config: &GrpcClientConfig,
        customize_endpoint: Option<Arc<BallistaConfigGrpcEndpoint>>,
    ) -> Result<PooledClient> {
        self.evict_idle().await;
        let key = (host.to_owned(), port);
        let kept = lock(&self.0).get_mut(&key).and_then(Vec::pop);
        let client = match kept {
            Some((client, _)) => client,
            None => {
                BallistaClient::try_new(
                    host,
                    port,
                    config.max_message_size,
                    config.use_tls,
                    customize_endpoint,
                    config.io_retries_times,
                    config.io_retry_wait_time_ms,
                    config.initial_connection_window_size,
                    config.initial_stream_window_size,
                )
                .await?
            }
        };
        let idle = self.0.clone();
        let give_back = move |client| {
            let mut idle = lock(&idle);
            if idle.values().map(Vec::len).sum::<usize>() < MOST {
                idle.entry(key).or_default().push((client, Instant::now()));
            }
        };
        Ok(PooledClient::new(client, Box::new(give_back)))
    }

    async fn evict_idle(&self) {
        lock(&self.0).retain(|_, idle| {
            idle.retain(|(_, since)| since.elapsed() < KEPT);
            !idle.is_empty()
        });
    }
}

fn lock<T>(idle: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
