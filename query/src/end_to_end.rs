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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_rows_are_found_exactly_once_while_the_relay_writes_files() {
    let store = tempfile::tempdir().unwrap();
    let socket = store.path().join("relay.sock");
    let token = CancellationToken::new();
    let relay = Relay::bind(RelayConfig {
        ingest: "127.0.0.1:0".parse().unwrap(),
        ingest_socket: Some(socket.clone()),
        flush_rows: 70,
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
        relays: vec![format!("unix://{}", socket.display())],
        store: store.path().into(),
        limits: Limits { threads: 2, ..Limits::default() },
        ..QueryConfig::default()
    })
    .await
    .unwrap();
    let url = format!("http://{}/api/v1", query.http_address());
    let http = reqwest::Client::new();
    tokio::spawn(query.run(token.clone()));

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
    token.cancel();
    relay.await.unwrap().unwrap();
}
