//! The relay as its clients see it: real sockets, a real Flight client, a real store.

pub(crate) mod client;
pub(crate) mod flows;
mod follow;
mod google;
mod ingest;
mod objects;
mod outage;
mod pair;
pub(crate) mod place;
mod proxy;
mod python;
mod readers;
mod restart;
mod servers;
mod storage;
pub(crate) mod store;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_flow::schema::FlowBuilder;

use self::client::Client;
use self::store::{Faults, FaultyStore};
use crate::metrics::Metrics;
use crate::wal::{Directory, Folder};
use crate::{Relay, RelayConfig, RelayError, Starting};

/// How long anything may take before a test gives up.
const DEADLINE: Duration = Duration::from_secs(60);

/// A relay that runs.
struct Running {
    client: Client,
    faults: Arc<Faults>,
    metrics: Metrics,
    address: std::net::SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Result<(), RelayError>>,
}

/// Never flushes by itself within a test.
fn config(store: &Path) -> RelayConfig {
    RelayConfig {
        linger: Duration::ZERO,
        ingest: ([127, 0, 0, 1], 0).into(),
        flush_interval: Duration::from_secs(3600),
        ..RelayConfig::new(store)
    }
}

impl Running {
    async fn start(config: RelayConfig) -> Self {
        Self::start_on(config, Directory::new).await
    }

    async fn start_on<F: Folder + 'static>(
        config: RelayConfig,
        folder: impl FnOnce(&Path) -> F,
    ) -> Self {
        let faults = Arc::<Faults>::default();
        let inner = weir_store::open(&config.store).unwrap();
        let store = Arc::new(FaultyStore { inner, faults: faults.clone() });
        let starting = Starting { config, objects: store, metrics: Metrics::default() };
        let relay = starting.bind_on(folder).await.unwrap();
        let address = relay.ingest_address();
        let metrics = relay.metrics().clone();
        let stop = CancellationToken::new();
        let task = tokio::spawn(relay.run(stop.clone()));
        Self { client: Client::tcp(address).await, faults, metrics, address, stop, task }
    }

    /// Stops in order; everything is stored.
    async fn stop(self) -> Result<(), RelayError> {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.task).await.unwrap().unwrap()
    }

    /// Dies without a last flush.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    fn fail_store(&self, full: bool) {
        self.faults.full.store(full, Ordering::SeqCst);
    }
}

/// Rows whose `count` runs through the range.
pub(crate) fn rows(numbers: Range<u64>) -> RecordBatch {
    let mut builder = FlowBuilder::default();
    numbers.for_each(|number| builder.append(&flows::flow(number)));
    builder.finish()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < DEADLINE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
