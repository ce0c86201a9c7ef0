//! `DoPut`, `DoGet` and the other calls.

use std::os::unix::fs::PermissionsExt as _;

use arrow_flight::{Criteria, FlightData, FlightDescriptor};
use tonic::Code;
use weir_flow::Flow;
use weir_flow::wire::{self, CollectorStatus, FLOWS, HotTicket};

use super::client::{Client, counts, encode, id};
use super::*;

const ALL: HotTicket = HotTicket { relay_epoch: 0, after: 0 };

#[tokio::test]
async fn batches_come_back_hot_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Running::start(config(folder.path())).await;
    let sent = [(id(1), rows(0..50)), (id(2), rows(50..90)), (id(3), rows(90..91))];
    assert_eq!(relay.client.send(&sent).await.unwrap(), [1, 2, 3]);
    let (header, batches) = relay.client.hot(ALL).await;
    assert_eq!((header.manifest_version, header.first, header.last), (0, 1, 3));
    for (index, (position, batch)) in batches.iter().enumerate() {
        assert_eq!(position.position, index as u64 + 1);
        assert_eq!(Flow::read(batch).unwrap(), Flow::read(&sent[index].1).unwrap());
    }
    let ticket = HotTicket { relay_epoch: header.relay_epoch, after: 2 };
    let (_, rest) = relay.client.hot(ticket).await;
    assert_eq!(rest.len(), 1);
    let status = relay.client.status().await;
    assert_eq!((status.hot_rows, status.rows_acknowledged), (91, 91));
    assert_eq!(status.collectors[0].sequence, 3);
    assert!(status.problems.is_empty(), "{:?}", status.problems);
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn tcp_and_unix_serve_the_same_and_a_stale_socket_goes() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("ingest.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let config =
        RelayConfig { ingest_socket: Some(socket.clone()), ..config(&folder.path().join("store")) };
    let relay = Running::start(config.clone()).await;
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let unix = Client::unix(&socket).await;
    unix.send(&[(id(1), rows(0..5))]).await.unwrap();
    let (_, batches) = relay.client.hot(ALL).await;
    assert_eq!(counts(&batches[0].1), [0, 1, 2, 3, 4]);
    // A socket that somebody serves is not taken away.
    let other = RelayConfig { store: folder.path().join("other").into(), ..config };
    let error = Relay::bind(other).await.unwrap_err().to_string();
    assert!(error.contains("ingest.sock"), "{error}");
    drop(unix);
    relay.stop().await.unwrap();
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_taken_address_and_a_file_in_the_sockets_place_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = config(folder.path());
    let error = Relay::bind(RelayConfig { ingest: address, ..config.clone() }).await.unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let config = RelayConfig { ingest_socket: Some(file.clone()), ..config };
    let error = Relay::bind(config).await.unwrap_err().to_string();
    assert!(error.contains("something else than a socket"), "{error}");
    assert!(file.exists());
}

#[tokio::test]
async fn what_is_sent_again_is_acknowledged_and_not_stored_again() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Running::start(config(folder.path())).await;
    let client = &relay.client;
    client.send(&[(id(1), rows(0..3)), (id(2), rows(3..6))]).await.unwrap();
    let again = [(id(1), rows(0..3)), (id(2), rows(3..6)), (id(3), rows(6..9))];
    assert_eq!(client.send(&again).await.unwrap(), [1, 2, 3]);
    assert_eq!(client.status().await.hot_rows, 9);
    // Another life of the collector counts anew.
    let other = wire::BatchId { epoch: 2, ..id(1) };
    assert_eq!(client.send(&[(other, rows(9..10))]).await.unwrap(), [1]);
    assert_eq!(client.status().await.hot_rows, 10);
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_gap_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Running::start(config(folder.path())).await;
    relay.client.send(&[(id(1), rows(0..3)), (id(5), rows(3..6))]).await.unwrap();
    let problems = relay.client.status().await.problems;
    assert_eq!(problems, ["3 batches of collector lab/node-1 never arrived"]);
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn heartbeats_tell_how_a_collector_is() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Running::start(config(folder.path())).await;
    relay.client.send(&[(id(1), rows(0..3))]).await.unwrap();
    let status = CollectorStatus { node: "node-1".into(), policies: 4, ..Default::default() };
    let heartbeat = FlightData {
        flight_descriptor: Some(FlightDescriptor::new_path(vec![FLOWS.into()])),
        app_metadata: wire::encode(&wire::BatchId { status: Some(status.clone()), ..id(0) }),
        ..Default::default()
    };
    assert_eq!(relay.client.send_raw(vec![heartbeat]).await.unwrap(), [1]);
    let seen = relay.client.status().await.collectors.remove(0);
    assert_eq!((seen.sequence, seen.status), (1, Some(status)));
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_bad_message_costs_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Running::start(config(folder.path())).await;
    let mut messages = encode(&[(id(1), rows(0..3)), (id(2), rows(3..6))]);
    let last = messages.len() - 1;
    let half = messages[last].data_body.len() / 2;
    messages[last].data_body.truncate(half);
    let mut put = relay.client.put().await;
    for message in messages {
        put.send.send(message).await.unwrap();
    }
    assert_eq!(put.acknowledged().await.unwrap().sequence, 1);
    let refused = put.acknowledged().await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("cut short"), "{refused}");
    let status = relay.client.status().await;
    assert_eq!((status.hot_rows, status.collectors[0].sequence), (3, 1));
    // The same collector goes on.
    assert_eq!(relay.client.send(&[(id(2), rows(3..6))]).await.unwrap(), [2]);
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn foreign_columns_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Running::start(config(folder.path())).await;
    let foreign = rows(0..3).project(&[0, 2]).unwrap();
    let refused = relay.client.send(&[(id(1), foreign)]).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("column 2 is cluster, expected end_time"), "{refused}");
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn other_calls_say_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Running::start(config(folder.path())).await;
    let mut flight = relay.client.flight();
    let refused = flight.list_flights(Criteria::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("ListFlights"), "{refused}");
    let action = arrow_flight::Action { r#type: "drop".into(), body: Default::default() };
    assert_eq!(flight.do_action(action).await.unwrap_err().code(), Code::Unimplemented);
    let ticket = arrow_flight::Ticket { ticket: "select 1".into() };
    assert_eq!(flight.do_get(ticket).await.unwrap_err().code(), Code::InvalidArgument);
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_stopping_relay_sends_collectors_away() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Running::start(config(folder.path())).await;
    let mut put = relay.client.put().await;
    for message in encode(&[(id(1), rows(0..3))]) {
        put.send.send(message).await.unwrap();
    }
    put.acknowledged().await.unwrap();
    relay.stop().await.unwrap();
    assert!(put.acknowledged().await.is_err());
    let stored = client::StoreReader::new(weir_store::open(&folder.path().into()).unwrap());
    let stored = stored.newest().await;
    assert_eq!(stored.files.iter().map(|file| file.rows).sum::<u64>(), 3);
}
