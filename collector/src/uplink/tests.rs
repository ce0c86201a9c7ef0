//! The uplink against a relay that misbehaves on demand, and against the real one.

mod fake;

use std::time::Instant;

use arrow::array::RecordBatch;
use weir_abi::event::VerdictEvent;
use weir_relay::{Message, Relay, RelayConfig};

use super::*;
use crate::directory::SharedDirectory;
use crate::join::Joiner;
use crate::ledger::Class;
use fake::FakeRelay;

const DEADLINE: Duration = Duration::from_secs(60);

/// A batch of that many rows.
fn joined(rows: usize) -> Joined {
    // SAFETY: the struct has no invalid bit pattern.
    let event: VerdictEvent = unsafe { std::mem::zeroed() };
    let mut joiner = Joiner::new("lab", "n1", SharedDirectory::default());
    joiner.add_events(&vec![event; rows]);
    joiner.finish(Class::Allows).unwrap()
}

struct Running {
    outbox: OutboxHandle,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(relay: &str, limit_bytes: usize, drain: Duration) -> Self {
        let outbox = OutboxHandle::new(limit_bytes);
        let stop = CancellationToken::new();
        let status = CollectorStatus { node: "n1".into(), ..CollectorStatus::default() };
        let uplink = Uplink {
            relay: relay.parse().unwrap(),
            collector: "lab/n1".into(),
            outbox: outbox.clone(),
            status: Arc::new(move || status.clone()),
            connected: Arc::new(|_| {}),
        };
        let task = tokio::spawn(uplink.run(stop.clone(), drain));
        Self { outbox, stop, task }
    }

    fn push(&self, rows: usize) {
        self.outbox.push(&joined(rows)).unwrap();
    }

    async fn acknowledged(&self) {
        until(|| self.outbox.lock().is_empty()).await;
    }

    async fn stop(self) -> OutboxState {
        self.stop.cancel();
        timeout(DEADLINE, self.task).await.unwrap().unwrap();
        self.outbox.state()
    }
}

async fn until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "the condition did not come true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn batches_arrive_once_in_order_and_heartbeats_tell_the_status() {
    let relay = FakeRelay::start().await;
    let uplink = Running::start(&relay.address(), 1 << 20, DEADLINE);
    for rows in 1..=20 {
        uplink.push(rows);
    }
    uplink.acknowledged().await;
    let held = relay.held();
    let expected: Vec<(u64, u64)> = (1..=20).map(|number| (number, number)).collect();
    assert_eq!(held, expected);
    until(|| relay.heartbeats() >= 2).await;
    assert_eq!(relay.last_status().unwrap().node, "n1");
    assert_eq!(uplink.stop().await, OutboxState::default());
}

#[tokio::test]
async fn what_was_not_acknowledged_is_sent_again_after_the_connection_broke() {
    let relay = FakeRelay::start().await;
    // Cut off in the middle, twice: once after holding a batch that it never acknowledged.
    relay.cut_before_answering(3);
    let uplink = Running::start(&relay.address(), 1 << 20, DEADLINE);
    for _ in 0..6 {
        uplink.push(10);
    }
    until(|| relay.connections() >= 2).await;
    relay.cut_before_answering(5);
    uplink.push(10);
    uplink.acknowledged().await;
    let sequences: Vec<u64> = relay.held().iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(sequences, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!((uplink.stop().await.given_up, relay.lost()), (0, 0));
}

#[tokio::test]
async fn a_relay_that_forgot_everything_gets_what_is_left() {
    let relay = FakeRelay::start().await;
    relay.hold_answers(true);
    let uplink = Running::start(&relay.address(), 1 << 20, DEADLINE);
    uplink.push(1);
    uplink.push(2);
    until(|| relay.held().len() == 1).await;
    relay.forget();
    relay.hold_answers(false);
    uplink.acknowledged().await;
    assert_eq!(relay.held(), [(1, 1), (2, 2)]);
}

#[tokio::test]
async fn the_relay_hears_of_what_found_no_room_to_the_row() {
    let relay = FakeRelay::start().await;
    relay.refuse(true);
    let one = encode::batch(&joined(100).batch).unwrap();
    let size: usize = one.iter().map(|message| message.data_body.len() + 1_000).sum();
    let uplink = Running::start(&relay.address(), size * 5, DEADLINE);
    for _ in 0..50 {
        uplink.push(100);
    }
    let waiting = uplink.outbox.state();
    assert!(waiting.given_up > 0 && waiting.rows > 0, "{waiting:?}");
    relay.refuse(false);
    uplink.acknowledged().await;
    let held = relay.held();
    assert!(held.iter().map(|(sequence, _)| *sequence).eq(1..=50), "no number is missing");
    let rows: u64 = held.iter().map(|(_, rows)| rows).sum();
    assert_eq!((rows + relay.lost(), relay.lost()), (5_000, uplink.stop().await.given_up));
}

#[tokio::test]
async fn stopping_waits_for_acknowledgements_but_not_for_ever() {
    let relay = FakeRelay::start().await;
    relay.hold_answers(true);
    let patient = Running::start(&relay.address(), 1 << 20, DEADLINE);
    patient.push(1);
    until(|| relay.held().len() == 1).await;
    patient.stop.cancel();
    assert!(!patient.task.is_finished());
    relay.hold_answers(false);
    assert_eq!(patient.stop().await.rows, 0);

    let nowhere = Running::start("http://127.0.0.1:1", 1 << 20, Duration::from_millis(50));
    nowhere.push(3);
    assert_eq!(nowhere.stop().await.rows, 3);
}

/// Each batch can be read by itself: no dictionary is left from another.
#[test]
fn encoded_batches_stand_alone() {
    let mut decoder = weir_relay::Decoder::default();
    decoder.read(&encode::schema()).unwrap();
    for rows in [3, 1] {
        let original: RecordBatch = joined(rows).batch;
        let mut messages = encode::batch(&original).unwrap();
        let id =
            BatchId { collector: "c".into(), epoch: 1, sequence: 1, status: None, losses: vec![] };
        messages.last_mut().unwrap().app_metadata = wire::encode(&id);
        let read: Vec<_> = messages.iter().map(|message| decoder.read(message).unwrap()).collect();
        match read.last() {
            Some(Message::Batch(received)) => assert_eq!(received.batch, original),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_real_relay_over_tcp_and_over_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("relay.sock");
    let mut config = RelayConfig::new(directory.path().join("store"));
    config.ingest = ([127, 0, 0, 1], 0).into();
    config.ingest_socket = Some(socket.clone());
    let relay = Relay::bind(config).await.unwrap();
    let tcp = format!("http://{}", relay.ingest_address());
    let stop = CancellationToken::new();
    let task = tokio::spawn(relay.run(stop.clone()));
    for address in [tcp, format!("unix://{}", socket.display())] {
        let uplink = Running::start(&address, 1 << 20, DEADLINE);
        for _ in 0..10 {
            uplink.push(100);
        }
        uplink.acknowledged().await;
        assert_eq!(uplink.stop().await, OutboxState::default());
    }
    stop.cancel();
    timeout(DEADLINE, task).await.unwrap().unwrap().unwrap();
}
