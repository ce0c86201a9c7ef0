//! Brings batches to a relay the way a collector does, for generated flows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arrow::array::RecordBatch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_collector::join::Joined;
use weir_collector::uplink::{OutboxHandle, Uplink};
use weir_flow::wire::CollectorStatus;

/// Bytes kept until the relay has them.
const OUTBOX_BYTES: usize = 64 << 20;
/// Above this many bytes the feeder waits for the relay.
const HIGH_BYTES: usize = OUTBOX_BYTES / 2;
const POLL: Duration = Duration::from_millis(1);

/// A connection to a relay. Nothing is lost: who pushes too fast waits.
#[derive(Debug)]
pub(crate) struct Feed {
    outbox: OutboxHandle,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Feed {
    /// Connects in the background, under the name of a collector that enforces nothing.
    pub(crate) fn start(relay: SocketAddr, cluster: &str, node: &str) -> anyhow::Result<Self> {
        let outbox = OutboxHandle::new(OUTBOX_BYTES);
        let shutdown = CancellationToken::new();
        let status = CollectorStatus {
            cluster: cluster.to_owned(),
            node: node.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..CollectorStatus::default()
        };
        let uplink = Uplink {
            relay: format!("http://{relay}").parse()?,
            collector: format!("{cluster}/{node}"),
            outbox: outbox.clone(),
            status: Arc::new(move || status.clone()),
            connected: Arc::new(|_| {}),
        };
        let task = tokio::spawn(uplink.run(shutdown.clone(), Duration::MAX));
        Ok(Self { outbox, shutdown, task })
    }

    /// Hands over a batch, as soon as there is room.
    pub(crate) async fn push(&self, batch: RecordBatch) -> anyhow::Result<()> {
        while self.outbox.state().bytes > HIGH_BYTES {
            tokio::time::sleep(POLL).await;
        }
        self.outbox.push(&Joined { batch, has_denies: true })?;
        Ok(())
    }

    /// Waits until the relay has acknowledged everything, and closes the connection.
    pub(crate) async fn finish(mut self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        (&mut self.task).await.context("the uplink broke off")
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}
