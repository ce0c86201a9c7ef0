//! Sends batches to the relay by Arrow Flight `DoPut` and keeps them until they are acknowledged.
//!
//! In: encoded batches, through [`OutboxHandle`]. Out: one stream to the relay. Capacity: the
//! outbox's bytes; its module says what goes when it is full. When the connection breaks,
//! everything unacknowledged is sent again in order. Told to stop, it goes on until everything is
//! acknowledged or time is up.

mod address;
pub(crate) mod encode;
mod outbox;
mod retry;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::error::ArrowError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, PutResult};
use futures::StreamExt as _;
use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use weir_flow::wire::{
    self, Acknowledgement, BatchId, CollectorStatus, MAX_MESSAGE_BYTES, SpoolStatus,
};

use crate::join::Joined;
use crate::journal::{Batch, BatchNumber, Restored, Rows, SpoolReader};
use crate::ledger::stage;
pub use address::{RelayAddress, RelayAddressError};
#[cfg(test)]
pub(crate) use encode::schema;
pub(crate) use outbox::{Content, FULL, Limits, size};
use outbox::{Next, Outbox};
pub(crate) use retry::Retry;

/// How often the relay hears how the collector is.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long the relay may take to answer the first message.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Batches handed to the transport ahead of it.
const IN_TRANSPORT: usize = 4;

/// Says how the collector is.
pub type StatusSource = Arc<dyn Fn() -> CollectorStatus + Send + Sync>;

/// The outbox, shared between the stage that fills it and the one that empties it.
#[derive(Clone, Debug)]
pub struct OutboxHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    outbox: Mutex<Outbox>,
    filled: Notify,
    /// None: everything is in memory.
    spool: Option<SpoolReader>,
}

/// What an outbox holds at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxState {
    /// Rows that wait for their acknowledgement.
    pub rows: u64,
    /// Bytes that count against its limit.
    pub bytes: u64,
    /// Verdicts whose rows were given up for want of room, or because they were damaged.
    pub given_up: u64,
    /// Files of batches.
    pub segments: usize,
    /// Time of the oldest row, nanoseconds since 1970.
    pub oldest_ns: Option<i64>,
}

impl OutboxHandle {
    /// An empty outbox of that many bytes, in memory.
    pub fn new(limit_bytes: usize) -> Self {
        let limits = Limits { stored_bytes: 0, memory_bytes: limit_bytes };
        Self::of(Outbox::new(limits), None)
    }

    /// The same, as the relay hears it.
    pub(crate) fn status(&self) -> (u64, SpoolStatus) {
        let OutboxState { rows, bytes, given_up, segments, oldest_ns } = self.state();
        let limit_bytes = self.lock().limit_bytes();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let oldest = oldest_ns.map_or(now, |ns| Duration::from_nanos(ns.max(0).unsigned_abs()));
        let oldest_ms = u64::try_from(now.saturating_sub(oldest).as_millis()).unwrap_or(u64::MAX);
        let segments = segments as u64;
        (rows, SpoolStatus { bytes, limit_bytes, segments, oldest_ms, given_up })
    }

    /// Adds a batch that is nowhere else; never waits.
    ///
    /// # Errors
    /// The batch cannot be encoded; it is not added.
    pub fn push(&self, joined: &Joined) -> Result<(), ArrowError> {
        let messages = encode::batch(&joined.batch)?;
        let mut outbox = self.lock();
        let last = outbox.last();
        let number = BatchNumber { sequence: last.sequence + 1, ..last };
        let rows = Rows { class: joined.class, tally: joined.tally, place: None };
        let mut batch =
            Batch { number, first: number.sequence, rows: Some(rows), losses: Vec::new() };
        if !outbox.make_room_in_memory(joined.class, size(&messages)) {
            outbox.count_given_up(&batch);
            batch.give_up(stage::SPOOL, FULL);
        }
        outbox.push(batch, Some(messages));
        drop(outbox);
        self.0.filled.notify_one();
        Ok(())
    }

    /// What another process has left, and where its bytes are read.
    pub(crate) fn resume(limits: Limits, restored: Restored, spool: Option<SpoolReader>) -> Self {
        Self::of(Outbox::resume(limits, restored), spool)
    }

    /// Adds a batch that was numbered since the last one was added.
    pub(crate) fn add(&self, batch: Batch, messages: Option<Vec<FlightData>>) {
        self.lock().push(batch, messages);
        self.0.filled.notify_one();
    }

    /// What it holds.
    pub fn state(&self) -> OutboxState {
        let outbox = self.lock();
        OutboxState {
            rows: outbox.rows(),
            bytes: outbox.bytes(),
            given_up: outbox.given_up(),
            segments: outbox.segments(),
            oldest_ns: outbox.oldest_ns(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Outbox> {
        // Every method leaves the outbox whole.
        self.0.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batch to send; waits for the disk if that is where it is.
    async fn next(&self) -> Result<Option<(Next, Vec<FlightData>)>, SessionError> {
        loop {
            let Some(mut next) = self.lock().next() else { return Ok(None) };
            let content = std::mem::replace(&mut next.content, Content::Nothing);
            let messages = match (content, &self.0.spool) {
                (Content::Messages(messages), _) => messages,
                (Content::Stored(class, place), Some(spool)) => {
                    let (spool, number) = (spool.clone(), next.number);
                    let read = move || spool.read(class, place, number);
                    let read = tokio::task::spawn_blocking(read).await;
                    let Some(messages) = read.map_err(std::io::Error::other)?? else {
                        tracing::error!(?number, ?place, "a batch in the spool is damaged");
                        self.lock().damaged(number);
                        continue;
                    };
                    messages
                }
                (Content::Nothing | Content::Stored(..), _) => encode::empty()?,
            };
            return Ok(Some((next, messages)));
        }
    }

    fn of(outbox: Outbox, spool: Option<SpoolReader>) -> Self {
        Self(Arc::new(Shared { outbox: Mutex::new(outbox), filled: Notify::new(), spool }))
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("cannot connect: {}", chain(.0))]
    Connect(#[from] tonic::transport::Error),
    #[error("the relay refused: {} ({:?})", .0.message(), .0.code())]
    Refused(#[from] Box<tonic::Status>),
    #[error("the relay closed the stream")]
    Closed,
    #[error("the relay did not answer within {} s", HELLO_TIMEOUT.as_secs())]
    Silent,
    #[error("the relay's answer is not an acknowledgement: {0}")]
    Answer(#[from] serde_json::Error),
    #[error("the spool cannot be read: {0}")]
    Spool(#[from] std::io::Error),
    #[error("cannot encode a batch without rows: {0}")]
    Encode(#[from] ArrowError),
    #[error("the relay acknowledged epoch {found}, asked about {asked}")]
    Epoch { asked: u64, found: u64 },
}

/// The stage that sends.
pub struct Uplink {
    /// Where to.
    pub relay: RelayAddress,
    /// [`BatchId::collector`].
    pub collector: String,
    /// What to send.
    pub outbox: OutboxHandle,
    /// What to tell besides.
    pub status: StatusSource,
    /// Told whether the relay is connected.
    pub connected: Arc<dyn Fn(bool) + Send + Sync>,
}

impl Uplink {
    /// Sends until told to stop, then until everything is acknowledged or `drain` has passed.
    /// Rows that are still unacknowledged then stay in the outbox.
    pub async fn run(self, shutdown: CancellationToken, drain: Duration) {
        let late = async {
            shutdown.cancelled().await;
            tokio::time::sleep(drain).await;
        };
        tokio::select! {
            () = self.sessions(&shutdown) => {}
            () = late => tracing::warn!(
                rows = self.outbox.state().rows,
                "stopping although the relay has not acknowledged everything"
            ),
        }
        (self.connected)(false);
    }

    /// One connection after another.
    async fn sessions(&self, shutdown: &CancellationToken) {
        let mut retry = Retry::new(&self.relay, "rows");
        loop {
            let mut reached = false;
            let Err(error) = self.session(shutdown, &mut reached).await else { return };
            (self.connected)(false);
            if shutdown.is_cancelled() && self.outbox.lock().is_empty() {
                return;
            }
            if reached {
                retry.reached();
            }
            retry.wait(&error).await;
        }
    }

    /// One connection; ends well only when everything is acknowledged after the shutdown.
    async fn session(
        &self,
        shutdown: &CancellationToken,
        reached: &mut bool,
    ) -> Result<(), SessionError> {
        let mut client = FlightServiceClient::new(self.relay.connect().await?)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let (sender, receiver) = mpsc::channel::<Vec<FlightData>>(IN_TRANSPORT);
        let epochs = self.outbox.lock().epochs();
        let ask = |asked: BatchNumber| encode::heartbeat(&self.id(asked, Some((self.status)())));
        // The channel is empty and has room for the first one.
        let _ = sender.try_send(vec![encode::schema(), ask(epochs[0])]);
        let stream = ReceiverStream::new(receiver).flat_map(futures::stream::iter);
        let hello = async {
            let mut answers = client.do_put(stream).await.map_err(Box::new)?.into_inner();
            let mut acknowledged = vec![self.answer(&mut answers).await?];
            for asked in &epochs[1..] {
                sender.send(vec![ask(*asked)]).await.map_err(|_| SessionError::Closed)?;
                acknowledged.push(self.answer(&mut answers).await?);
            }
            for (asked, answer) in epochs.iter().zip(&acknowledged) {
                if answer.epoch != asked.epoch {
                    return Err(SessionError::Epoch { asked: asked.epoch, found: answer.epoch });
                }
            }
            Ok((answers, acknowledged))
        };
        let (mut answers, acknowledged) =
            timeout(HELLO_TIMEOUT, hello).await.map_err(|_| SessionError::Silent)??;
        self.outbox.lock().connected(&acknowledged);
        *reached = true;
        (self.connected)(true);
        tracing::info!(relay = %self.relay, ?acknowledged, "connected to the relay");

        let mut beat = interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ready: Option<Vec<FlightData>> = None;
        loop {
            if shutdown.is_cancelled() && self.outbox.lock().is_empty() {
                return Ok(());
            }
            if ready.is_none() {
                ready = self.next_batch().await?;
            }
            tokio::select! {
                answer = self.answer(&mut answers) => {
                    self.outbox.lock().acknowledged(answer?);
                }
                permit = sender.reserve(), if ready.is_some() => {
                    let permit = permit.map_err(|_| SessionError::Closed)?;
                    permit.send(ready.take().unwrap_or_default());
                }
                // If there is no room the relay hears of us by the batches.
                _ = beat.tick() => drop(sender.try_send(vec![self.heartbeat()])),
                () = self.outbox.0.filled.notified(), if ready.is_none() => {}
                () = shutdown.cancelled(), if !shutdown.is_cancelled() => {}
            }
        }
    }

    /// The messages of the next batch, the last with its metadata.
    async fn next_batch(&self) -> Result<Option<Vec<FlightData>>, SessionError> {
        let Some((next, mut messages)) = self.outbox.next().await? else { return Ok(None) };
        if let Some(rows) = messages.last_mut() {
            let id = BatchId { losses: next.losses, ..self.id(next.number, None) };
            rows.app_metadata = wire::encode(&id);
        }
        Ok(Some(messages))
    }

    fn heartbeat(&self) -> FlightData {
        let status = Some((self.status)());
        let number = self.outbox.lock().last();
        encode::heartbeat(&self.id(number, status))
    }

    fn id(&self, number: BatchNumber, status: Option<CollectorStatus>) -> BatchId {
        let BatchNumber { epoch, sequence } = number;
        BatchId { collector: self.collector.clone(), epoch, sequence, status, losses: vec![] }
    }

    async fn answer(
        &self,
        answers: &mut Streaming<PutResult>,
    ) -> Result<BatchNumber, SessionError> {
        let answer = answers.message().await.map_err(Box::new)?.ok_or(SessionError::Closed)?;
        let Acknowledgement { epoch, sequence } = wire::decode(&answer.app_metadata)?;
        Ok(BatchNumber { epoch, sequence })
    }
}

/// An error and what caused it, as the transport's own message names neither address nor cause.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
