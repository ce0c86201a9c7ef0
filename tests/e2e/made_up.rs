//! Rows that no cluster has seen, brought to a relay the way a collector brings them.

use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use tokio_util::sync::CancellationToken;
use weir_collector::join::Joined;
use weir_collector::ledger::{Class, Tally};
use weir_collector::uplink::{OutboxHandle, Uplink};
use weir_flow::wire::CollectorStatus;

use crate::weir::PATIENCE;

/// Bytes that wait for the relay; more than any test brings.
const OUTBOX_BYTES: usize = 256 << 20;

/// Brings batches to the relay at `ingest` and waits until it has acknowledged all.
pub(crate) async fn bring(ingest: &str, batches: impl Iterator<Item = RecordBatch>) {
    let joined = batches.map(|batch| {
        let tally = Tally { rows: batch.num_rows() as u64, ..Tally::default() };
        Joined { batch, class: Class::Denies, tally }
    });
    send(ingest, "made-up/node", OUTBOX_BYTES, joined).await;
}

/// Of a collector that has no room for a batch the relay hears only what is lost.
pub(crate) async fn lose(ingest: &str, batch: RecordBatch, tally: Tally) {
    let joined = Joined { batch, class: Class::Allows, tally };
    send(ingest, "made-up/full", 0, std::iter::once(joined)).await;
}

async fn send(
    ingest: &str,
    collector: &str,
    outbox_bytes: usize,
    batches: impl Iterator<Item = Joined>,
) {
    let outbox = OutboxHandle::new(outbox_bytes);
    let status = CollectorStatus {
        cluster: "made-up".into(),
        node: "made-up".into(),
        ..CollectorStatus::default()
    };
    let uplink = Uplink {
        relay: format!("http://{ingest}").parse().unwrap(),
        collector: collector.into(),
        outbox: outbox.clone(),
        status: Arc::new(move || status.clone()),
        connected: Arc::new(|_| {}),
    };
    let end = CancellationToken::new();
    let sending = tokio::spawn(uplink.run(end.clone(), Duration::MAX));
    for joined in batches {
        outbox.push(&joined).unwrap();
    }
    end.cancel();
    let sent = tokio::time::timeout(PATIENCE, sending).await;
    sent.expect("the relay does not take the rows").unwrap();
}
