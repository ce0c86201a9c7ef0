//! `DoPut`: reads a collector's stream and answers each batch once it is on disk.
//!
//! In: Flight messages. Out: one acknowledgement for each batch and heartbeat, in their order. So many
//! batches of a stream are on their way to disk at a time: [`IN_FLIGHT`]; beyond it, and while memory
//! or the log is full, the stream stands still, so that HTTP/2 flow control holds the collector back.
//! Told to stop, it reads no more, and answers what is on its way.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow_flight::{FlightData, PutResult};
use futures::{Stream, StreamExt as _};
use rustc_hash::FxHashSet;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use weir_flow::schema::objects::ObjectVersion;
use weir_flow::wire::{self, Acknowledgement, BatchId, ObjectsId};

use super::get;
use crate::decode::{Decoder, Message, ReceivedBatch};
use crate::hot::Offer;
use crate::objects::{Key, MAX_OBJECTS, Refusal};
use crate::relay::{Shared, now_ns};
use crate::wal::{Arrived, Record};

/// Batches of one stream on their way to disk.
const IN_FLIGHT: usize = 16;

/// How long the store may take to say what other relays have of a collector.
const ASK_STORE: Duration = Duration::from_secs(5);

/// The answers to a stream of messages.
pub(super) fn answers(
    shared: Arc<Shared>,
    messages: impl Stream<Item = Result<FlightData, Status>> + Send + Unpin + 'static,
    stop: CancellationToken,
) -> impl Stream<Item = Result<PutResult, Status>> + Send + 'static {
    let known = Some(FxHashSet::default());
    let reader = Reader {
        shared: shared.clone(),
        messages,
        decoder: Decoder::default(),
        asked: false,
        known,
        stop,
    };
    let taken = futures::stream::unfold(Some(reader), async |reader| {
        let mut reader = reader?;
        match reader.next().await {
            Ok(None) => None,
            Ok(Some(taken)) => Some((Ok(taken), Some(reader))),
            Err(status) => Some((Err(status), None)),
        }
    });
    taken.map(move |taken| answer(shared.clone(), taken)).buffered(IN_FLIGHT)
}

/// What is to be answered, and when.
enum Taken {
    /// Once this position is on disk.
    Batch { acknowledgement: Acknowledgement, position: u64 },
    /// When it is its turn.
    Heartbeat(Box<BatchId>),
}

async fn answer(shared: Arc<Shared>, taken: Result<Taken, Status>) -> Result<PutResult, Status> {
    let acknowledgement = match taken? {
        Taken::Batch { acknowledgement, position } => {
            let mut written = shared.written.subscribe();
            tokio::select! {
                biased;
                held = written.wait_for(|up_to| *up_to >= position) => {
                    held.map_err(|_| stopping())?;
                }
                () = shared.gone.cancelled() => return Err(stopping()),
            }
            acknowledgement
        }
        Taken::Heartbeat(id) => shared.hot().acknowledgement(&id),
    };
    Ok(PutResult { app_metadata: wire::encode(&acknowledgement) })
}

struct Reader<S> {
    shared: Arc<Shared>,
    messages: S,
    decoder: Decoder,
    /// Whether the store was asked how far the collector is.
    asked: bool,
    /// Objects of this stream, until the collector has said everything that it knows.
    known: Option<FxHashSet<Key>>,
    stop: CancellationToken,
}

impl<S: Stream<Item = Result<FlightData, Status>> + Unpin> Reader<S> {
    async fn next(&mut self) -> Result<Option<Taken>, Status> {
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
                    self.shared.hot().heartbeat(&id, now_ns());
                    return Ok(Some(Taken::Heartbeat(Box::new(id))));
                }
                Message::Batch(received) => {
                    if !std::mem::replace(&mut self.asked, true) {
                        ask(&self.shared, &received.id).await;
                    }
                    let position = take(&self.shared, &self.stop, &received).await?;
                    let BatchId { epoch, sequence, .. } = received.id;
                    let acknowledgement = Acknowledgement { epoch, sequence };
                    return Ok(Some(Taken::Batch { acknowledgement, position }));
                }
                Message::Objects { id, versions } => {
                    let position = self.keep(&id, versions)?;
                    let (epoch, sequence) = (id.epoch, id.sequence);
                    let acknowledgement = Acknowledgement { epoch, sequence };
                    return Ok(Some(Taken::Batch { acknowledgement, position }));
                }
            }
        }
    }
}

impl<S> Reader<S> {
    /// Returns the position after which the versions are on disk.
    fn keep(&mut self, id: &ObjectsId, versions: Vec<ObjectVersion>) -> Result<u64, Status> {
        if let Some(known) = &mut self.known {
            known.extend(versions.iter().filter(|v| v.manifest.is_some()).map(Key::of));
            if known.len() > MAX_OBJECTS {
                return Err(Status::resource_exhausted("a collector knows too many objects"));
            }
        }
        let now = now_ns();
        let mut hot = self.shared.hot();
        let mut objects = self.shared.objects();
        let mut log = |new: Option<RecordBatch>| -> Result<usize, Status> {
            let Some(new) = new else { return Ok(0) };
            let messages = get::whole(&new).map_err(|error| {
                Status::internal(format!("cannot encode versions of objects: {error}"))
            })?;
            let arrived = Arrived { at_ns: now, missing: 0, heard_ns: now };
            let metadata =
                Buffer::from(wire::encode(&ObjectsId { complete_at_ns: None, ..id.clone() }));
            hot.take_objects(
                |position| Record::objects(position, arrived, &metadata, &messages),
                now,
            );
            Ok(new.num_rows())
        };
        let mut new = log(objects.take(versions, now).map_err(refused)?)?;
        if let Some(at_ns) = id.complete_at_ns
            && let Some(known) = self.known.take()
        {
            new += log(objects.complete(id, at_ns, &known, now).map_err(refused)?)?;
        }
        let (objects_known, _) = objects.size();
        let position = hot.taken_position();
        drop((objects, hot));
        let metrics = &self.shared.metrics;
        metrics.object_versions.inc_by(new as u64);
        metrics.objects.set(i64::try_from(objects_known).unwrap_or(i64::MAX));
        if new > 0 {
            self.shared.bell.ring();
        }
        Ok(position)
    }
}

/// A collector that comes may have been with another relay. Without an answer of the store,
/// what it sends again is new, and what it does not is missing.
async fn ask(shared: &Shared, id: &BatchId) {
    match tokio::time::timeout(ASK_STORE, shared.store.newest()).await {
        Ok(Ok(manifest)) => shared.hot().learn(id, &manifest),
        Ok(Err(error)) => tracing::warn!(%error, "cannot ask the store how far a collector is"),
        Err(_) => tracing::warn!("the store does not say how far a collector is"),
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

/// Returns the position of a batch once it is taken; waits for room.
async fn take(
    shared: &Arc<Shared>,
    stop: &CancellationToken,
    received: &ReceivedBatch,
) -> Result<u64, Status> {
    let metrics = &shared.metrics;
    let mut waiting = None;
    loop {
        let room = shared.room.notified();
        tokio::pin!(room);
        // Enlisted before the offer, so that room made in between is not missed.
        room.as_mut().enable();
        let offer = shared.hot().offer(received, now_ns());
        match offer {
            Offer::Taken { position, missing } => {
                shared.bell.ring();
                metrics.rows.inc_by(received.batch.num_rows() as u64);
                metrics.batches.inc();
                if missing > 0 {
                    metrics.missing_batches.inc_by(missing);
                    tracing::error!(
                        collector = received.id.collector,
                        missing,
                        before = received.id.sequence,
                        "batches never arrived"
                    );
                }
                return Ok(position);
            }
            Offer::Again { position } => {
                metrics.repeated_batches.inc();
                return Ok(position);
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
