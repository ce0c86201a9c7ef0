//! Tells the relay what the cluster's objects are, and since when.
//!
//! In: cluster states. Out: a `DoPut` stream of versions, one batch under way at a time. A stream
//! begins with everything, so neither side has to remember what the other knew; what changes while
//! there is no stream waits in a bounded queue. Texts are made for the batch under way only.

mod object;
mod versions;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::error::ArrowError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, PutResult};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use weir_flow::schema::objects::{ObjectVersion, ObjectVersionBuilder, object_schema};
use weir_flow::wire::{self, Acknowledgement, MAX_MESSAGE_BYTES, OBJECTS, ObjectsId};

use crate::health::Health;
use crate::source::ClusterState;
use crate::uplink::{RelayAddress, Retry, encode};
use versions::Versions;

/// Bytes of versions that wait while the relay is away.
const QUEUE_BYTES: usize = 32 << 20;
/// Most versions of a batch, and most bytes of their manifests unless one alone has more.
const BATCH_VERSIONS: usize = 2_048;
const BATCH_BYTES: usize = 1 << 20;
/// How long the relay may take to answer a batch.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Who tells whom.
#[derive(Clone, Debug)]
pub(crate) struct Teller {
    pub(crate) relay: RelayAddress,
    pub(crate) cluster: String,
    pub(crate) node: String,
    /// When this process began to be a collector, nanoseconds since 1970.
    pub(crate) epoch: u64,
}

/// What the follower of states and the sender share.
#[derive(Debug)]
struct Shared {
    versions: Mutex<Versions>,
    changed: Notify,
}

impl Shared {
    fn versions(&self) -> MutexGuard<'_, Versions> {
        // Every method leaves it whole.
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("cannot connect: {0}")]
    Connect(#[from] tonic::transport::Error),
    #[error("the relay refused: {} ({:?})", .0.message(), .0.code())]
    Refused(#[from] Box<tonic::Status>),
    #[error("the relay closed the stream")]
    Closed,
    #[error("the relay did not answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Silent,
    #[error("the relay's answer is not an acknowledgement: {0}")]
    Answer(#[from] serde_json::Error),
    #[error("the relay acknowledged batch {found}, not {expected}")]
    Order { expected: u64, found: u64 },
    #[error("versions cannot be encoded: {0}")]
    Encode(#[from] ArrowError),
    #[error("more changed than could wait: everything is said again")]
    Overflow,
}

impl Teller {
    /// Follows states and tells the relay until told to stop; then it has `drain` for the rest.
    pub(crate) async fn run(
        self,
        states: watch::Receiver<Option<ClusterState>>,
        health: Arc<Health>,
        shutdown: CancellationToken,
        drain: Duration,
    ) {
        let versions = Mutex::new(Versions::new(&self.cluster, &self.node, QUEUE_BYTES));
        let shared = Arc::new(Shared { versions, changed: Notify::new() });
        let late = async {
            shutdown.cancelled().await;
            tokio::time::sleep(drain).await;
        };
        let both = async {
            // The last state comes before the end, also where both are there at once.
            let told = CancellationToken::new();
            let following = async {
                follow(&shared, states, &health).await;
                shutdown.cancelled().await;
                told.cancel();
            };
            tokio::join!(following, self.streams(&shared, &told));
        };
        tokio::select! {
            () = both => {}
            () = late => tracing::warn!("stopping although the relay does not know every object"),
        }
    }

    /// One stream after another.
    async fn streams(&self, shared: &Shared, shutdown: &CancellationToken) {
        let mut retry = Retry::new(&self.relay, "objects");
        let mut ever_reached = false;
        loop {
            let mut reached = false;
            let Err(error) = self.stream(shared, shutdown, &mut reached).await else { return };
            ever_reached |= reached;
            // A relay that knows everything, or that was never there, is not waited for.
            let nothing_waits = shared.versions().waiting().next().is_none();
            if shutdown.is_cancelled() && (nothing_waits || !ever_reached) {
                return;
            }
            if reached {
                retry.reached();
            }
            retry.wait(&error).await;
        }
    }

    /// One stream; ends well only when everything is acknowledged after the shutdown.
    async fn stream(
        &self,
        shared: &Shared,
        shutdown: &CancellationToken,
        reached: &mut bool,
    ) -> Result<(), StreamError> {
        let everything = loop {
            let everything = shared.versions().everything();
            match everything {
                Some(everything) => break everything,
                None if shutdown.is_cancelled() => return Ok(()),
                None => tokio::select! {
                    () = shared.changed.notified() => {}
                    () = shutdown.cancelled() => {}
                },
            }
        };
        let mut stream = Stream::open(self).await?;
        let mut all = parts(everything.versions());
        let mut part = all.next().unwrap_or_default();
        loop {
            let next = all.next();
            let complete_at_ns = everything.complete_at_ns.filter(|_| next.is_none());
            stream.send(&part, complete_at_ns).await?;
            let Some(next) = next else { break };
            part = next;
        }
        drop(all);
        shared.versions().everything_acknowledged(&everything);
        let overflows = everything.overflows;
        drop(everything);
        *reached = true;
        loop {
            let waiting = {
                let versions = shared.versions();
                if versions.overflows() != overflows {
                    return Err(StreamError::Overflow);
                }
                parts(versions.waiting()).next()
            };
            if let Some(part) = waiting {
                stream.send(&part, None).await?;
                shared.versions().acknowledged(part.len(), overflows);
                continue;
            }
            if shutdown.is_cancelled() {
                return Ok(());
            }
            tokio::select! {
                () = shared.changed.notified() => {}
                () = shutdown.cancelled() => {}
                // Nothing is under way, so any word is the end of the stream.
                ended = stream.answers.message() => {
                    ended.map_err(Box::new)?;
                    return Err(StreamError::Closed);
                }
            }
        }
    }
}

/// Takes over each state as it comes, until there will be no more.
async fn follow(
    shared: &Shared,
    mut states: watch::Receiver<Option<ClusterState>>,
    health: &Health,
) {
    while states.changed().await.is_ok() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ns = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        let state = states.borrow_and_update().clone();
        let Some(state) = state else { continue };
        let mut versions = shared.versions();
        versions.update(&state, now_ns);
        health.set_lost("objects", "versions", versions.lost());
        drop(versions);
        shared.changed.notify_one();
    }
}

/// Versions in batches, each made when it is asked for.
fn parts(
    versions: impl Iterator<Item = ObjectVersion>,
) -> impl Iterator<Item = Vec<ObjectVersion>> {
    let mut versions = versions.peekable();
    std::iter::from_fn(move || {
        let mut part = Vec::new();
        let mut bytes = 0;
        while let Some(version) = versions.next_if(|version| {
            bytes += version.manifest.as_ref().map_or(0, String::len);
            part.is_empty() || part.len() < BATCH_VERSIONS && bytes <= BATCH_BYTES
        }) {
            part.push(version);
        }
        (!part.is_empty()).then_some(part)
    })
}

/// An open stream.
struct Stream<'a> {
    teller: &'a Teller,
    sender: mpsc::Sender<FlightData>,
    answers: Streaming<PutResult>,
    sequence: u64,
}

impl<'a> Stream<'a> {
    async fn open(teller: &'a Teller) -> Result<Self, StreamError> {
        let mut client = FlightServiceClient::new(teller.relay.connect().await?)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let (sender, receiver) = mpsc::channel(8);
        // The channel is empty and has room for the first one.
        let _ = sender.try_send(encode::beginning(OBJECTS, &object_schema()));
        let put = timeout(ANSWER_TIMEOUT, client.do_put(ReceiverStream::new(receiver)));
        let answers = put.await.map_err(|_| StreamError::Silent)?.map_err(Box::new)?.into_inner();
        Ok(Self { teller, sender, answers, sequence: 0 })
    }

    /// Sends a batch and waits until the relay has it.
    async fn send(
        &mut self,
        versions: &[ObjectVersion],
        complete_at_ns: Option<i64>,
    ) -> Result<(), StreamError> {
        self.sequence += 1;
        let id = ObjectsId {
            cluster: self.teller.cluster.clone(),
            node: self.teller.node.clone(),
            epoch: self.teller.epoch,
            sequence: self.sequence,
            complete_at_ns,
        };
        let mut builder = ObjectVersionBuilder::default();
        versions.iter().for_each(|version| builder.append(version));
        let mut messages = encode::batch(&builder.finish())?;
        if let Some(rows) = messages.last_mut() {
            rows.app_metadata = wire::encode(&id);
        }
        let exchange = async {
            for message in messages {
                // A stream that is closed says why in its answer.
                if self.sender.send(message).await.is_err() {
                    break;
                }
            }
            let answer = self.answers.message().await.map_err(Box::new)?;
            let answer = answer.ok_or(StreamError::Closed)?;
            let answer: Acknowledgement = wire::decode(&answer.app_metadata)?;
            if answer.sequence != self.sequence {
                let (expected, found) = (self.sequence, answer.sequence);
                return Err(StreamError::Order { expected, found });
            }
            Ok(())
        };
        timeout(ANSWER_TIMEOUT, exchange).await.map_err(|_| StreamError::Silent)?
    }
}

#[cfg(test)]
mod tests;
