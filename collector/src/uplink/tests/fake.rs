//! A relay that keeps nothing but numbers, and can be told to misbehave.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, Result as ActionResult, SchemaResult,
    Ticket,
};
use futures::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};
use weir_flow::wire::{self, Acknowledgement, BatchId, CollectorStatus};
use weir_relay::{Decoder, Message, ReceivedBatch};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Debug, Default)]
struct State {
    /// Sequence and rows of each batch held, in order of arrival.
    held: Vec<(u64, u64)>,
    last: u64,
    /// Verdicts that the ledger is told of.
    lost: u64,
    status: Option<CollectorStatus>,
    heartbeats: usize,
    connections: usize,
    /// The connection ends instead of this batch being answered.
    cut: Option<u64>,
    hold_answers: bool,
    refuse: bool,
    /// Counts up when all connections are to end.
    reset: usize,
}

#[derive(Clone, Debug)]
pub(super) struct FakeRelay {
    state: Arc<Mutex<State>>,
    address: String,
}

impl FakeRelay {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let relay = Self { state: Arc::default(), address };
        let service = FlightServiceServer::new(relay.clone());
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        relay
    }

    pub(super) fn address(&self) -> String {
        self.address.clone()
    }

    pub(super) fn held(&self) -> Vec<(u64, u64)> {
        self.state.lock().unwrap().held.clone()
    }

    pub(super) fn lost(&self) -> u64 {
        self.state.lock().unwrap().lost
    }

    pub(super) fn heartbeats(&self) -> usize {
        self.state.lock().unwrap().heartbeats
    }

    pub(super) fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    pub(super) fn last_status(&self) -> Option<CollectorStatus> {
        self.state.lock().unwrap().status.clone()
    }

    pub(super) fn cut_before_answering(&self, sequence: u64) {
        self.state.lock().unwrap().cut = Some(sequence);
    }

    pub(super) fn hold_answers(&self, hold: bool) {
        self.state.lock().unwrap().hold_answers = hold;
    }

    pub(super) fn refuse(&self, refuse: bool) {
        self.state.lock().unwrap().refuse = refuse;
    }

    /// As after a crash: nothing is known, and connections are gone.
    pub(super) fn forget(&self) {
        let mut state = self.state.lock().unwrap();
        state.held.clear();
        state.last = 0;
        state.reset += 1;
    }

    /// Holds a batch; false if the connection is to end now.
    fn hold(&self, id: &BatchId, rows: u64) -> bool {
        let mut state = self.state.lock().unwrap();
        if id.sequence > state.last {
            state.last = id.sequence;
            state.held.push((id.sequence, rows));
            state.lost += id.losses.iter().map(|entry| entry.count).sum::<u64>();
        }
        if state.cut == Some(id.sequence) {
            state.cut = None;
            return false;
        }
        true
    }

    async fn answer(
        &self,
        messages: &mut Streaming<FlightData>,
        decoder: &mut Decoder,
        reset: usize,
    ) -> Result<Option<PutResult>, Status> {
        loop {
            let Some(message) = messages.message().await? else { return Ok(None) };
            let read = decoder.read(&message);
            let read = read.map_err(|error| Status::invalid_argument(error.to_string()))?;
            let (epoch, sequence) = match read {
                Message::Preparation | Message::Objects { .. } => continue,
                Message::Heartbeat(id) => {
                    let mut state = self.state.lock().unwrap();
                    state.heartbeats += 1;
                    state.status = id.status;
                    (id.epoch, state.last)
                }
                Message::Batch(ReceivedBatch { id, batch, .. }) => {
                    if !self.hold(&id, batch.num_rows() as u64) {
                        return Err(Status::unavailable("cut"));
                    }
                    while self.state.lock().unwrap().hold_answers {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    (id.epoch, id.sequence)
                }
            };
            if self.state.lock().unwrap().reset != reset {
                return Err(Status::unavailable("reset"));
            }
            let answer = Acknowledgement { epoch, sequence };
            return Ok(Some(PutResult { app_metadata: wire::encode(&answer) }));
        }
    }
}

#[tonic::async_trait]
impl FlightService for FakeRelay {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoActionStream = Answers<ActionResult>;
    type ListActionsStream = Answers<ActionType>;
    type DoExchangeStream = Answers<FlightData>;

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let reset = {
            let mut state = self.state.lock().unwrap();
            state.connections += 1;
            if state.refuse {
                return Err(Status::unavailable("not now"));
            }
            state.reset
        };
        let start = (self.clone(), request.into_inner(), Decoder::default());
        let answers = futures::stream::try_unfold(start, move |mut state| async move {
            let answer = state.0.answer(&mut state.1, &mut state.2, reset).await?;
            Ok(answer.map(|answer| (answer, state)))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_flights(
        &self,
        _: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_flight_info(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn poll_flight_info(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_schema(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn do_get(&self, _: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn do_action(
        &self,
        _: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_actions(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn do_exchange(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(Status::unimplemented(""))
    }
}
