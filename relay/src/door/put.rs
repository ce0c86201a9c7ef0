//! `DoPut`: reads a collector's stream and answers each batch once it is held.
//!
//! In: Flight messages. Out: one acknowledgement for each batch and heartbeat. Nothing is queued:
//! the next message is read when the answer to the last one was taken, and while memory is full
//! the stream stands still, so that HTTP/2 flow control holds the collector back. Told to stop, it
//! ends between two batches.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow_flight::{FlightData, PutResult};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use rustc_hash::FxHashSet;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use weir_flow::schema::objects::ObjectVersion;
use weir_flow::wire::{self, Acknowledgement, BatchId, ObjectsId};

use crate::decode::{Decoder, Message};
use crate::hot::Offer;
use crate::objects::{Key, MAX_OBJECTS, Refusal};
use crate::relay::{Shared, now_ns};

/// The answers to a stream of messages.
pub(super) fn answers(
    shared: Arc<Shared>,
    messages: impl Stream<Item = Result<FlightData, Status>> + Send + Unpin + 'static,
    stop: CancellationToken,
) -> impl Stream<Item = Result<PutResult, Status>> + Send + 'static {
    let known = Some(FxHashSet::default());
    let reader = Reader { shared, messages, decoder: Decoder::default(), known, stop };
    futures::stream::try_unfold(reader, async |mut reader| {
        let answer = reader.next().await?;
        Ok(answer.map(|answer| (answer, reader)))
    })
    .map_ok(|answer| PutResult { app_metadata: wire::encode(&answer) })
}

struct Reader<S> {
    shared: Arc<Shared>,
    messages: S,
    decoder: Decoder,
    /// Objects of this stream, until the collector has said everything that it knows.
    known: Option<FxHashSet<Key>>,
    stop: CancellationToken,
}

impl<S: Stream<Item = Result<FlightData, Status>> + Unpin> Reader<S> {
    async fn next(&mut self) -> Result<Option<Acknowledgement>, Status> {
        loop {
            let message = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(stopping()),
                message = self.messages.next() => message,
            };
            let Some(message) = message else { return Ok(None) };
            let message = self.decoder.read(&message?).map_err(|error| {
                self.shared.metrics.refused_messages.inc();
                tracing::warn!(%error, "refused a message");
                Status::invalid_argument(error.to_string())
            })?;
            match message {
                Message::Preparation => {}
                Message::Heartbeat(id) => {
                    let mut hot = self.shared.hot();
                    hot.heartbeat(&id, now_ns());
                    return Ok(Some(hot.acknowledgement(&id)));
                }
                Message::Batch { id, batch, bytes } => {
                    hold(&self.shared, &self.stop, &id, &batch, bytes).await?;
                    return Ok(Some(Acknowledgement { epoch: id.epoch, sequence: id.sequence }));
                }
                Message::Objects { id, versions } => {
                    self.keep(&id, versions)?;
                    return Ok(Some(Acknowledgement { epoch: id.epoch, sequence: id.sequence }));
                }
            }
        }
    }
}

impl<S> Reader<S> {
    fn keep(&mut self, id: &ObjectsId, versions: Vec<ObjectVersion>) -> Result<(), Status> {
        if let Some(known) = &mut self.known {
            known.extend(versions.iter().filter(|v| v.manifest.is_some()).map(Key::of));
            if known.len() > MAX_OBJECTS {
                return Err(Status::resource_exhausted("a collector knows too many objects"));
            }
        }
        let mut objects = self.shared.objects();
        let mut new = objects.take(versions, now_ns()).map_err(refused)?;
        if let Some(at_ns) = id.complete_at_ns
            && let Some(known) = self.known.take()
        {
            new += objects.complete(id, at_ns, &known, now_ns()).map_err(refused)?;
        }
        let (objects_known, _) = objects.size();
        drop(objects);
        let metrics = &self.shared.metrics;
        metrics.object_versions.inc_by(new as u64);
        metrics.objects.set(i64::try_from(objects_known).unwrap_or(i64::MAX));
        if new > 0 {
            self.shared.arrived.notify_one();
        }
        Ok(())
    }
}

fn refused(refusal: Refusal) -> Status {
    match refusal {
        Refusal::Full => Status::resource_exhausted(
            "the relay has no room for more objects: send them again later",
        ),
        Refusal::Closed => stopping(),
    }
}

/// Returns once the batch is held; waits for room.
async fn hold(
    shared: &Arc<Shared>,
    stop: &CancellationToken,
    id: &BatchId,
    batch: &RecordBatch,
    bytes: usize,
) -> Result<(), Status> {
    let metrics = &shared.metrics;
    let mut waiting = None;
    loop {
        let room = shared.room.notified();
        tokio::pin!(room);
        // Enlisted before the offer, so that room made in between is not missed.
        room.as_mut().enable();
        let offer = {
            let mut hot = shared.hot();
            let offer = hot.offer(id, batch, bytes, now_ns());
            let (rows, bytes) = hot.size();
            metrics.hot_rows.set(i64::try_from(rows).unwrap_or(i64::MAX));
            metrics.hot_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            offer
        };
        match offer {
            Offer::Held { missing } => {
                metrics.rows.inc_by(batch.num_rows() as u64);
                metrics.batches.inc();
                if missing > 0 {
                    metrics.missing_batches.inc_by(missing);
                    tracing::error!(
                        collector = id.collector,
                        missing,
                        before = id.sequence,
                        "batches never arrived"
                    );
                }
                shared.arrived.notify_one();
                return Ok(());
            }
            Offer::Again => {
                metrics.repeated_batches.inc();
                return Ok(());
            }
            Offer::Closed => return Err(stopping()),
            Offer::Full => {
                waiting.get_or_insert_with(|| Waiting::begin(shared));
                tokio::select! {
                    () = room => {}
                    () = stop.cancelled() => return Err(stopping()),
                }
            }
        }
    }
}

/// Counts a waiting batch for as long as it waits, also when its connection goes.
struct Waiting(Arc<Shared>);

impl Waiting {
    fn begin(shared: &Arc<Shared>) -> Self {
        shared.metrics.waiting.inc();
        Self(shared.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.metrics.waiting.dec();
    }
}

fn stopping() -> Status {
    Status::unavailable("the relay is stopping: send what is not acknowledged again later")
}
