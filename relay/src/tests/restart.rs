//! A relay that is killed, and the next one on the same log.

use weir_flow::manifest::{DataFile, FlushedUpTo, Manifest};
use weir_flow::schema::loss::LossRow;
use weir_flow::wire::{BatchId, HotTicket, LossEntry};

use super::client::{counts, encode, id};
use super::place::{Place, over_every_store};
use super::*;
use crate::encode_flows;
use crate::store::{Change, Store};
use crate::wal::SEGMENT_BYTES;
use crate::wal::disk::Disk;

const ALL: HotTicket = HotTicket { relay_epoch: 0, after: 0 };

over_every_store! {
    a_killed_relay_loses_nothing_and_goes_on,
    files_without_a_manifest_are_swept_and_written_anew,
    the_manifest_was_written_and_the_relay_killed_before_it_knew,
    what_a_killed_relay_asked_for_may_come_into_force_late,
    losses_are_told_once_over_restarts_and_merged,
    gaps_are_in_the_ledger_and_survive,
    a_torn_tail_is_cut_and_damage_in_the_middle_is_counted_once,
    damage_in_the_newest_batch_of_a_collector_is_counted_once,
    each_record_brings_its_dictionaries,
    one_process_has_a_log,
    a_log_that_is_full_delays_and_loses_nothing,
    a_full_disk_delays_and_loses_nothing,
    a_power_failure_loses_nothing,
    many_collectors_at_once,
}

/// Everything a query would see, sorted.
async fn visible(client: &Client, place: &Place) -> Vec<u64> {
    let mut store = place.reader();
    let (header, batches) = client.hot(ALL).await;
    let manifest = store.manifest(header.manifest_version).await;
    let mut seen = store.counts(&manifest).await;
    seen.extend(batches.iter().flat_map(|(_, batch)| counts(batch)));
    seen.sort_unstable();
    seen
}

/// The ledger as a query would see it: stage, node, unit and count.
async fn ledger(client: &Client, place: &Place) -> Vec<(String, String, String, u64)> {
    let store = place.reader();
    let (header, mut batches) = client.losses().await;
    for file in store.manifest(header.manifest_version).await.loss {
        batches.extend(store.batches(&file.path).await);
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

fn segments(place: &Place) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(place.wal()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = paths.filter(|path| path.extension().is_some()).collect();
    segments.retain(|path| path.extension().unwrap() == "wal");
    segments.sort();
    segments
}

async fn a_killed_relay_loses_nothing_and_goes_on(place: Place) {
    let relay = Running::start(place.config()).await;
    relay.client.send(&[(id(1), rows(0..3)), (id(2), rows(3..6))]).await.unwrap();
    let (header, _) = relay.client.hot(ALL).await;
    relay.kill().await;
    // The answer to the second batch may have been lost: it comes again.
    let relay = Running::start(place.config()).await;
    assert_eq!(relay.client.hot(ALL).await.0, header);
    relay.client.send(&[(id(2), rows(3..6)), (id(3), rows(6..9))]).await.unwrap();
    assert_eq!(visible(&relay.client, &place).await, (0..9).collect::<Vec<_>>());
    let after = HotTicket { relay_epoch: header.relay_epoch, after: header.last };
    let (_, new) = relay.client.hot(after).await;
    assert_eq!(new.len(), 1, "positions go on");
    relay.stop().await.unwrap();
    // Stored, and not read again.
    let relay = Running::start(place.config()).await;
    assert_eq!(relay.client.status().await.hot_rows, 0);
    relay.client.send(&[(id(3), rows(6..9)), (id(4), rows(9..12))]).await.unwrap();
    relay.kill().await;
    let relay = Running::start(place.config()).await;
    assert_eq!(visible(&relay.client, &place).await, (0..12).collect::<Vec<_>>());
    assert!(relay.client.status().await.problems.is_empty());
    assert!(ledger(&relay.client, &place).await.is_empty());
    relay.stop().await.unwrap();
}

/// Killed between a file and its manifest: the file is swept, its rows come from the log.
async fn files_without_a_manifest_are_swept_and_written_anew(place: Place) {
    let relay = Running::start(RelayConfig { flush_rows: 3, ..place.config() }).await;
    relay.faults.manifests_fail.store(true, Ordering::SeqCst);
    relay.client.send(&[(id(1), rows(0..3))]).await.unwrap();
    until("a flush failed", async || !relay.client.status().await.problems.is_empty()).await;
    relay.kill().await;
    let reader = place.reader();
    let orphans = reader.paths("flows").await;
    assert_eq!(orphans.len(), 2, "allows and denies");
    let (folder, _) = orphans[0].rsplit_once('/').unwrap();
    let others = format!("{folder}/other-1.parquet");
    reader.write(&others, "not finished yet").await;
    let relay = Running::start(place.config()).await;
    assert_eq!(reader.paths("flows").await, std::slice::from_ref(&others));
    assert_eq!(visible(&relay.client, &place).await, [0, 1, 2]);
    relay.stop().await.unwrap();
    assert_eq!(reader.paths("flows").await.len(), 3);
}

async fn the_manifest_was_written_and_the_relay_killed_before_it_knew(place: Place) {
    let relay = Running::start(RelayConfig { flush_rows: 3, ..place.config() }).await;
    relay.faults.lost_answers.store(u64::MAX, Ordering::SeqCst);
    let with_loss = BatchId { losses: vec![loss(4)], ..id(1) };
    relay.client.send(&[(with_loss, rows(0..3))]).await.unwrap();
    until("an answer was lost", async || place.reader().newest().await.version == 1).await;
    relay.kill().await;
    let relay = Running::start(place.config()).await;
    assert_eq!(visible(&relay.client, &place).await, [0, 1, 2]);
    assert_eq!(ledger(&relay.client, &place).await, [row("kernel", "node-1", "verdicts", 4)]);
    relay.stop().await.unwrap();
}

/// The manifest was on its way when the relay was killed, and arrives after the next one looked.
async fn what_a_killed_relay_asked_for_may_come_into_force_late(place: Place) {
    let relay = Running::start(place.config()).await;
    relay.client.send(&[(id(1), rows(0..5))]).await.unwrap();
    let relay_epoch = relay.client.hot(ALL).await.0.relay_epoch;
    relay.kill().await;
    let relay = Running::start(place.config()).await;
    let store = Store::new(place.objects());
    let files = encode_flows(&[rows(0..5)], "late", 0).unwrap();
    for file in &files {
        store.put_encoded(file).await.unwrap();
    }
    let files: Vec<DataFile> = files.into_iter().map(|encoded| encoded.file).collect();
    let flushed = FlushedUpTo { relay_epoch, position: 1, loss_position: 0, at_ns: 1 };
    let change = Change { files: &files, flushed: Some(&flushed), ..Change::default() };
    store.add(&Manifest::default(), change, true).await.unwrap();
    relay.client.send(&[(id(2), rows(5..8))]).await.unwrap();
    relay.stop().await.unwrap();
    assert_eq!(place.reader().all().await, (0..8).collect::<Vec<_>>());
}

async fn losses_are_told_once_over_restarts_and_merged(place: Place) {
    let mut expected = Vec::new();
    for sequence in 1..=20 {
        let relay = Running::start(place.config()).await;
        let losses = vec![loss(sequence)];
        let batch = (BatchId { losses, ..id(sequence) }, rows(0..0));
        // Twice, as after an answer that got lost.
        relay.client.send(std::slice::from_ref(&batch)).await.unwrap();
        relay.client.send(&[batch]).await.unwrap();
        expected.push(row("kernel", "node-1", "verdicts", sequence));
        assert_eq!(ledger(&relay.client, &place).await, expected);
        if sequence.is_multiple_of(3) { relay.kill().await } else { relay.stop().await.unwrap() }
    }
    let files = place.reader().newest().await.loss;
    assert!(files.len() <= 8, "{files:?}");
    assert!(files.iter().all(|file| (file.min_time_ns, file.max_time_ns) == (1, 2)));
}

async fn gaps_are_in_the_ledger_and_survive(place: Place) {
    let relay = Running::start(place.config()).await;
    relay.client.send(&[(id(1), rows(0..1)), (id(4), rows(1..2))]).await.unwrap();
    let expected = [row("relay", "node-1", "batches", 2)];
    assert_eq!(ledger(&relay.client, &place).await, expected);
    relay.kill().await;
    let relay = Running::start(place.config()).await;
    assert_eq!(ledger(&relay.client, &place).await, expected);
    relay.client.send(&[(id(5), rows(2..3))]).await.unwrap();
    relay.stop().await.unwrap();
    let relay = Running::start(place.config()).await;
    assert_eq!(ledger(&relay.client, &place).await, expected);
    relay.stop().await.unwrap();
}

async fn a_torn_tail_is_cut_and_damage_in_the_middle_is_counted_once(place: Place) {
    let relay = Running::start(place.config()).await;
    for sequence in 1..=5 {
        relay.client.send(&[(id(sequence), rows(sequence..sequence + 1))]).await.unwrap();
    }
    relay.kill().await;
    let segment = segments(&place).remove(0);
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes.extend([7; 100]);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let expected: Vec<(String, String, String, u64)> = {
        let relay = Running::start(place.config()).await;
        let seen = visible(&relay.client, &place).await;
        assert_eq!(seen.len(), 4, "{seen:?}");
        until("it is noted", async || !ledger(&relay.client, &place).await.is_empty()).await;
        let ledger = ledger(&relay.client, &place).await;
        assert_eq!((ledger.len(), ledger[0].0.as_str(), ledger[0].3), (1, "relay", 1));
        let (header, batches) = relay.client.hot(ALL).await;
        let positions: Vec<u64> = batches.iter().map(|(at, _)| at.position).collect();
        assert_eq!(positions, (header.first..=header.last).collect::<Vec<_>>());
        relay.kill().await;
        ledger
    };
    let relay = Running::start(place.config()).await;
    assert_eq!(ledger(&relay.client, &place).await, expected);
    relay.stop().await.unwrap();
    let relay = Running::start(place.config()).await;
    assert_eq!(ledger(&relay.client, &place).await, expected);
    assert_eq!(segments(&place).len(), 1, "what is stored goes");
    relay.stop().await.unwrap();
}

/// The last batch of a collector is damaged: nobody can tell that it was this one's, and the gap before
/// its next one is not counted too.
async fn damage_in_the_newest_batch_of_a_collector_is_counted_once(place: Place) {
    let of = |collector: &str, sequence: u64| BatchId {
        collector: format!("lab/{collector}"),
        ..id(sequence)
    };
    let relay = Running::start(place.config()).await;
    for (batch, number) in [(of("a", 1), 1), (of("b", 1), 2), (of("b", 2), 3)] {
        relay.client.send(&[(batch, rows(number..number + 1))]).await.unwrap();
    }
    relay.kill().await;
    let segment = segments(&place).remove(0);
    let mut bytes = std::fs::read(&segment).unwrap();
    // Behind the segment's begin and the header of its first record.
    bytes[200] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let relay = Running::start(place.config()).await;
    let expected = ("relay".to_owned(), "batches".to_owned(), 1);
    let told = async |client: &Client| {
        let rows = ledger(client, &place).await;
        rows.into_iter().map(|(stage, _, unit, count)| (stage, unit, count)).collect::<Vec<_>>()
    };
    until("it is noted", async || told(&relay.client).await == [expected.clone()]).await;
    relay.kill().await;
    // Also if the relay is started once more before the collector comes.
    let relay = Running::start(place.config()).await;
    relay.client.send(&[(of("a", 2), rows(4..5))]).await.unwrap();
    assert_eq!(told(&relay.client).await, std::slice::from_ref(&expected));
    relay.client.send(&[(of("a", 4), rows(6..7))]).await.unwrap();
    assert_eq!(told(&relay.client).await, [expected.clone(), expected]);
    assert_eq!(visible(&relay.client, &place).await, [2, 3, 4, 6]);
    relay.stop().await.unwrap();
}

/// Batches that refer to dictionaries of batches that are long stored.
async fn each_record_brings_its_dictionaries(place: Place) {
    let relay = Running::start(place.config()).await;
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
    let relay = Running::start(place.config()).await;
    assert_eq!(visible(&relay.client, &place).await, (0..30).collect::<Vec<_>>());
    relay.stop().await.unwrap();
}

async fn one_process_has_a_log(place: Place) {
    let relay = Running::start(place.config()).await;
    let other = RelayConfig { store: place.folder().join("other").into(), ..place.config() };
    let error = Relay::bind(other).await.unwrap_err().to_string();
    assert!(error.contains("in use by another relay"), "{error}");
    relay.stop().await.unwrap();
}

async fn a_log_that_is_full_delays_and_loses_nothing(place: Place) {
    let small = RelayConfig { wal_max_bytes: 100_000, ..place.config() };
    let relay = Running::start(small).await;
    for sequence in 1..=60 {
        let numbers = (sequence - 1) * 5..sequence * 5;
        relay.client.send(&[(id(sequence), rows(numbers))]).await.unwrap();
    }
    assert!(place.reader().newest().await.version > 0, "it made room by itself");
    assert_eq!(visible(&relay.client, &place).await, (0..300).collect::<Vec<_>>());
    let bytes: u64 = segments(&place).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(bytes < SEGMENT_BYTES, "{bytes}");
    relay.stop().await.unwrap();
}

/// A full disk under the log: nothing is acknowledged, the status says why, and it goes on by itself.
async fn a_full_disk_delays_and_loses_nothing(place: Place) {
    let disk = Disk::default();
    let on_disk = |_: &Path| disk.clone();
    let relay = Running::start_on(place.config(), on_disk).await;
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
    assert_eq!(visible(&relay.client, &place).await, [0, 1, 2]);
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
    let relay = Running::start_on(place.config(), on_disk).await;
    relay.client.send(&[(id(3), rows(6..9))]).await.unwrap();
    assert_eq!(visible(&relay.client, &place).await, (0..9).collect::<Vec<_>>());
    assert!(relay.client.status().await.problems.is_empty());
    relay.stop().await.unwrap();
}

/// Power fails again and again while collectors send.
async fn a_power_failure_loses_nothing(place: Place) {
    let disk = Disk::default();
    disk.0.lock().unwrap().dice = 7;
    let mut sequence = 0;
    for round in 0..10 {
        let flush_rows = if round % 2 == 0 { 7 } else { 1_000 };
        let on_disk = |_: &Path| disk.clone();
        let relay = Running::start_on(RelayConfig { flush_rows, ..place.config() }, on_disk).await;
        for _ in 0..5 {
            sequence += 1;
            let numbers = (sequence - 1) * 3..sequence * 3;
            relay.client.send(&[(id(sequence), rows(numbers))]).await.unwrap();
        }
        assert_eq!(visible(&relay.client, &place).await, (0..sequence * 3).collect::<Vec<_>>());
        relay.kill().await;
        disk.0.lock().unwrap().fail_power();
    }
    let relay = Running::start_on(place.config(), |_| disk.clone()).await;
    assert_eq!(visible(&relay.client, &place).await, (0..sequence * 3).collect::<Vec<_>>());
    assert!(ledger(&relay.client, &place).await.is_empty());
    relay.stop().await.unwrap();
}

/// Each collector has one connection and sends one batch after the other.
async fn many_collectors_at_once(place: Place) {
    const COLLECTORS: u64 = 200;
    const BATCHES: u64 = 5;
    let relay = Running::start(RelayConfig { flush_rows: 400, ..place.config() }).await;
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
    assert_eq!(visible(&relay.client, &place).await, (0..COLLECTORS * BATCHES).collect::<Vec<_>>());
    let commits = relay.metrics.wal_commits.get();
    assert!(commits < COLLECTORS * BATCHES, "one sync serves several: {commits}");
    relay.stop().await.unwrap();
    let mut store = place.reader();
    assert_eq!(store.all().await, (0..COLLECTORS * BATCHES).collect::<Vec<_>>());
}
