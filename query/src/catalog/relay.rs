//! Reads the relay over Arrow Flight.

use std::time::Duration;

use arrow::record_batch::RecordBatch;
use arrow_flight::decode::{DecodedPayload, FlightDataDecoder};
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{Action, FlightData, Ticket};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tonic::transport::{Channel, Endpoint};
use weir_flow::wire::{self, FollowTicket, HotHeader, HotPosition, HotTicket, RelayStatus};

use crate::error::StartError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest silence within an answer.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the relay gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    /// It cannot be reached, or refuses.
    #[error("the relay at {address} does not answer: {cause}")]
    Unreachable { address: String, cause: String },
    /// It was silent for too long.
    #[error("the relay at {address} was silent for {} seconds", MESSAGE_TIMEOUT.as_secs())]
    Silent { address: String },
    /// What it said is not what this version understands.
    #[error("the relay at {address} speaks otherwise than expected: {cause}")]
    Protocol { address: String, cause: String },
    /// It holds more hot rows than may be kept here.
    #[error(
        "the relay at {address} holds more than {limit} bytes of hot rows: \
         raise the limit `hot_bytes` of the query service"
    )]
    TooLarge { address: String, limit: usize },
}

/// The hot batches that were asked for.
#[derive(Debug)]
pub(crate) struct HotAnswer {
    pub(crate) header: HotHeader,
    pub(crate) batches: Vec<HotBatch>,
}

/// One hot batch.
#[derive(Clone, Debug)]
pub(crate) struct HotBatch {
    pub(crate) position: u64,
    pub(crate) wire_bytes: usize,
    pub(crate) batch: RecordBatch,
}

/// Batches as they come.
#[derive(Debug)]
pub(crate) struct Batches {
    relay: RelayClient,
    decoder: FlightDataDecoder,
}

/// What one message brought.
struct Brought {
    wire_bytes: usize,
    batch: Option<HotBatch>,
}

impl Batches {
    /// The next batch, however long that takes; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<HotBatch>, RelayError> {
        while let Some(brought) = self.message().await? {
            if brought.batch.is_some() {
                return Ok(brought.batch);
            }
        }
        Ok(None)
    }

    async fn message(&mut self) -> Result<Option<Brought>, RelayError> {
        let Some(message) = self.decoder.next().await else { return Ok(None) };
        let message = message.map_err(|error| match error {
            FlightError::Tonic(status) => self.relay.unreachable(&status),
            other => self.relay.protocol(other.to_string()),
        })?;
        let wire_bytes = message.inner.data_body.len();
        let batch = match message.payload {
            DecodedPayload::RecordBatch(batch) => {
                let at: HotPosition = wire::decode(&message.inner.app_metadata)
                    .map_err(|error| self.relay.protocol(format!("position: {error}")))?;
                Some(HotBatch { position: at.position, wire_bytes, batch })
            }
            _ => None,
        };
        Ok(Some(Brought { wire_bytes, batch }))
    }
}

/// A connection that is made when first used, and again after it broke.
#[derive(Clone, Debug)]
pub(crate) struct RelayClient {
    address: String,
    client: FlightServiceClient<Channel>,
}

impl RelayClient {
    /// Parses the address; nothing is connected yet. Needs a tokio runtime.
    pub(crate) fn new(address: &str) -> Result<Self, StartError> {
        let wrong = |cause: String| StartError::Relay { address: address.into(), cause };
        if !(address.starts_with("http://") || address.starts_with("unix:///")) {
            return Err(wrong("unknown scheme".into()));
        }
        let channel = Endpoint::from_shared(address.to_owned())
            .map_err(|error| wrong(error.to_string()))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
            .connect_lazy();
        let client = FlightServiceClient::new(channel)
            .max_decoding_message_size(wire::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(wire::MAX_MESSAGE_BYTES);
        Ok(Self { address: address.into(), client })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Fetches hot batches, at most `limit` bytes of them.
    pub(crate) async fn hot(&self, ticket: Bytes, limit: usize) -> Result<HotAnswer, RelayError> {
        let (header, mut stream) = self.get(ticket).await?;
        let mut batches = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.within(stream.message()).await?? {
            bytes += next.wire_bytes;
            if bytes > limit {
                return Err(RelayError::TooLarge { address: self.address.clone(), limit });
            }
            batches.extend(next.batch);
        }
        Ok(HotAnswer { header, batches })
    }

    /// Fetches hot batches, and each further one when it is there.
    pub(crate) async fn follow(
        &self,
        ticket: HotTicket,
    ) -> Result<(HotHeader, Batches), RelayError> {
        self.get(wire::encode(&FollowTicket { follow: ticket })).await
    }

    async fn get(&self, ticket: Bytes) -> Result<(HotHeader, Batches), RelayError> {
        let ticket = Ticket { ticket };
        let mut client = self.client.clone();
        let mut messages = self
            .within(client.do_get(ticket))
            .await?
            .map_err(|status| self.unreachable(&status))?
            .into_inner();
        let first = self
            .within(messages.message())
            .await?
            .map_err(|status| self.unreachable(&status))?
            .ok_or_else(|| self.protocol("the answer is empty"))?;
        let header: HotHeader = wire::decode(&first.app_metadata)
            .map_err(|error| self.protocol(format!("header: {error}")))?;

        // The header may come with the schema or alone.
        let first = (!first.data_header.is_empty()).then_some(first);
        let rest = messages.map_err(|status| FlightError::Tonic(Box::new(status)));
        let decoder =
            FlightDataDecoder::new(stream::iter(first.map(Ok::<FlightData, _>)).chain(rest));
        Ok((header, Batches { relay: self.clone(), decoder }))
    }

    /// Asks how the relay is.
    pub(crate) async fn status(&self) -> Result<RelayStatus, RelayError> {
        let action = Action { r#type: wire::STATUS_ACTION.into(), body: Bytes::new() };
        let mut client = self.client.clone();
        let mut results = self
            .within(client.do_action(action))
            .await?
            .map_err(|status| self.unreachable(&status))?
            .into_inner();
        let result = self
            .within(results.message())
            .await?
            .map_err(|status| self.unreachable(&status))?
            .ok_or_else(|| self.protocol("the status is empty"))?;
        wire::decode(&result.body).map_err(|error| self.protocol(format!("status: {error}")))
    }

    async fn within<T>(&self, future: impl Future<Output = T>) -> Result<T, RelayError> {
        tokio::time::timeout(MESSAGE_TIMEOUT, future)
            .await
            .map_err(|_| RelayError::Silent { address: self.address.clone() })
    }

    fn unreachable(&self, status: &tonic::Status) -> RelayError {
        let mut cause = status.message().to_owned();
        // tonic says "tcp connect error"; the system's reason is behind it.
        let mut source = std::error::Error::source(status);
        while let Some(error) = source {
            cause = error.to_string();
            source = error.source();
        }
        RelayError::Unreachable { address: self.address.clone(), cause }
    }

    pub(crate) fn protocol(&self, cause: impl Into<String>) -> RelayError {
        RelayError::Protocol { address: self.address.clone(), cause: cause.into() }
    }
}
