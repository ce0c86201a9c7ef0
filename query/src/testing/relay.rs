//! A relay that speaks real Flight on a real socket and keeps to the contract of `flow::wire` and
//! `flow::manifest`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::stream::{self, BoxStream, Stream};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use weir_flow::manifest::{ExpiredCause, ExpiredClass, FlushedUpTo};
use weir_flow::schema::loss::loss_schema;
use weir_flow::schema::stored_schema;
use weir_flow::wire::{
    self, FollowTicket, HotHeader, HotPosition, HotTicket, LossTicket, RelayStatus,
};

use super::store::FakeStore;

/// The relay.
#[derive(Clone)]
pub(crate) struct FakeRelay {
    state: Arc<Mutex<State>>,
    /// Wakes followers.
    pushed: watch::Sender<()>,
}

struct State {
    store: Arc<FakeStore>,
    epoch: u64,
    /// Of the manifest that it wrote last.
    version: u64,
    flows: Hot,
    loss: Hot,
    rolls_up: bool,
    status: RelayStatus,
    sent: usize,
}

struct Hot {
    next: u64,
    batches: Vec<(u64, RecordBatch)>,
}

impl Hot {
    fn new() -> Self {
        Self { next: 1, batches: vec![] }
    }

    fn push(&mut self, batch: RecordBatch) {
        self.batches.push((self.next, batch));
        self.next += 1;
    }

    fn header(&self, relay_epoch: u64, manifest_version: u64) -> HotHeader {
        HotHeader {
            relay_epoch,
            manifest_version,
            first: self.batches.first().map_or(self.next, |(position, _)| *position),
            last: self.next - 1,
        }
    }

    fn after(&self, after: u64) -> Vec<(u64, RecordBatch)> {
        self.batches.iter().filter(|(position, _)| *position > after).cloned().collect()
    }

    fn drain(&mut self) -> Vec<RecordBatch> {
        self.batches.drain(..).map(|(_, batch)| batch).collect()
    }
}

impl FakeRelay {
    pub(crate) fn new(store: &Arc<FakeStore>, epoch: u64) -> Self {
        let state = State {
            store: store.clone(),
            epoch,
            version: 0,
            flows: Hot::new(),
            loss: Hot::new(),
            rolls_up: false,
            status: RelayStatus { version: "fake".into(), ..RelayStatus::default() },
            sent: 0,
        };
        Self { state: Arc::new(Mutex::new(state)), pushed: watch::Sender::new(()) }
    }

    /// Takes a batch; from now on it is acknowledged.
    pub(crate) fn push(&self, batch: RecordBatch) {
        self.state.lock().unwrap().flows.push(batch);
        self.pushed.send_replace(());
    }

    /// Takes entries of the ledger.
    pub(crate) fn push_loss(&self, batch: RecordBatch) {
        self.state.lock().unwrap().loss.push(batch);
    }

    /// Writes what is hot into files of the next manifest.
    pub(crate) fn flush(&self) {
        let state = &mut *self.state.lock().unwrap();
        let (flows, loss) = (state.flows.drain(), state.loss.drain());
        if flows.is_empty() && loss.is_empty() {
            return;
        }
        let (relay_epoch, rolls_up) = (state.epoch, state.rolls_up);
        let (position, loss_position) = (state.flows.next - 1, state.loss.next - 1);
        state.version = state.store.commit(|store, manifest| {
            let version = manifest.version;
            if !flows.is_empty() {
                manifest.files.push(store.flows(&format!("f-{version}"), &flows, rolls_up));
            }
            if !loss.is_empty() {
                manifest.loss.push(store.loss(&format!("l-{version}"), &loss));
            }
            manifest.flushed.retain(|known| known.relay_epoch != relay_epoch);
            let flushed = FlushedUpTo { relay_epoch, position, loss_position, at_ns: 0 };
            manifest.flushed.push(flushed);
        });
    }

    /// Removes the oldest file, as retention does.
    pub(crate) fn expire(&self, class: ExpiredClass, cause: ExpiredCause) {
        let state = &mut *self.state.lock().unwrap();
        state.version = state.store.commit(|_, manifest| {
            let loss = class == ExpiredClass::Loss;
            let file = if loss { manifest.loss.remove(0) } else { manifest.files.remove(0) };
            manifest.expire(class, cause, &file);
        });
    }

    /// Begins a new life; what was hot comes again at other positions.
    pub(crate) fn restart(&self) {
        let state = &mut *self.state.lock().unwrap();
        state.epoch += 1;
        for hot in [&mut state.flows, &mut state.loss] {
            let batches = hot.drain();
            *hot = Hot::new();
            batches.into_iter().for_each(|batch| hot.push(batch));
        }
    }

    /// Whether files have roll-ups from now on.
    pub(crate) fn rolls_up(&self, rolls_up: bool) {
        self.state.lock().unwrap().rolls_up = rolls_up;
    }

    pub(crate) fn set_status(&self, status: RelayStatus) {
        self.state.lock().unwrap().status = status;
    }

    /// Batches sent so far.
    pub(crate) fn sent(&self) -> usize {
        self.state.lock().unwrap().sent
    }

    /// Serves on a port of its own until the token is cancelled; then every connection breaks, as
    /// they do when a process ends.
    pub(crate) fn serve(&self, shutdown: CancellationToken) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let service = FlightServiceServer::new(self.clone());
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                let incoming = stream::unfold(listener, async |listener| {
                    let accepted = listener.accept().await.map(|(stream, _)| stream);
                    Some((accepted, listener))
                });
                let server = tonic::transport::Server::builder()
                    .add_service(service)
                    .serve_with_incoming(incoming);
                tokio::select! {
                    served = server => served.unwrap(),
                    () = shutdown.cancelled() => {}
                }
            });
        });
        address
    }

    /// What is hot behind the ticket's position.
    fn view(
        &self,
        ticket: &HotTicket,
        of: impl Fn(&State) -> &Hot,
    ) -> (HotHeader, Vec<(u64, RecordBatch)>) {
        let mut state = self.state.lock().unwrap();
        let after = if ticket.relay_epoch == state.epoch { ticket.after } else { 0 };
        let hot = of(&state);
        let (header, batches) = (hot.header(state.epoch, state.version), hot.after(after));
        state.sent += batches.len();
        (header, batches)
    }

    /// Every batch behind the ticket's position, without end.
    fn follow(
        &self,
        ticket: &HotTicket,
    ) -> (HotHeader, impl Stream<Item = (u64, RecordBatch)> + Send + 'static) {
        let (relay, pushed) = (self.clone(), self.pushed.subscribe());
        let (header, batches) = self.view(ticket, |state| &state.flows);
        let last = batches.last().map_or(header.last, |(position, _)| *position);
        let later = stream::unfold(last, move |last| {
            let (relay, mut pushed) = (relay.clone(), pushed.clone());
            async move {
                loop {
                    pushed.mark_unchanged();
                    let batches = relay.state.lock().unwrap().flows.after(last);
                    if let Some((position, _)) = batches.last() {
                        let last = *position;
                        return Some((stream::iter(batches), last));
                    }
                    pushed.changed().await.ok()?;
                }
            }
        });
        (header, stream::iter(batches).chain(later.flatten()))
    }
}

/// The messages of an answer.
fn messages(
    schema: SchemaRef,
    header: HotHeader,
    batches: impl Stream<Item = (u64, RecordBatch)> + Send + 'static,
) -> Messages<FlightData> {
    let positions = Arc::new(Mutex::new(VecDeque::new()));
    let known = positions.clone();
    let batches = batches.map(move |(position, batch)| {
        known.lock().unwrap().push_back(position);
        Ok(batch)
    });
    let mut first = true;
    FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_dictionary_handling(DictionaryHandling::Resend)
        .with_max_flight_data_size(usize::MAX)
        .build(batches)
        .map_ok(move |mut message| {
            let kind = arrow::ipc::root_as_message(&message.data_header).unwrap().header_type();
            if std::mem::take(&mut first) {
                message.app_metadata = wire::encode(&header);
            } else if kind == arrow::ipc::MessageHeader::RecordBatch {
                let position = positions.lock().unwrap().pop_front().unwrap();
                message.app_metadata = wire::encode(&HotPosition { position });
            }
            message
        })
        .map_err(|error: FlightError| Status::internal(error.to_string()))
        .boxed()
}

type Messages<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl FlightService for FakeRelay {
    type HandshakeStream = Messages<HandshakeResponse>;
    type ListFlightsStream = Messages<FlightInfo>;
    type DoGetStream = Messages<FlightData>;
    type DoPutStream = Messages<PutResult>;
    type DoExchangeStream = Messages<FlightData>;
    type DoActionStream = Messages<arrow_flight::Result>;
    type ListActionsStream = Messages<ActionType>;

    async fn do_get(
        &self,
        request: Request<Ticket>,
    ) -> Result<Response<Self::DoGetStream>, Status> {
        let ticket = &request.get_ref().ticket;
        let messages = if let Ok(LossTicket { loss }) = wire::decode(ticket) {
            let (header, batches) = self.view(&loss, |state| &state.loss);
            messages(loss_schema(), header, stream::iter(batches))
        } else if let Ok(FollowTicket { follow }) = wire::decode(ticket) {
            let (header, batches) = self.follow(&follow);
            messages(stored_schema(), header, batches)
        } else {
            let ticket: HotTicket = wire::decode(ticket)
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            let (header, batches) = self.view(&ticket, |state| &state.flows);
            messages(stored_schema(), header, stream::iter(batches))
        };
        Ok(Response::new(messages))
    }

    async fn do_action(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        assert_eq!(request.get_ref().r#type, wire::STATUS_ACTION);
        let body = wire::encode(&self.state.lock().unwrap().status);
        Ok(Response::new(stream::iter([Ok(arrow_flight::Result { body })]).boxed()))
    }

    async fn do_put(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        Err(Status::unimplemented(""))
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

    async fn do_exchange(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_actions(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        Err(Status::unimplemented(""))
    }
}
