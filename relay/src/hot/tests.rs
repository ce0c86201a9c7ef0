use weir_flow::schema::FlowBuilder;
use weir_flow::wire::{HotHeader, HotTicket};

use super::*;
use crate::tests::flows::flow;

const LIMITS: Limits = Limits {
    flush_rows: 10,
    flush_bytes: 2000,
    flush_interval_ns: 100,
    hot_max_bytes: 4000,
    wal_max_bytes: 1 << 30,
    recent_bytes: 1 << 20,
};

fn hot() -> Hot {
    Hot::new(7, "relay-1".into(), LIMITS, Arc::default())
}

fn id(sequence: u64) -> BatchId {
    BatchId { collector: "lab/n1".into(), epoch: 1, sequence, status: None, losses: vec![] }
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

fn received(id: BatchId, rows: usize, bytes: usize) -> ReceivedBatch {
    let mut builder = FlowBuilder::default();
    for row in 0..rows {
        builder.append(&flow(row as u64));
    }
    let (batch, metadata) = (builder.finish(), Default::default());
    ReceivedBatch { id, batch, bytes, metadata, messages: vec![] }
}

fn offer(hot: &mut Hot, sequence: u64, rows: usize, bytes: usize, now_ns: u64) -> Offer {
    hot.offer(&received(id(sequence), rows, bytes), now_ns)
}

/// Offers, and what is taken is on disk at once.
fn hold(hot: &mut Hot, sequence: u64, rows: usize, bytes: usize, now_ns: u64) -> Offer {
    let offer = offer(hot, sequence, rows, bytes, now_ns);
    hot.written(hot.taken_position(), 0, now_ns);
    offer
}

/// The manifest after a flush of a job.
fn manifest(version: u64, job: &FlushJob) -> Arc<Manifest> {
    let (stored, flushed) = (job.stored.clone(), job.flushed.iter().cloned().collect());
    Arc::new(Manifest { version, stored, flushed, ..Manifest::default() })
}

const ALL: HotTicket = HotTicket { relay_epoch: 0, after: 0 };

fn positions(view: &HotView) -> Vec<u64> {
    view.batches.iter().map(|(position, _)| *position).collect()
}

#[test]
fn batches_are_held_once() {
    let mut hot = hot();
    assert_eq!(hold(&mut hot, 1, 3, 100, 0), Offer::Taken { position: 1, missing: 0 });
    assert_eq!(hold(&mut hot, 1, 3, 100, 0), Offer::Again { position: 1 });
    assert_eq!(hold(&mut hot, 4, 2, 100, 0), Offer::Taken { position: 2, missing: 2 });
    assert_eq!(hold(&mut hot, 3, 2, 100, 0), Offer::Again { position: 2 });
    assert_eq!(hot.size(), (5, 200 + 2 * BATCH_BYTES));
    let status = hot.status();
    assert_eq!(status.rows_acknowledged, 5);
    assert_eq!(status.problems, ["2 batches of collector lab/n1 never arrived"]);
}

#[test]
fn what_another_relay_stored_is_known() {
    let mut hot = hot();
    let entry = StoredUpTo { collector: "lab/n1".into(), epoch: 1, sequence: 3, last_seen_ns: 5 };
    hot.learn(&id(4), &Manifest { stored: vec![entry], ..Manifest::default() });
    assert_eq!(hold(&mut hot, 3, 1, 10, 9), Offer::Again { position: 0 });
    assert_eq!(hold(&mut hot, 4, 1, 10, 9), Offer::Taken { position: 1, missing: 0 });
    assert_eq!(hot.acknowledgement(&id(0)).sequence, 4);
}

#[test]
fn what_is_not_on_disk_is_not_there() {
    let mut hot = hot();
    offer(&mut hot, 1, 3, 100, 0);
    offer(&mut hot, 2, 3, 100, 0);
    assert_eq!(offer(&mut hot, 1, 3, 100, 0), Offer::Again { position: 2 });
    let nothing = HotHeader { relay_epoch: 7, manifest_version: 0, first: 1, last: 0 };
    assert_eq!(hot.view(&ALL).header, nothing);
    assert!(hot.view(&ALL).batches.is_empty());
    assert_eq!(hot.acknowledgement(&id(9)).sequence, 0);
    assert!(hot.flush_job(0).is_none());
    let group = |hot: &mut Hot, bytes| {
        hot.group(bytes).iter().map(|record| record.position).collect::<Vec<_>>()
    };
    assert_eq!(group(&mut hot, 1), [1]);
    assert_eq!(group(&mut hot, 1 << 20), [2]);
    assert_eq!(group(&mut hot, 1 << 20), [0u64; 0]);
    offer(&mut hot, 3, 3, 100, 0);
    hot.written(1, 0, 5);
    assert_eq!(positions(&hot.view(&ALL)), [1]);
    assert_eq!(hot.view(&ALL).header.last, 1);
    assert_eq!(hot.acknowledgement(&id(9)).sequence, 1);
    let job = hot.flush_job(0).unwrap();
    assert_eq!((job.stored[0].sequence, job.flushed.unwrap().position), (1, 1));
    assert_eq!(group(&mut hot, 1 << 20), [3]);
    hot.written(3, 0, 6);
    assert_eq!(positions(&hot.view(&ALL)), [1, 2, 3]);
    assert_eq!(hot.acknowledgement(&id(9)).sequence, 3);
}

#[test]
fn rows_bytes_or_age_start_a_flush() {
    let mut hot = hot();
    assert!(!hot.flush_due(u64::MAX));
    assert!(hot.flush_job(0).is_none());
    hold(&mut hot, 1, 9, 100, 50);
    assert!(!hot.flush_due(149));
    assert_eq!(hot.flush_at_ns(), Some(150));
    assert!(hot.flush_due(150));
    hold(&mut hot, 2, 1, 100, 60);
    assert!(hot.flush_due(60));
    let mut heavy = self::hot();
    hold(&mut heavy, 1, 1, 2000, 0);
    assert!(heavy.flush_due(0));
}

#[test]
fn a_flush_takes_what_was_hot_when_it_began() {
    let mut hot = hot();
    hold(&mut hot, 1, 3, 100, 0);
    let job = hot.flush_job(0).unwrap();
    hold(&mut hot, 2, 4, 100, 5);
    assert_eq!(hot.view(&ALL).batches.len(), 2);
    hot.flushed(manifest(1, &job), 9);
    let view = hot.view(&ALL);
    assert_eq!(view.header, HotHeader { relay_epoch: 7, manifest_version: 1, first: 2, last: 2 });
    assert_eq!(positions(&view), [2]);
    assert_eq!(hot.size(), (4, 100 + BATCH_BYTES));
    let job = hot.flush_job(0).unwrap();
    hot.flushed(manifest(2, &job), 9);
    assert!(hot.flush_job(0).is_none());
    let view = hot.view(&ALL);
    assert_eq!((view.header.first, view.header.last), (3, 2));
}

#[test]
fn an_empty_batch_has_a_position_and_is_remembered() {
    let mut hot = hot();
    assert_eq!(hold(&mut hot, 1, 0, 100, 0), Offer::Taken { position: 1, missing: 0 });
    assert_eq!(positions(&hot.view(&ALL)), [1]);
    let job = hot.flush_job(0).unwrap();
    assert!(job.batches.is_empty());
    assert_eq!(job.stored[0].sequence, 1);
}

#[test]
fn losses_count_for_themselves_and_leave_with_their_batch() {
    let mut hot = hot();
    let with = |sequence, losses| received(BatchId { losses, ..id(sequence) }, 1, 10);
    hot.offer(&with(1, vec![loss(5), loss(6)]), 50);
    hot.offer(&with(2, vec![]), 60);
    assert!(hot.loss_view(&ALL).batches.is_empty());
    hot.offer(&with(5, vec![loss(7)]), 70);
    hot.note(&Notes { losses: vec![loss(8)], positions: vec![] }, 80);
    hot.written(4, 0, 90);
    let view = hot.loss_view(&ALL);
    assert_eq!((view.header.first, view.header.last), (1, 3));
    assert_eq!(positions(&view), [1, 2, 3]);
    let rows = |view: &HotView| -> Vec<LossRow> {
        view.batches.iter().flat_map(|(_, batch)| LossRow::read(batch).unwrap()).collect()
    };
    let told: Vec<_> =
        rows(&view).into_iter().map(|row| (row.cluster, row.node, row.stage, row.count)).collect();
    let row = |cluster: &str, node: &str, stage: &str, count| {
        (cluster.to_owned(), node.to_owned(), stage.to_owned(), count)
    };
    let expected = [
        row("lab", "n1", "kernel", 5),
        row("lab", "n1", "kernel", 6),
        row("lab", "n1", "kernel", 7),
        row("lab", "n1", "relay", 2),
        row("", "relay-1", "kernel", 8),
    ];
    assert_eq!(told, expected);
    let gap = &rows(&view)[3];
    assert_eq!((gap.time.0, gap.end_time.0, gap.unit.as_str()), (60, 70, "batches"));
    let job = hot.flush_job(0).unwrap();
    assert_eq!(job.losses, rows(&view));
    hot.offer(&with(6, vec![loss(9)]), 95);
    hot.written(5, 0, 95);
    hot.flushed(manifest(1, &job), 99);
    let view = hot.loss_view(&HotTicket { relay_epoch: 7, after: 3 });
    assert_eq!((positions(&view), view.header.first), (vec![4], 4));
    // The next process counts on.
    let after = Hot::new(7, "relay-1".into(), LIMITS, manifest(1, &job));
    let view = after.loss_view(&ALL);
    assert_eq!((view.header.first, view.header.last), (4, 3));
    assert_eq!(after.view(&ALL).header.first, 5);
}

#[test]
fn tickets_get_what_they_lack() {
    let mut hot = hot();
    for sequence in 1..=3 {
        hold(&mut hot, sequence, 1, 10, 0);
    }
    assert_eq!(positions(&hot.view(&HotTicket { relay_epoch: 7, after: 2 })), [3]);
    assert_eq!(positions(&hot.view(&HotTicket { relay_epoch: 7, after: 9 })), [0u64; 0]);
    assert_eq!(positions(&hot.view(&HotTicket { relay_epoch: 6, after: 2 })), [1, 2, 3]);
}

#[test]
fn a_full_memory_makes_collectors_wait() {
    let mut hot = hot();
    assert_eq!(hold(&mut hot, 1, 1, 5000, 0), Offer::Taken { position: 1, missing: 0 });
    assert_eq!(hold(&mut hot, 2, 1, 1, 0), Offer::Full);
    assert_eq!(hold(&mut hot, 1, 1, 1, 0), Offer::Again { position: 1 });
    assert!(hot.status().problems[0].starts_with("memory is full"));
    hot.flushed(manifest(1, &hot.flush_job(0).unwrap()), 0);
    assert_eq!(hold(&mut hot, 2, 1, 1, 0), Offer::Taken { position: 2, missing: 0 });
    hot.close();
    assert_eq!(hold(&mut hot, 3, 1, 1, 0), Offer::Closed);
}

#[test]
fn a_full_log_makes_collectors_wait_and_starts_a_flush() {
    let limits = Limits { wal_max_bytes: 1000, ..LIMITS };
    let mut hot = Hot::new(7, "relay-1".into(), limits, Arc::default());
    offer(&mut hot, 1, 1, 100, 0);
    hot.written(1, 400, 0);
    assert!(!hot.flush_due(0));
    hot.released(950);
    assert!(hot.flush_due(0));
    assert_eq!(offer(&mut hot, 2, 1, 100, 0), Offer::Full);
    hot.released(1000);
    assert!(hot.status().problems[0].starts_with("the write-ahead log is full"));
    hot.flushed(manifest(1, &hot.flush_job(0).unwrap()), 0);
    // Nothing is left that could make room.
    assert_eq!(offer(&mut hot, 2, 1, 100, 0), Offer::Taken { position: 2, missing: 0 });
}
