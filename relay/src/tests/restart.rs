//! A relay that is killed, and the next one on the same log.

use weir_flow::schema::loss::LossRow;
use weir_flow::wire::{BatchId, HotTicket, LossEntry};

use super::client::{StoreReader, counts, encode, id};
use super::*;
use crate::wal::SEGMENT_BYTES;
use crate::wal::disk::Disk;

const ALL: HotTicket = HotTicket { relay_epoch: 0, after: 0 };

/// Everything a query would see, sorted.
async fn visible(client: &Client, root: &Path) -> Vec<u64> {
    let mut store = StoreReader::new(root);
    let (header, batches) = client.hot(ALL).await;
    let mut seen = store.counts(&store.manifest(header.manifest_version));
    seen.extend(batches.iter().flat_map(|(_, batch)| counts(batch)));
    seen.sort_unstable();
    seen
}

/// The ledger as a query would see it: stage, node, unit and count.
async fn ledger(client: &Client, root: &Path) -> Vec<(String, String, String, u64)> {
    let store = StoreReader::new(root);
    let (header, mut batches) = client.losses().await;
    for file in store.manifest(header.manifest_version).loss {
        batches.extend(store.batches(&file.path));
    }
    let rows = batches.iter().flat_map(|batch| LossRow::read(batch).unwrap());
    let mut rows: Vec<_> = rows.map(|row| (row.stage, row.node, row.unit, row.count)).collect();
    rows.sort();
    rows
}

fn loss(count: u64) -> LossEntry {
    LossEntry {
        from_ns: 1,
        to_ns: 2,
        stage: "kernel".into(),
        verdict: "deny".into(),
        unit: "verdicts".into(),
        count,
        reason: "ring full".into(),
    }
}

fn row(stage: &str, node: &str, unit: &str, count: u64) -> (String, String, String, u64) {
    (stage.into(), node.into(), unit.into(), count)
}

fn segments(root: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(root.join(".wal")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = paths.filter(|path| path.extension().is_some()).collect();
    segments.retain(|path| path.extension().unwrap() == "wal");
    segments.sort();
    segments
}

#[tokio::test]
async fn a_killed_relay_loses_nothing_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let relay = Running::start(config(root)).await;
    relay.client.send(&[(id(1), rows(0..3)), (id(2), rows(3..6))]).await.unwrap();
    let (header, _) = relay.client.hot(ALL).await;
    relay.kill().await;
    // The answer to the second batch may have been lost: it comes again.
    let relay = Running::start(config(root)).await;
    assert_eq!(relay.client.hot(ALL).await.0, header);
    relay.client.send(&[(id(2), rows(3..6)), (id(3), rows(6..9))]).await.unwrap();
    assert_eq!(visible(&relay.client, root).await, (0..9).collect::<Vec<_>>());
    let after = HotTicket { relay_epoch: header.relay_epoch, after: header.last };
    let (_, new) = relay.client.hot(after).await;
    assert_eq!(new.len(), 1, "positions go on");
    relay.stop().await.unwrap();
    // Stored, and not read again.
    let relay = Running::start(config(root)).await;
    assert_eq!(relay.client.status().await.hot_rows, 0);
    relay.client.send(&[(id(3), rows(6..9)), (id(4), rows(9..12))]).await.unwrap();
    relay.kill().await;
    let relay = Running::start(config(root)).await;
    assert_eq!(visible(&relay.client, root).await, (0..12).collect::<Vec<_>>());
    assert!(relay.client.status().await.problems.is_empty());
    assert!(ledger(&relay.client, root).await.is_empty());
    relay.stop().await.unwrap();
}

/// Killed between a file and its manifest: the file is swept, its rows come from the log.
#[tokio::test]
async fn files_without_a_manifest_are_swept_and_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let relay = Running::start(RelayConfig { flush_rows: 3, ..config(root) }).await;
    relay.faults.manifests_fail.store(true, Ordering::SeqCst);
    relay.client.send(&[(id(1), rows(0..3))]).await.unwrap();
    until("a flush failed", async || !relay.client.status().await.problems.is_empty()).await;
    relay.kill().await;
    let files = || walk(&root.join("flows"));
    let orphans = files();
    assert_eq!(orphans.len(), 2, "allows and denies");
    let others = orphans[0].with_file_name("other-1.parquet");
    std::fs::write(&others, "not finished yet").unwrap();
    let relay = Running::start(config(root)).await;
    assert_eq!(files(), std::slice::from_ref(&others));
    assert_eq!(visible(&relay.client, root).await, [0, 1, 2]);
    relay.stop().await.unwrap();
    assert_eq!(files().len(), 3);
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}

#[tokio::test]
async fn the_manifest_was_written_and_the_relay_killed_before_it_knew() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let relay = Running::start(RelayConfig { flush_rows: 3, ..config(root) }).await;
    relay.faults.lost_answers.store(u64::MAX, Ordering::SeqCst);
    let with_loss = BatchId { losses: vec![loss(4)], ..id(1) };
    relay.client.send(&[(with_loss, rows(0..3))]).await.unwrap();
    until("an answer was lost", async || StoreReader::new(root).newest().version == 1).await;
    relay.kill().await;
    let relay = Running::start(config(root)).await;
    assert_eq!(visible(&relay.client, root).await, [0, 1, 2]);
    assert_eq!(ledger(&relay.client, root).await, [row("kernel", "node-1", "verdicts", 4)]);
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn losses_are_told_once_over_restarts_and_merged() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut expected = Vec::new();
    for sequence in 1..=20 {
        let relay = Running::start(config(root)).await;
        let losses = vec![loss(sequence)];
        let batch = (BatchId { losses, ..id(sequence) }, rows(0..0));
        // Twice, as after an answer that got lost.
        relay.client.send(std::slice::from_ref(&batch)).await.unwrap();
        relay.client.send(&[batch]).await.unwrap();
        expected.push(row("kernel", "node-1", "verdicts", sequence));
        assert_eq!(ledger(&relay.client, root).await, expected);
        if sequence.is_multiple_of(3) { relay.kill().await } else { relay.stop().await.unwrap() }
    }
    let files = StoreReader::new(root).newest().loss;
    assert!(files.len() <= 8, "{files:?}");
    assert!(files.iter().all(|file| (file.min_time_ns, file.max_time_ns) == (1, 2)));
}

#[tokio::test]
async fn gaps_are_in_the_ledger_and_survive() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let relay = Running::start(config(root)).await;
    relay.client.send(&[(id(1), rows(0..1)), (id(4), rows(1..2))]).await.unwrap();
    let expected = [row("relay", "node-1", "batches", 2)];
    assert_eq!(ledger(&relay.client, root).await, expected);
    relay.kill().await;
    let relay = Running::start(config(root)).await;
    assert_eq!(ledger(&relay.client, root).await, expected);
    relay.client.send(&[(id(5), rows(2..3))]).await.unwrap();
    relay.stop().await.unwrap();
    let relay = Running::start(config(root)).await;
    assert_eq!(ledger(&relay.client, root).await, expected);
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_damage_in_the_middle_is_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let relay = Running::start(config(root)).await;
    for sequence in 1..=5 {
        relay.client.send(&[(id(sequence), rows(sequence..sequence + 1))]).await.unwrap();
    }
    relay.kill().await;
    let segment = segments(root).remove(0);
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes.extend([7; 100]);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let expected: Vec<(String, String, String, u64)> = {
        let relay = Running::start(config(root)).await;
        let seen = visible(&relay.client, root).await;
        assert_eq!(seen.len(), 4, "{seen:?}");
        until("it is noted", async || !ledger(&relay.client, root).await.is_empty()).await;
        let ledger = ledger(&relay.client, root).await;
        assert_eq!((ledger.len(), ledger[0].0.as_str(), ledger[0].3), (1, "relay", 1));
        let (header, batches) = relay.client.hot(ALL).await;
        let positions: Vec<u64> = batches.iter().map(|(at, _)| at.position).collect();
        assert_eq!(positions, (header.first..=header.last).collect::<Vec<_>>());
        relay.kill().await;
        ledger
    };
    let relay = Running::start(config(root)).await;
    assert_eq!(ledger(&relay.client, root).await, expected);
    relay.stop().await.unwrap();
    let relay = Running::start(config(root)).await;
    assert_eq!(ledger(&relay.client, root).await, expected);
    assert_eq!(segments(root).len(), 1, "what is stored goes");
    relay.stop().await.unwrap();
}

/// Batches that refer to dictionaries of batches that are long stored.
#[tokio::test]
async fn each_record_brings_its_dictionaries() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let relay = Running::start(config(root)).await;
    let all = rows(0..30);
    let batches: Vec<(BatchId, RecordBatch)> =
        (0..3).map(|n| (id(n + 1), all.slice(n as usize * 10, 10))).collect();
    let messages = encode(&batches);
    let mut put = relay.client.put().await;
    for message in messages {
        put.send.send(message).await.unwrap();
    }
    while put.acknowledged().await.unwrap().sequence < 3 {}
    drop(put);
    relay.kill().await;
    let relay = Running::start(config(root)).await;
    assert_eq!(visible(&relay.client, root).await, (0..30).collect::<Vec<_>>());
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn one_process_has_a_log() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Running::start(config(folder.path())).await;
    let other = RelayConfig {
        wal: Some(folder.path().join(".wal")),
        ..config(&folder.path().join("other"))
    };
    let error = Relay::bind(other).await.unwrap_err().to_string();
    assert!(error.contains("in use by another relay"), "{error}");
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_log_that_is_full_delays_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let small = RelayConfig { wal_max_bytes: 100_000, ..config(root) };
    let relay = Running::start(small).await;
    for sequence in 1..=60 {
        let numbers = (sequence - 1) * 5..sequence * 5;
        relay.client.send(&[(id(sequence), rows(numbers))]).await.unwrap();
    }
    assert!(StoreReader::new(root).newest().version > 0, "it made room by itself");
    assert_eq!(visible(&relay.client, root).await, (0..300).collect::<Vec<_>>());
    let bytes: u64 = segments(root).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(bytes < SEGMENT_BYTES, "{bytes}");
    relay.stop().await.unwrap();
}

/// A full disk under the log: nothing is acknowledged, the status says why, and it goes on by itself.
#[tokio::test]
async fn a_full_disk_delays_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let disk = Disk::default();
    let on_disk = |_: &Path| disk.clone();
    let relay = Running::start_on(config(root), on_disk).await;
    relay.client.send(&[(id(1), rows(0..3))]).await.unwrap();
    disk.0.lock().unwrap().room = Some(5_000);
    let client = relay.client.clone();
    let waiting = tokio::spawn(async move { client.send(&[(id(2), rows(3..6))]).await });
    until("the status says so", async || {
        let problems = relay.client.status().await.problems;
        problems.iter().any(|problem| problem.contains("write-ahead log cannot be written"))
    })
    .await;
    assert!(!waiting.is_finished());
    // What is not on disk is not visible, not even to one who sends it again.
    let client = relay.client.clone();
    let again = tokio::spawn(async move { client.send(&[(id(2), rows(3..6))]).await });
    assert_eq!(visible(&relay.client, root).await, [0, 1, 2]);
    disk.0.lock().unwrap().room = None;
    assert_eq!(waiting.await.unwrap().unwrap(), [2]);
    assert_eq!(again.await.unwrap().unwrap(), [2]);
    until("it works", async || relay.client.status().await.problems.is_empty()).await;
    // Stopped while it is full: what was not acknowledged is sent again to the next one.
    disk.0.lock().unwrap().room = Some(0);
    let client = relay.client.clone();
    let unanswered = tokio::spawn(async move { client.send(&[(id(3), rows(6..9))]).await });
    until("it is taken", async || relay.metrics.batches.get() == 3).await;
    relay.stop().await.unwrap();
    assert!(unanswered.await.unwrap().is_err());
    disk.0.lock().unwrap().room = None;
    let relay = Running::start_on(config(root), on_disk).await;
    relay.client.send(&[(id(3), rows(6..9))]).await.unwrap();
    assert_eq!(visible(&relay.client, root).await, (0..9).collect::<Vec<_>>());
    assert!(relay.client.status().await.problems.is_empty());
    relay.stop().await.unwrap();
}

/// Power fails again and again while collectors send.
#[tokio::test]
async fn a_power_failure_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let disk = Disk::default();
    disk.0.lock().unwrap().dice = 7;
    let mut sequence = 0;
    for round in 0..10 {
        let flush_rows = if round % 2 == 0 { 7 } else { 1_000 };
        let on_disk = |_: &Path| disk.clone();
        let relay = Running::start_on(RelayConfig { flush_rows, ..config(root) }, on_disk).await;
        for _ in 0..5 {
            sequence += 1;
            let numbers = (sequence - 1) * 3..sequence * 3;
            relay.client.send(&[(id(sequence), rows(numbers))]).await.unwrap();
        }
        assert_eq!(visible(&relay.client, root).await, (0..sequence * 3).collect::<Vec<_>>());
        relay.kill().await;
        disk.0.lock().unwrap().fail_power();
    }
    let relay = Running::start_on(config(root), |_| disk.clone()).await;
    assert_eq!(visible(&relay.client, root).await, (0..sequence * 3).collect::<Vec<_>>());
    assert!(ledger(&relay.client, root).await.is_empty());
    relay.stop().await.unwrap();
}

/// Each collector has one connection and sends one batch after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_collectors_at_once() {
    const COLLECTORS: u64 = 200;
    const BATCHES: u64 = 5;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let relay = Running::start(RelayConfig { flush_rows: 400, ..config(root) }).await;
    let address = relay.address;
    let senders: Vec<_> = (0..COLLECTORS)
        .map(|collector| {
            tokio::spawn(async move {
                let client = Client::tcp(address).await;
                for sequence in 1..=BATCHES {
                    let number = collector * BATCHES + sequence - 1;
                    let id = BatchId { collector: format!("lab/n{collector}"), ..id(sequence) };
                    let batch = rows(number..number + 1);
                    assert_eq!(client.send(&[(id, batch)]).await.unwrap(), [sequence]);
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    assert_eq!(visible(&relay.client, root).await, (0..COLLECTORS * BATCHES).collect::<Vec<_>>());
    let commits = relay.metrics.wal_commits.get();
    assert!(commits < COLLECTORS * BATCHES, "one sync serves several: {commits}");
    relay.stop().await.unwrap();
    let mut store = StoreReader::new(root);
    let mut stored = store.counts(&store.newest());
    stored.sort_unstable();
    assert_eq!(stored, (0..COLLECTORS * BATCHES).collect::<Vec<_>>());
}
