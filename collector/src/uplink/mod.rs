//! Sends batches to the relay by Arrow Flight `DoPut` and keeps them until they are acknowledged.
//!
//! In: encoded batches, through [`OutboxHandle`]. Out: one stream to the relay. Capacity: the
//! outbox's bytes; its module says what goes when it is full. When the connection breaks,
//! everything unacknowledged is sent again in order. Told to stop, it goes on until everything is
//! acknowledged or time is up.

mod address;
pub(crate) mod encode;
mod outbox;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::error::ArrowError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, PutResult};
use futures::StreamExt as _;
use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use weir_flow::wire::{self, Acknowledgement, BatchId, CollectorStatus, MAX_MESSAGE_BYTES};

use crate::join::Joined;
pub use address::{RelayAddress, RelayAddressError};
use outbox::{Outbox, Parcel};

/// How often the relay hears how the collector is.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long the relay may take to answer the first message.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Batches handed to the transport ahead of it.
const IN_TRANSPORT: usize = 4;
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Says how the collector is.
pub type StatusSource = Arc<dyn Fn() -> CollectorStatus + Send + Sync>;

/// The outbox, shared between the stage that fills it and the one that empties it.
#[derive(Clone, Debug)]
pub struct OutboxHandle(Arc<(Mutex<Outbox>, Notify)>);

/// What an outbox holds at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxState {
    /// Rows that wait for their acknowledgement.
    pub rows: u64,
    /// Their bytes.
    pub bytes: usize,
    /// Rows that were given up for want of room.
    pub lost_rows: u64,
}

impl OutboxHandle {
    /// An empty outbox of that many bytes.
    pub fn new(limit_bytes: usize) -> Self {
        Self(Arc::new((Mutex::new(Outbox::new(limit_bytes)), Notify::new())))
    }

    /// Adds a batch; never waits.
    ///
    /// # Errors
    /// The batch cannot be encoded; it is not added.
    pub fn push(&self, joined: &Joined) -> Result<(), ArrowError> {
        let parcel = Parcel {
            messages: encode::batch(&joined.batch)?,
            rows: joined.batch.num_rows() as u64,
            has_denies: joined.has_denies,
        };
        self.lock().push(parcel);
        self.0.1.notify_one();
        Ok(())
    }

    /// What it holds.
    pub fn state(&self) -> OutboxState {
        let outbox = self.lock();
        OutboxState { rows: outbox.rows(), bytes: outbox.bytes(), lost_rows: outbox.lost_rows() }
    }

    fn lock(&self) -> MutexGuard<'_, Outbox> {
        // Every method leaves the outbox whole.
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn filled(&self) {
        self.0.1.notified().await;
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
    #[error("the relay acknowledged epoch {found}, this is {own}")]
    Epoch { own: u64, found: u64 },
}

/// The stage that sends.
pub struct Uplink {
    /// Where to.
    pub relay: RelayAddress,
    /// [`BatchId::collector`].
    pub collector: String,
    /// [`BatchId::epoch`].
    pub epoch: u64,
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
        let mut retry = FIRST_RETRY;
        let mut reported = String::new();
        loop {
            let mut reached = false;
            let Err(error) = self.session(shutdown, &mut reached).await else { return };
            (self.connected)(false);
            if shutdown.is_cancelled() && self.outbox.lock().is_empty() {
                return;
            }
            if reached {
                retry = FIRST_RETRY;
                reported.clear();
            }
            let problem = error.to_string();
            if problem != reported {
                tracing::warn!(relay = %self.relay, "{problem}; trying again");
                reported = problem;
            }
            tokio::time::sleep(retry).await;
            retry = (retry * 2).min(LAST_RETRY);
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
        // The channel is empty and has room for the first one.
        let _ = sender.try_send(vec![encode::schema(), self.heartbeat()]);
        let stream = ReceiverStream::new(receiver).flat_map(futures::stream::iter);
        let hello = async {
            let mut answers = client.do_put(stream).await.map_err(Box::new)?.into_inner();
            let first = self.answer(&mut answers).await?;
            Ok::<_, SessionError>((answers, first))
        };
        let (mut answers, first) =
            timeout(HELLO_TIMEOUT, hello).await.map_err(|_| SessionError::Silent)??;
        self.outbox.lock().connected(first.sequence);
        *reached = true;
        (self.connected)(true);
        tracing::info!(relay = %self.relay, acknowledged = first.sequence, "connected to the relay");

        let mut beat = interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ready: Option<Vec<FlightData>> = None;
        loop {
            if shutdown.is_cancelled() && self.outbox.lock().is_empty() {
                return Ok(());
            }
            if ready.is_none() {
                ready = self.next_batch();
            }
            tokio::select! {
                answer = self.answer(&mut answers) => {
                    self.outbox.lock().acknowledged(answer?.sequence);
                }
                permit = sender.reserve(), if ready.is_some() => {
                    let permit = permit.map_err(|_| SessionError::Closed)?;
                    permit.send(ready.take().unwrap_or_default());
                }
                // If there is no room the relay hears of us by the batches.
                _ = beat.tick() => drop(sender.try_send(vec![self.heartbeat()])),
                () = self.outbox.filled(), if ready.is_none() => {}
                () = shutdown.cancelled(), if !shutdown.is_cancelled() => {}
            }
        }
    }

    /// The messages of the next batch, the last with its metadata.
    fn next_batch(&self) -> Option<Vec<FlightData>> {
        let (sequence, mut messages) = self.outbox.lock().next()?;
        if let Some(rows) = messages.last_mut() {
            rows.app_metadata = wire::encode(&self.id(sequence, None));
        }
        Some(messages)
    }

    fn heartbeat(&self) -> FlightData {
        let status = Some((self.status)());
        let sequence = self.outbox.lock().last_sequence();
        encode::heartbeat(&self.id(sequence, status))
    }

    fn id(&self, sequence: u64, status: Option<CollectorStatus>) -> BatchId {
        BatchId { collector: self.collector.clone(), epoch: self.epoch, sequence, status }
    }

    async fn answer(
        &self,
        answers: &mut Streaming<PutResult>,
    ) -> Result<Acknowledgement, SessionError> {
        let answer = answers.message().await.map_err(Box::new)?.ok_or(SessionError::Closed)?;
        let acknowledgement: Acknowledgement = wire::decode(&answer.app_metadata)?;
        if acknowledgement.epoch == self.epoch {
            Ok(acknowledgement)
        } else {
            Err(SessionError::Epoch { own: self.epoch, found: acknowledgement.epoch })
        }
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
