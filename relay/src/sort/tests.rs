use weir_flow::Flow;
use weir_flow::schema::FlowBuilder;

use super::*;
use crate::tests::flows::{HOUR, flow};

fn batch(numbers: impl IntoIterator<Item = u64>, change: impl Fn(&mut Flow)) -> RecordBatch {
    let mut builder = FlowBuilder::default();
    for number in numbers {
        let mut flow = flow(number);
        change(&mut flow);
        builder.append(&flow);
    }
    builder.finish()
}

fn sorted(batch: &RecordBatch) -> bool {
    Flow::read(batch).unwrap().is_sorted_by_key(|flow| {
        (
            flow.verdict.clone(),
            flow.source_workload.clone(),
            flow.destination_workload.clone(),
            flow.source_pod.clone(),
            flow.destination_pod.clone(),
            (flow.source_ip.clone(), flow.destination_ip.clone()),
            flow.destination_port,
            flow.source_port,
            flow.direction.clone(),
            flow.time.0,
        )
    })
}

#[test]
fn batches_with_other_dictionaries_become_one_sorted_one() {
    let batches = [
        batch(0..300, |_| {}),
        batch(300..301, |flow| flow.destination_workload = None),
        batch(301..600, |flow| flow.destination_workload = Some("a".into())),
        batch(600..600, |_| {}),
    ];
    let parts = partitions(&batches).unwrap();
    assert_eq!(parts.len(), 1);
    assert!(sorted(&parts[0]));
    let mut rows = Flow::read(&parts[0]).unwrap();
    rows.sort_by_key(|flow| flow.count);
    let before: Vec<Flow> = batches.iter().flat_map(|batch| Flow::read(batch).unwrap()).collect();
    assert_eq!(rows, before);
    let workloads = parts[0].column_by_name("destination_workload").unwrap();
    let workloads = workloads.as_dictionary::<Int32Type>().values().as_string::<i32>();
    assert_eq!(workloads.iter().flatten().collect::<Vec<_>>(), ["a", "redis"]);
    assert_eq!(time_range(&parts[0]), (HOUR, flow(599).end_time.0));
}

#[test]
fn slices_and_values_nobody_uses() {
    let whole = batch(0..100, |_| {});
    let parts = partitions(&[whole.slice(10, 5), whole.slice(40, 3)]).unwrap();
    let mut counts: Vec<u64> = Flow::read(&parts[0]).unwrap().iter().map(|f| f.count).collect();
    counts.sort_unstable();
    assert_eq!(counts, [10, 11, 12, 13, 14, 40, 41, 42]);
    let sources = parts[0].column_by_name("source_pod").unwrap();
    assert_eq!(sources.as_dictionary::<Int32Type>().values().len(), 8);
}

#[test]
fn each_hour_is_apart() {
    let across = batch(0..100, |flow| flow.time.0 += HOUR_NS - 50 * 1_000_003);
    let parts = partitions(&[across]).unwrap();
    assert_eq!(parts.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [50, 50]);
    assert!(time_range(&parts[0]).0 < HOUR + HOUR_NS);
    assert!(time_range(&parts[1]).0 >= HOUR + HOUR_NS);
    assert!(parts.iter().all(sorted));
}

#[test]
fn broken_clocks_do_not_make_thousands_of_files() {
    let spread = batch(0..1000, |flow| {
        flow.time.0 = match flow.count {
            0 => i64::MIN,
            1 => i64::MAX,
            count => count as i64 * HOUR_NS,
        }
    });
    let parts = partitions(&[spread]).unwrap();
    assert!(parts.len() <= MAX_FILES);
    assert_eq!(parts.iter().map(RecordBatch::num_rows).sum::<usize>(), 1000);
    assert_eq!(partitions(&[]).unwrap().len(), 0);
}

#[test]
fn keys_compare_like_their_parts() {
    let key = |parts: &[(u64, u32)]| {
        let mut key = Key::default();
        parts.iter().for_each(|&(rank, bits)| key.push(rank, bits));
        key
    };
    let widths = [1, 31, 31, 31, 17, 31, 31, 31, 17, 31];
    let with = |at: usize, rank: u64| {
        key(&widths
            .iter()
            .enumerate()
            .map(|(i, &bits)| (if i == at { rank } else { 0 }, bits))
            .collect::<Vec<_>>())
    };
    for at in 1..widths.len() {
        assert!(with(at, 1) > Key::default());
        assert!(with(at, 1) < with(at, 2));
        assert!(with(at, 2) < with(at - 1, 1));
    }
    assert_eq!((bits_for(0), bits_for(1), bits_for(2), bits_for(255)), (1, 1, 2, 8));
}
