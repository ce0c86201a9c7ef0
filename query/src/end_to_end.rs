//! The real relay, on a Unix socket, with the query service in front of it.

use std::time::Duration;

use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use weir_flow::schema::stored_schema;
use weir_flow::wire::{self, Acknowledgement, BatchId, FLOWS};
use weir_relay::{Relay, RelayConfig};

use crate::testing::{batch, flow};
use crate::{Limits, Query, QueryConfig};

/// The messages of one batch of ten flows.
async fn messages(sequence: u64) -> Vec<FlightData> {
    let flows = batch(((sequence - 1) * 10..sequence * 10).map(flow));
    let id =
        BatchId { collector: "test/node".into(), epoch: 7, sequence, status: None, losses: vec![] };
    let messages: Vec<FlightData> = FlightDataEncoderBuilder::new()
        .with_schema(stored_schema())
        .with_dictionary_handling(DictionaryHandling::Resend)
        .with_max_flight_data_size(usize::MAX)
        .with_flight_descriptor(Some(FlightDescriptor::new_path(vec![FLOWS.into()])))
        .build(stream::iter([Ok(flows)]))
        .map(Result::unwrap)
        .collect()
        .await;
    let mut messages = if sequence == 1 { messages } else { messages[1..].to_vec() };
    messages.last_mut().unwrap().app_metadata = wire::encode(&id);
    messages
}

/// A relay and a query service in front of it.
struct Both {
    _store: tempfile::TempDir,
    /// Of the relay.
    address: String,
    /// Of the query service.
    url: String,
    token: CancellationToken,
    relay: tokio::task::JoinHandle<Result<(), weir_relay::RelayError>>,
}

impl Both {
    async fn start(flush_rows: usize) -> Self {
        let store = tempfile::tempdir().unwrap();
        let socket = store.path().join("relay.sock");
        let token = CancellationToken::new();
        let relay = Relay::bind(RelayConfig {
            ingest: "127.0.0.1:0".parse().unwrap(),
            ingest_socket: Some(socket.clone()),
            flush_rows,
            flush_interval: Duration::from_millis(100),
            linger: Duration::ZERO,
            ..RelayConfig::new(store.path())
        })
        .await
        .unwrap();
        let address = format!("http://{}", relay.ingest_address());
        let relay = tokio::spawn(relay.run(token.clone()));
        let query = Query::bind(QueryConfig {
            http: "127.0.0.1:0".parse().unwrap(),
            grpc: "127.0.0.1:0".parse().unwrap(),
            postgres: "127.0.0.1:0".parse().unwrap(),
            relays: vec![format!("unix://{}", socket.display())],
            store: store.path().into(),
            limits: Limits { threads: 2, ..Limits::default() },
            ..QueryConfig::default()
        })
        .await
        .unwrap();
        let url = format!("http://{}/api/v1", query.addresses().http);
        tokio::spawn(query.run(token.clone()));
        Self { _store: store, address, url, token, relay }
    }

    async fn stop(self) {
        self.token.cancel();
        self.relay.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_rows_are_found_exactly_once_while_the_relay_writes_files() {
    let both = Both::start(70).await;
    let (address, url) = (both.address.clone(), both.url.clone());
    let http = reqwest::Client::new();
    let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
    let mut client = FlightServiceClient::new(channel);
    let (sender, receiver) = mpsc::channel(1024);
    for message in messages(1).await {
        sender.send(message).await.unwrap();
    }
    let mut answers = client.do_put(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    let sql = "select count(*) as n, count(distinct source_pod) as d, sum(packets) as s, \
               count(connection_id) as c from flows";
    for sequence in 1..=60 {
        if sequence > 1 {
            for message in messages(sequence).await {
                sender.send(message).await.unwrap();
            }
        }
        let answer = answers.message().await.unwrap().unwrap();
        let answer: Acknowledgement = wire::decode(&answer.app_metadata).unwrap();
        assert_eq!(answer.sequence, sequence);
        let request = http.post(format!("{url}/sql")).json(&json!({"sql": sql}));
        let body: Value = request.send().await.unwrap().json().await.unwrap();
        let n = sequence * 10;
        let row = json!({"n": n, "d": n, "s": (0..n).sum::<u64>(), "c": n});
        assert_eq!((&body["rows"][0], &body["warnings"]), (&row, &json!([])), "{body}");
    }
    let status = http.get(format!("{url}/status")).send().await.unwrap();
    let status: Value = status.json().await.unwrap();
    assert_eq!(status["relay"]["status"]["rows_acknowledged"], 600, "{status}");
    assert!(status["relay"]["status"]["stored_files"].as_u64().unwrap() > 0, "{status}");
    drop(sender);
    both.stop().await;
}

/// The numbers of so many rows of a stream of events, and the last position that it told.
async fn follow(url: &str, after: &str, rows: usize) -> (Vec<u64>, String) {
    let http = reqwest::Client::new();
    let mut response = http.get(format!("{url}/flows/tail?after={after}")).send().await.unwrap();
    let (mut text, mut numbers, mut id) = (String::new(), Vec::new(), String::new());
    while numbers.len() < rows || id.is_empty() {
        let chunk = tokio::time::timeout(Duration::from_secs(30), response.chunk()).await;
        text += std::str::from_utf8(&chunk.expect("rows come").unwrap().unwrap()).unwrap();
        while let Some((event, rest)) = text.split_once("\n\n") {
            assert!(!event.contains("event:"), "{event}");
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
            if let Some(told) = field("id:") {
                id = told.trim().to_owned();
            }
            if let Some(row) = field("data:") {
                let row: Value = serde_json::from_str(row).unwrap();
                numbers.push(row["packets"].as_u64().unwrap());
            }
            text = rest.to_owned();
        }
    }
    (numbers, id)
}

/// Who follows again gets each row that came since once, although all of them are stored by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_comes_again_gets_what_is_stored_by_now() {
    let both = Both::start(10).await;
    let channel = Endpoint::from_shared(both.address.clone()).unwrap().connect().await.unwrap();
    let mut client = FlightServiceClient::new(channel);
    let (sender, receiver) = mpsc::channel(1024);
    for message in messages(1).await {
        sender.send(message).await.unwrap();
    }
    let mut answers = client.do_put(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap();
    let (numbers, first) = follow(&both.url, "", 0).await;
    assert_eq!(numbers, [0u64; 0]);
    for sequence in 2..=4 {
        for message in messages(sequence).await {
            sender.send(message).await.unwrap();
        }
        answers.message().await.unwrap().unwrap();
    }
    let http = reqwest::Client::new();
    let stored = async || {
        let status = http.get(format!("{}/status", both.url)).send().await.unwrap();
        let status: Value = status.json().await.unwrap();
        status["relay"]["status"]["stored_rows"].as_u64()
    };
    while stored().await != Some(40) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (numbers, last) = follow(&both.url, &first, 30).await;
    assert_eq!(numbers, (10..40).collect::<Vec<_>>());
    assert_ne!(first, last);
    for message in messages(5).await {
        sender.send(message).await.unwrap();
    }
    answers.message().await.unwrap().unwrap();
    assert_eq!(follow(&both.url, &last, 10).await.0, (40..50).collect::<Vec<_>>());
    drop(sender);
    both.stop().await;
}
