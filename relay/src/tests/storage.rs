//! From hot to stored: nothing lost, nothing twice.

use std::sync::atomic::AtomicU64;

use arrow::array::AsArray as _;
use arrow::datatypes::{Int32Type, TimestampNanosecondType};
use parquet::basic::Encoding;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use weir_flow::manifest::Verdicts;
use weir_flow::values::Verdict;
use weir_flow::wire::{BatchId, HotTicket};

use super::client::{StoreReader, counts, id};
use super::place::{Place, over_every_store};
use super::*;
use crate::error::StoreError;
use crate::export::Selection;

const ALL: HotTicket = HotTicket { relay_epoch: 0, after: 0 };

over_every_store! {
    rows_are_flushed_when_there_are_enough,
    age_alone_flushes,
    at_every_moment_exactly_once,
    a_failing_store_delays_and_loses_nothing,
    a_lost_answer_does_not_double_rows,
    stopping_during_a_failing_flush_stores_each_row_once,
    rows_that_cannot_be_stored_before_the_end_stay_in_the_log,
    a_restarted_relay_knows_what_it_has,
    files_are_apart_by_hour_sorted_and_encoded,
    what_is_stored_is_exported,
}

/// Everything a query would see, sorted.
async fn visible(client: &Client, store: &mut StoreReader) -> Vec<u64> {
    let (header, batches) = client.hot(ALL).await;
    let manifest = store.manifest(header.manifest_version).await;
    let mut seen = store.counts(&manifest).await;
    seen.extend(batches.iter().flat_map(|(_, batch)| counts(batch)));
    seen.sort_unstable();
    seen
}

async fn rows_are_flushed_when_there_are_enough(place: Place) {
    let relay = Running::start(RelayConfig { flush_rows: 10, ..place.config() }).await;
    relay.client.send(&[(id(1), rows(0..9))]).await.unwrap();
    relay.client.send(&[(id(2), rows(9..12))]).await.unwrap();
    until("all is stored", async || relay.client.status().await.hot_rows == 0).await;
    let status = relay.client.status().await;
    assert_eq!((status.stored_rows, status.stored_files), (12, 2));
    let mut store = place.reader();
    let manifest = store.newest().await;
    assert_eq!(manifest.version, 1);
    let size = async |path: &str| store.body(path).await.len() as u64;
    for file in &manifest.files {
        assert!(file.path.starts_with("flows/date=2023-11-14/hour=22/"), "{}", file.path);
        assert_eq!(file.size_bytes, size(&file.path).await);
        let edges = file.edges.as_ref().unwrap();
        assert!(edges.path.starts_with("edges_1m/date=2023-11-14/hour=22/"), "{}", edges.path);
        assert_eq!(edges.size_bytes, size(&edges.path).await);
    }
    let verdicts: Vec<Verdicts> = manifest.files.iter().map(|file| file.verdicts).collect();
    assert_eq!(verdicts, [Verdicts::Allow, Verdicts::Deny]);
    let sizes = manifest.files.iter().map(|file| file.size_bytes);
    assert_eq!(status.stored_bytes, sizes.sum::<u64>());
    assert_eq!(visible(&relay.client, &mut store).await, (0..12).collect::<Vec<_>>());
    relay.stop().await.unwrap();
}

async fn age_alone_flushes(place: Place) {
    let interval = Duration::from_millis(50);
    let config = RelayConfig { flush_interval: interval, ..place.config() };
    let relay = Running::start(config).await;
    relay.client.send(&[(id(1), rows(0..3))]).await.unwrap();
    until("all is stored", async || relay.client.status().await.stored_rows == 3).await;
    relay.stop().await.unwrap();
    // Nothing more happened, so nothing more was written.
    assert_eq!(place.reader().newest().await.version, 1);
}

/// Reads hot and stored over and over while rows come in and are flushed: at every moment
/// everything acknowledged is there, nothing twice, and nothing that was not sent.
async fn at_every_moment_exactly_once(place: Place) {
    const BATCHES: u64 = 150;
    const ROWS: u64 = 20;
    let relay = Running::start(RelayConfig { flush_rows: 90, ..place.config() }).await;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let sent = Arc::new(AtomicU64::new(0));
    let sender = {
        let (client, acknowledged, sent) =
            (relay.client.clone(), acknowledged.clone(), sent.clone());
        tokio::spawn(async move {
            for sequence in 1..=BATCHES {
                sent.store(sequence * ROWS, Ordering::SeqCst);
                let batch = rows((sequence - 1) * ROWS..sequence * ROWS);
                // Every third batch twice, as after a connection lost at the wrong moment.
                for _ in 0..=u64::from(sequence.is_multiple_of(3)) {
                    client.send(&[(id(sequence), batch.clone())]).await.unwrap();
                }
                acknowledged.store(sequence * ROWS, Ordering::SeqCst);
            }
        })
    };
    let mut store = place.reader();
    let mut reads = 0;
    loop {
        let done = sender.is_finished();
        let least = acknowledged.load(Ordering::SeqCst);
        let seen = visible(&relay.client, &mut store).await;
        let most = sent.load(Ordering::SeqCst);
        assert!(seen.iter().copied().eq(0..seen.len() as u64), "twice or missing: {seen:?}");
        assert!((least..=most).contains(&(seen.len() as u64)), "{least} {} {most}", seen.len());
        reads += 1;
        if done {
            break;
        }
    }
    sender.await.unwrap();
    assert!(reads > 3);
    assert!(relay.client.status().await.stored_files > 3);
    relay.stop().await.unwrap();
    assert_eq!(store.all().await, (0..BATCHES * ROWS).collect::<Vec<_>>());
}

async fn a_failing_store_delays_and_loses_nothing(place: Place) {
    let mut config = RelayConfig { flush_rows: 5, ..place.config() };
    config.hot_max_bytes = 60_000;
    let relay = Running::start(config).await;
    relay.fail_store(true);
    let mut put = relay.client.put().await;
    let batches: Vec<(BatchId, RecordBatch)> =
        (1..=20).map(|n| (id(n), rows((n - 1) * 5..n * 5))).collect();
    let mut messages = client::encode(&batches).into_iter();
    let (mut send, mut acknowledged) = (put.send.clone(), 0);
    let sender = tokio::spawn(async move {
        for message in &mut messages {
            send.send(message).await.unwrap();
        }
        send = send.clone();
        drop(send);
    });
    // Acknowledgements stop when memory is full, and the status says why.
    until("memory is full", async || {
        while let Ok(answer) =
            tokio::time::timeout(Duration::from_millis(50), put.acknowledged()).await
        {
            acknowledged = answer.unwrap().sequence;
        }
        let problems = relay.client.status().await.problems;
        problems.iter().any(|problem| problem.contains("no space left"))
    })
    .await;
    assert!((1..20).contains(&acknowledged), "{acknowledged}");
    assert_eq!(relay.client.status().await.hot_rows, acknowledged * 5);
    relay.fail_store(false);
    while acknowledged < 20 {
        acknowledged = put.acknowledged().await.unwrap().sequence;
    }
    sender.await.unwrap();
    until("the store works", async || relay.client.status().await.problems.is_empty()).await;
    let mut store = place.reader();
    assert_eq!(visible(&relay.client, &mut store).await, (0..100).collect::<Vec<_>>());
    relay.stop().await.unwrap();
    assert_eq!(store.newest().await.files.iter().map(|file| file.rows).sum::<u64>(), 100);
}

/// The manifest was written and the answer got lost: the rows must not be written once more.
async fn a_lost_answer_does_not_double_rows(place: Place) {
    let relay = Running::start(RelayConfig { flush_rows: 5, ..place.config() }).await;
    relay.faults.lost_answers.store(1, Ordering::SeqCst);
    relay.client.send(&[(id(1), rows(0..5))]).await.unwrap();
    until("all is stored", async || relay.client.status().await.hot_rows == 0).await;
    let mut store = place.reader();
    assert_eq!(visible(&relay.client, &mut store).await, [0, 1, 2, 3, 4]);
    assert!(relay.client.status().await.problems.is_empty());
    relay.stop().await.unwrap();
}

/// Told to stop while the store fails: the flush under way and the last one store each row once.
async fn stopping_during_a_failing_flush_stores_each_row_once(place: Place) {
    let relay = Running::start(RelayConfig { flush_rows: 5, ..place.config() }).await;
    relay.fail_store(true);
    relay.client.send(&[(id(1), rows(0..5))]).await.unwrap();
    until("a flush failed", async || relay.faults.puts.load(Ordering::SeqCst) > 0).await;
    relay.client.send(&[(id(2), rows(5..8))]).await.unwrap();
    relay.faults.lost_answers.store(1, Ordering::SeqCst);
    relay.fail_store(false);
    relay.stop().await.unwrap();
    let mut store = place.reader();
    let all = store.all().await;
    assert_eq!(all, (0..8).collect::<Vec<_>>());
}

async fn rows_that_cannot_be_stored_before_the_end_stay_in_the_log(place: Place) {
    let timeout = Duration::from_millis(300);
    let relay = Running::start(RelayConfig { shutdown_timeout: timeout, ..place.config() }).await;
    relay.client.send(&[(id(1), rows(0..5))]).await.unwrap();
    relay.fail_store(true);
    relay.stop().await.unwrap();
    let mut store = place.reader();
    assert_eq!(store.all().await, [0u64; 0]);
    let relay = Running::start(place.config()).await;
    assert_eq!(visible(&relay.client, &mut store).await, [0, 1, 2, 3, 4]);
    relay.stop().await.unwrap();
    assert_eq!(store.all().await, [0, 1, 2, 3, 4]);
}

async fn a_restarted_relay_knows_what_it_has(place: Place) {
    let relay = Running::start(place.config()).await;
    relay.client.send(&[(id(1), rows(0..3)), (id(2), rows(3..6))]).await.unwrap();
    relay.stop().await.unwrap();
    // The answer to the second batch may have been lost: it comes again.
    let relay = Running::start(place.config()).await;
    let client = relay.client.clone();
    assert_eq!(client.status().await.stored_rows, 6);
    client.send(&[(id(2), rows(3..6)), (id(3), rows(6..9))]).await.unwrap();
    let mut store = place.reader();
    assert_eq!(visible(&client, &mut store).await, (0..9).collect::<Vec<_>>());
    assert!(client.status().await.problems.is_empty());
    drop(client);
    relay.stop().await.unwrap();
}

/// A file that nobody made count goes with its age, which only of a local one can be made up.
#[tokio::test]
async fn a_restarted_relay_removes_what_was_left_behind() {
    let place = Place::directory();
    let relay = Running::start(place.config()).await;
    relay.client.send(&[(id(1), rows(0..3))]).await.unwrap();
    relay.stop().await.unwrap();
    let store = place.store.directory().unwrap();
    let orphan = store.join("flows/date=2023-11-14/hour=22/orphan.parquet");
    std::fs::write(&orphan, "torn").unwrap();
    let long_ago = std::time::SystemTime::now() - 2 * crate::store::ORPHAN_AGE;
    std::fs::File::options().write(true).open(&orphan).unwrap().set_modified(long_ago).unwrap();
    let relay = Running::start(place.config()).await;
    assert!(!orphan.exists());
    relay.stop().await.unwrap();
}

async fn files_are_apart_by_hour_sorted_and_encoded(place: Place) {
    let relay = Running::start(place.config()).await;
    // One row a millisecond: 3.6 million would fill an hour, so these begin just before its end.
    let mut builder = FlowBuilder::default();
    for number in 0..2000 {
        let mut flow = flows::flow(number);
        flow.time.0 += 3_599_000_000_000;
        flow.end_time.0 += 3_599_000_000_000;
        builder.append(&flow);
    }
    relay.client.send(&[(id(1), builder.finish())]).await.unwrap();
    relay.stop().await.unwrap();
    let store = place.reader();
    let files = store.newest().await.files;
    let hours: Vec<&str> = files.iter().map(|file| &file.path[..30]).collect();
    let hour = |hour: u8| format!("flows/date=2023-11-14/hour={hour}/");
    assert_eq!(hours, [hour(22), hour(22), hour(23), hour(23)]);
    for file in &files {
        let batches = store.batches(&file.path).await;
        let times: Vec<i64> = batches
            .iter()
            .flat_map(|batch| batch.column(0).as_primitive::<TimestampNanosecondType>().values())
            .copied()
            .collect();
        assert_eq!(times.iter().min(), Some(&file.min_time_ns));
        let verdicts: Vec<String> = batches
            .iter()
            .flat_map(|batch| {
                let verdicts = batch.column_by_name("verdict").unwrap();
                let verdicts = verdicts.as_dictionary::<Int32Type>();
                let values = verdicts.values().as_string::<i32>();
                verdicts
                    .keys_iter()
                    .flatten()
                    .map(|key| values.value(key).to_owned())
                    .collect::<Vec<_>>()
            })
            .collect();
        assert!(verdicts.is_sorted());
        let reader = SerializedFileReader::new(store.body(&file.path).await).unwrap();
        for column in reader.metadata().row_group(0).columns() {
            let encodings: Vec<Encoding> = column.encodings().collect();
            // What every reader knows.
            let known = [Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY];
            assert!(encodings.iter().all(|encoding| known.contains(encoding)), "{encodings:?}");
            match column.column_path().string().as_str() {
                "time" => assert!(!encodings.contains(&Encoding::RLE_DICTIONARY)),
                "source_pod" => assert!(encodings.contains(&Encoding::RLE_DICTIONARY)),
                _ => {}
            }
            assert!(column.statistics().is_some() || column.column_path().parts().len() > 1);
            assert!(column.column_index_offset().is_some());
        }
    }
}

async fn what_is_stored_is_exported(place: Place) {
    let relay = Running::start(place.config()).await;
    relay.client.send(&[(id(1), rows(0..30))]).await.unwrap();
    relay.stop().await.unwrap();
    let selected = async |selection: Selection| {
        let mut seen = Vec::new();
        let take = |batch: &RecordBatch| {
            seen.extend(counts(batch));
            Ok::<_, StoreError>(())
        };
        let rows = crate::export(place.objects(), &selection, take, |_| {}).await.unwrap();
        assert_eq!(rows, seen.len() as u64);
        seen.sort_unstable();
        seen
    };
    assert_eq!(selected(Selection::default()).await, (0..30).collect::<Vec<_>>());
    let denies = Selection { verdict: Some(Verdict::Deny), ..Selection::default() };
    assert_eq!(selected(denies).await, [0, 7, 14, 21, 28]);
    let times = [3, 6].map(|number| flows::flow(number).time.0);
    let some = Selection { since_ns: Some(times[0]), until_ns: Some(times[1]), verdict: None };
    assert_eq!(selected(some).await, [3, 4, 5]);
    let report = crate::check(place.objects(), |_| {}).await.unwrap();
    assert_eq!((report.problems, report.rows), (vec![], 30));
}
