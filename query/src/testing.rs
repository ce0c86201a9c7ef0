//! What tests need: a relay that speaks real Flight on a real socket, a query service in front of
//! it, and flows.

use std::path::Path;
use std::sync::{Arc, Mutex};

use arrow::record_batch::RecordBatch;
use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use weir_flow::manifest::{DataFile, MANIFESTS_KEPT, Manifest, data_path};
use weir_flow::schema::{LabelMap, SCHEMA_VERSION, TimestampNs, stored_schema};
use weir_flow::values::PolicyRule;
use weir_flow::wire::{self, HotHeader, HotPosition, HotTicket, RelayStatus};
use weir_flow::{Flow, FlowBuilder};

use crate::{Limits, Query, QueryConfig};

/// 2026-01-01T00:00:00Z.
pub(crate) const BEGIN_NS: i64 = 1_767_225_600_000_000_000;
/// The distance between flows of neighbouring numbers.
pub(crate) const STEP_NS: i64 = 1_000_000_000;

/// A flow that differs from those of other numbers.
pub(crate) fn flow(number: u64) -> Flow {
    let time = BEGIN_NS + i64::try_from(number).unwrap() * STEP_NS;
    let deny = number.is_multiple_of(3);
    let icmp = number % 7 == 5;
    Flow {
        time: TimestampNs(time),
        end_time: TimestampNs(time + 5),
        cluster: "test".into(),
        node: format!("node-{}", number % 2),
        direction: if number.is_multiple_of(2) { "ingress" } else { "egress" }.into(),
        verdict: if deny { "deny" } else { "allow" }.into(),
        reason: if deny { "default_deny" } else { "policy" }.into(),
        policies: vec![PolicyRule {
            kind: "NetworkPolicy".into(),
            namespace: "default".into(),
            name: "redis".into(),
            rule: (!deny).then_some(1),
        }],
        policy: "default/redis".into(),
        policy_revision: u64::MAX - number,
        protocol: if icmp { "ICMP" } else { "TCP" }.into(),
        source_ip: format!("10.0.0.{}", number % 200 + 1),
        source_port: (!icmp).then(|| 40_000 + u16::try_from(number % 1_000).unwrap()),
        destination_ip: "10.0.1.1".into(),
        destination_port: (!icmp).then_some(6379),
        tcp_flags: (!icmp).then_some(2),
        icmp_type: icmp.then_some(8),
        icmp_code: icmp.then_some(0),
        source_kind: "pod".into(),
        source_namespace: (!number.is_multiple_of(5)).then(|| format!("ns-{}", number % 3)),
        source_pod: Some(format!("Pod-{number}")),
        source_workload_kind: Some("Pod".into()),
        source_workload: Some("rogue".into()),
        source_labels: LabelMap::from([("app".into(), "a,\"b\"".into())]),
        source_node: None,
        source_names: vec![],
        destination_kind: "pod".into(),
        destination_namespace: Some("default".into()),
        destination_pod: Some("redis-0".into()),
        destination_workload_kind: Some("StatefulSet".into()),
        destination_workload: Some("redis".into()),
        destination_labels: LabelMap::new(),
        destination_node: None,
        destination_names: vec!["redis.default.svc".into()],
        destination_service: None,
        count: 1,
        packets: number,
        bytes: number * 100,
        reply_packets: 0,
        reply_bytes: 0,
        duration_ns: None,
        rtt_ns: (!deny).then_some(number * 1_000),
        state: "open".into(),
    }
}

/// A batch of flows.
pub(crate) fn batch(flows: impl IntoIterator<Item = Flow>) -> RecordBatch {
    let mut builder = FlowBuilder::default();
    for flow in flows {
        builder.append(&flow);
    }
    builder.finish()
}

/// Writes a data file as the relay would and says what the manifest says of it.
pub(crate) fn write_file(store: &Path, name: &str, batches: &[RecordBatch]) -> DataFile {
    let flows: Vec<Flow> = batches.iter().flat_map(|batch| Flow::read(batch).unwrap()).collect();
    let min_time_ns = flows.iter().map(|flow| flow.time.0).min().unwrap();
    let path = data_path(min_time_ns, name);
    let absolute = store.join(&path);
    std::fs::create_dir_all(absolute.parent().unwrap()).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(1024)).build();
    let file = std::fs::File::create(&absolute).unwrap();
    let mut writer = ArrowWriter::try_new(file, stored_schema(), Some(properties)).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.close().unwrap();
    DataFile {
        path,
        rows: flows.len() as u64,
        size_bytes: std::fs::metadata(&absolute).unwrap().len(),
        min_time_ns,
        max_time_ns: flows.iter().map(|flow| flow.end_time.0).max().unwrap(),
        schema_version: SCHEMA_VERSION,
        ..DataFile::default()
    }
}

/// Writes a manifest as the relay would.
pub(crate) fn write_manifest(store: &Path, manifest: &Manifest) {
    let path = store.join(Manifest::path(manifest.version));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, serde_json::to_vec(manifest).unwrap()).unwrap();
    std::fs::rename(temporary, path).unwrap();
}

/// A relay that keeps to the contract of `flow::wire` and `flow::manifest`.
#[derive(Clone)]
pub(crate) struct FakeRelay {
    state: Arc<Mutex<State>>,
}

struct State {
    epoch: u64,
    store: std::path::PathBuf,
    manifest: Manifest,
    next: u64,
    hot: Vec<(u64, RecordBatch)>,
    status: RelayStatus,
    sent: usize,
}

impl FakeRelay {
    pub(crate) fn new(store: &Path) -> Self {
        let state = State {
            epoch: 1,
            store: store.into(),
            manifest: Manifest::default(),
            next: 1,
            hot: vec![],
            status: RelayStatus { version: "fake".into(), ..RelayStatus::default() },
            sent: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Takes a batch; from now on it is acknowledged.
    pub(crate) fn push(&self, batch: RecordBatch) {
        let mut state = self.state.lock().unwrap();
        let position = state.next;
        state.next += 1;
        state.hot.push((position, batch));
    }

    /// Writes what is hot into a file of the next manifest.
    pub(crate) fn flush(&self) {
        let mut state = self.state.lock().unwrap();
        if state.hot.is_empty() {
            return;
        }
        let batches: Vec<RecordBatch> = state.hot.drain(..).map(|(_, batch)| batch).collect();
        let version = state.manifest.version + 1;
        let file = write_file(&state.store, &format!("f-{version}"), &batches);
        state.manifest.version = version;
        state.manifest.files.push(file);
        write_manifest(&state.store, &state.manifest);
        if let Some(old) = version.checked_sub(MANIFESTS_KEPT) {
            let _ = std::fs::remove_file(state.store.join(Manifest::path(old)));
        }
    }

    /// Begins a new life; what was hot comes again at other positions.
    pub(crate) fn restart(&self) {
        let mut state = self.state.lock().unwrap();
        state.epoch += 1;
        state.next = 1;
        let hot = std::mem::take(&mut state.hot);
        for (_, batch) in hot {
            let position = state.next;
            state.next += 1;
            state.hot.push((position, batch));
        }
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
        let ticket: HotTicket = wire::decode(&request.get_ref().ticket)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let (header, batches) = {
            let mut state = self.state.lock().unwrap();
            let after = if ticket.relay_epoch == state.epoch { ticket.after } else { 0 };
            let header = HotHeader {
                relay_epoch: state.epoch,
                manifest_version: state.manifest.version,
                first: state.hot.first().map_or(state.next, |(position, _)| *position),
                last: state.next - 1,
            };
            let batches: Vec<_> =
                state.hot.iter().filter(|(position, _)| *position > after).cloned().collect();
            state.sent += batches.len();
            (header, batches)
        };
        let positions: Vec<u64> = batches.iter().map(|(position, _)| *position).collect();
        let batches = stream::iter(batches.into_iter().map(|(_, batch)| Ok(batch)));
        let mut positions = positions.into_iter();
        let mut first = true;
        let messages = FlightDataEncoderBuilder::new()
            .with_schema(stored_schema())
            .with_dictionary_handling(DictionaryHandling::Resend)
            .with_max_flight_data_size(usize::MAX)
            .build(batches)
            .map_ok(move |mut message| {
                let kind = arrow::ipc::root_as_message(&message.data_header).unwrap().header_type();
                if std::mem::take(&mut first) {
                    message.app_metadata = wire::encode(&header);
                } else if kind == arrow::ipc::MessageHeader::RecordBatch {
                    let position = positions.next().unwrap();
                    message.app_metadata = wire::encode(&HotPosition { position });
                }
                message
            })
            .map_err(|error: FlightError| Status::internal(error.to_string()));
        Ok(Response::new(messages.boxed()))
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

/// A query service with a fake relay behind it.
pub(crate) struct Stand {
    pub(crate) relay: FakeRelay,
    pub(crate) store: tempfile::TempDir,
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    relay_token: CancellationToken,
    query_token: CancellationToken,
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.relay_token.cancel();
        self.query_token.cancel();
    }
}

impl Stand {
    pub(crate) async fn new() -> Self {
        Self::with_limits(Limits { threads: 2, ..Limits::default() }).await
    }

    pub(crate) async fn with_limits(limits: Limits) -> Self {
        let store = tempfile::tempdir().unwrap();
        let relay = FakeRelay::new(store.path());
        let relay_token = CancellationToken::new();
        let config = QueryConfig {
            http: "127.0.0.1:0".parse().unwrap(),
            relay: relay.serve(relay_token.clone()),
            store: store.path().into(),
            limits,
        };
        let query = Query::bind(config).await.unwrap();
        let url = format!("http://{}", query.http_address());
        let query_token = CancellationToken::new();
        tokio::spawn(query.run(query_token.clone()));
        let client = reqwest::Client::new();
        Self { relay, store, url, client, relay_token, query_token }
    }

    /// Ends the relay.
    pub(crate) fn stop_relay(&self) {
        self.relay_token.cancel();
    }

    /// Status and body of a GET.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let response = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Status and JSON body of a GET of flows.
    pub(crate) async fn flows(&self, parameters: &[(&str, &str)]) -> (u16, Value) {
        let url =
            reqwest::Url::parse_with_params(&format!("{}/api/v1/flows", self.url), parameters);
        let response = self.client.get(url.unwrap()).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub(crate) async fn post(&self, body: Value) -> reqwest::Response {
        let request = self.client.post(format!("{}/api/v1/sql", self.url));
        request.json(&body).send().await.unwrap()
    }

    /// Status and JSON body of SQL.
    pub(crate) async fn sql(&self, sql: &str) -> (u16, Value) {
        let response = self.post(json!({"sql": sql})).await;
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// The rows of SQL that must succeed.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<Value> {
        let (status, body) = self.sql(sql).await;
        assert_eq!(status, 200, "{sql}: {body}");
        assert!(body.get("error").is_none(), "{sql}: {body}");
        body["rows"].as_array().unwrap().clone()
    }

    /// The message of SQL that must fail with this code.
    pub(crate) async fn refused(&self, sql: &str, code: u16) -> String {
        let (status, body) = self.sql(sql).await;
        let shown: String = sql.chars().take(200).collect();
        assert_eq!(status, code, "{shown}: {body}");
        assert_eq!(body["error"]["code"], code);
        assert!(!body["error"]["status"].as_str().unwrap().is_empty());
        body["error"]["message"].as_str().unwrap().to_owned()
    }
}
