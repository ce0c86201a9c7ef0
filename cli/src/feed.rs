//! Brings batches to a relay the way a collector does, for generated flows.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use arrow::array::RecordBatch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_collector::join::Joined;
use weir_collector::ledger::{Class, Tally};
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
    pushed: Arc<Mutex<Pushed>>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

/// Which rows were pushed, and when.
#[derive(Debug, Default)]
struct Pushed {
    rows: u64,
    /// Of each batch that nobody has asked for: up to which row it goes, and when it was pushed.
    batches: Vec<(u64, Instant)>,
}

/// Tells which rows of a [`Feed`] are acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    outbox: OutboxHandle,
    pushed: Arc<Mutex<Pushed>>,
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
        Ok(Self { outbox, pushed: Arc::default(), shutdown, task })
    }

    /// Hands over a batch, as soon as there is room.
    pub(crate) async fn push(&self, batch: RecordBatch) -> anyhow::Result<()> {
        while self.outbox.state().bytes > HIGH_BYTES as u64 {
            tokio::time::sleep(POLL).await;
        }
        let (rows, now) = (batch.num_rows() as u64, Instant::now());
        let tally = Tally { rows, ..Tally::default() };
        self.outbox.push(&Joined { batch, class: Class::Denies, tally })?;
        let mut pushed = lock(&self.pushed);
        pushed.rows += rows;
        let up_to = pushed.rows;
        pushed.batches.push((up_to, now));
        Ok(())
    }

    /// To watch what becomes of the rows from another thread.
    pub(crate) fn waiting(&self) -> Waiting {
        Waiting { outbox: self.outbox.clone(), pushed: self.pushed.clone() }
    }

    /// Waits until the relay has acknowledged everything, and closes the connection.
    pub(crate) async fn finish(mut self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        (&mut self.task).await.context("the uplink broke off")
    }
}

impl Waiting {
    /// The batches that were pushed since the last call: up to which row each goes, and when it
    /// was pushed.
    pub(crate) fn pushed(&self) -> Vec<(u64, Instant)> {
        std::mem::take(&mut lock(&self.pushed).batches)
    }

    /// How many rows, from the first on, are acknowledged.
    pub(crate) fn acknowledged_rows(&self) -> u64 {
        let pushed = lock(&self.pushed).rows;
        // One that is in the outbox and not counted yet makes this too small for a moment.
        pushed.saturating_sub(self.outbox.state().rows)
    }
}

fn lock(pushed: &Mutex<Pushed>) -> MutexGuard<'_, Pushed> {
    pushed.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}
