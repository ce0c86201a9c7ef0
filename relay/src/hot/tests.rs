use weir_flow::schema::FlowBuilder;

use super::*;
use crate::tests::flows::flow;

const LIMITS: Limits =
    Limits { flush_rows: 10, flush_bytes: 1000, flush_interval_ns: 100, hot_max_bytes: 2000 };

fn hot() -> Hot {
    Hot::new(7, LIMITS, Arc::default())
}

fn id(sequence: u64) -> BatchId {
    BatchId { collector: "lab/n1".into(), epoch: 1, sequence, status: None, losses: vec![] }
}

fn rows(count: usize) -> RecordBatch {
    let mut builder = FlowBuilder::default();
    for row in 0..count {
        builder.append(&flow(row as u64));
    }
    builder.finish()
}

const ALL: HotTicket = HotTicket { relay_epoch: 0, after: 0 };

fn positions(view: &HotView) -> Vec<u64> {
    view.batches.iter().map(|(position, _)| *position).collect()
}

#[test]
fn batches_are_held_once() {
    let mut hot = hot();
    assert_eq!(hot.offer(&id(1), &rows(3), 100, 0), Offer::Held { missing: 0 });
    assert_eq!(hot.offer(&id(1), &rows(3), 100, 0), Offer::Again);
    assert_eq!(hot.offer(&id(4), &rows(2), 100, 0), Offer::Held { missing: 2 });
    assert_eq!(hot.offer(&id(3), &rows(2), 100, 0), Offer::Again);
    assert_eq!(hot.size(), (5, 200));
    let status = hot.status();
    assert_eq!(status.rows_acknowledged, 5);
    assert_eq!(status.problems, ["2 batches of collector lab/n1 never arrived"]);
}

#[test]
fn rows_bytes_or_age_start_a_flush() {
    let mut hot = hot();
    assert!(!hot.flush_due(u64::MAX));
    assert!(hot.flush_job(0).is_none());
    hot.offer(&id(1), &rows(9), 100, 50);
    assert!(!hot.flush_due(149));
    assert_eq!(hot.flush_at_ns(), Some(150));
    assert!(hot.flush_due(150));
    hot.offer(&id(2), &rows(1), 100, 60);
    assert!(hot.flush_due(60));
    let mut heavy = self::hot();
    heavy.offer(&id(1), &rows(1), 1000, 0);
    assert!(heavy.flush_due(0));
}

#[test]
fn a_flush_takes_what_was_hot_when_it_began() {
    let mut hot = hot();
    hot.offer(&id(1), &rows(3), 100, 0);
    let job = hot.flush_job(0).unwrap();
    hot.offer(&id(2), &rows(4), 100, 5);
    assert_eq!(hot.view(&ALL).batches.len(), 2);
    let manifest = Manifest { version: 1, stored: job.stored.clone(), ..Manifest::default() };
    hot.flushed(job.up_to, Arc::new(manifest), 9);
    let view = hot.view(&ALL);
    assert_eq!(view.header, HotHeader { relay_epoch: 7, manifest_version: 1, first: 2, last: 2 });
    assert_eq!(positions(&view), [2]);
    assert_eq!(hot.size(), (4, 100));
    let job = hot.flush_job(0).unwrap();
    let manifest = Manifest { version: 2, stored: job.stored.clone(), ..Manifest::default() };
    hot.flushed(job.up_to, Arc::new(manifest), 9);
    assert!(hot.flush_job(0).is_none());
    let view = hot.view(&ALL);
    assert_eq!((view.header.first, view.header.last), (3, 2));
}

#[test]
fn an_empty_batch_moves_the_sequence_on_and_is_remembered() {
    let mut hot = hot();
    assert_eq!(hot.offer(&id(1), &rows(0), 100, 0), Offer::Held { missing: 0 });
    assert_eq!(hot.size(), (0, 0));
    assert!(hot.view(&ALL).batches.is_empty());
    let job = hot.flush_job(0).unwrap();
    assert!(job.batches.is_empty());
    assert_eq!(job.stored[0].sequence, 1);
}

#[test]
fn tickets_get_what_they_lack() {
    let mut hot = hot();
    for sequence in 1..=3 {
        hot.offer(&id(sequence), &rows(1), 10, 0);
    }
    assert_eq!(positions(&hot.view(&HotTicket { relay_epoch: 7, after: 2 })), [3]);
    assert_eq!(positions(&hot.view(&HotTicket { relay_epoch: 7, after: 9 })), [0u64; 0]);
    assert_eq!(positions(&hot.view(&HotTicket { relay_epoch: 6, after: 2 })), [1, 2, 3]);
}

#[test]
fn a_full_memory_makes_collectors_wait() {
    let mut hot = hot();
    assert_eq!(hot.offer(&id(1), &rows(1), 5000, 0), Offer::Held { missing: 0 });
    assert_eq!(hot.offer(&id(2), &rows(1), 1, 0), Offer::Full);
    assert_eq!(hot.offer(&id(1), &rows(1), 1, 0), Offer::Again);
    assert!(hot.status().problems[0].starts_with("memory is full"));
    hot.flushed(1, Arc::default(), 0);
    assert_eq!(hot.offer(&id(2), &rows(1), 1, 0), Offer::Held { missing: 0 });
    hot.close();
    assert_eq!(hot.offer(&id(3), &rows(1), 1, 0), Offer::Closed);
}

#[test]
fn a_large_batch_is_cut() {
    let limits = Limits { hot_max_bytes: 1 << 40, ..LIMITS };
    let mut hot = Hot::new(7, limits, Arc::default());
    let bytes = 2 * MAX_PART_BYTES + 1;
    hot.offer(&id(1), &rows(10), bytes, 0);
    let view = hot.view(&ALL);
    assert_eq!(positions(&view), [1, 2, 3]);
    assert_eq!(view.batches.iter().map(|(_, batch)| batch.num_rows()).sum::<usize>(), 10);
    assert_eq!(hot.size(), (10, bytes));
    hot.flushed(3, Arc::default(), 0);
    assert_eq!(hot.size(), (0, 0));
}
