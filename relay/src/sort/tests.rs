use weir_flow::Flow;
use weir_flow::schema::FlowBuilder;

use super::*;
use crate::tests::flows::{HOUR, flow, flows_of};

/// Allows, but for what `change` says.
fn batch(numbers: impl IntoIterator<Item = u64>, change: impl Fn(&mut Flow)) -> RecordBatch {
    let mut builder = FlowBuilder::default();
    for number in numbers {
        let mut flow = flow(number);
        flow.verdict = "allow".into();
        change(&mut flow);
        builder.append(&flow);
    }
    builder.finish()
}

fn sorted(part: &Part) -> bool {
    flows_of(&part.columns).is_sorted_by_key(|flow| {
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
    let mut rows = flows_of(&parts[0].columns);
    rows.sort_by_key(|flow| flow.count);
    let before: Vec<Flow> = batches.iter().flat_map(|batch| Flow::read(batch).unwrap()).collect();
    assert_eq!(rows, before);
    assert_eq!(time_range(&parts[0].columns).unwrap(), (HOUR, flow(599).end_time.0));
}

#[test]
fn slices_keep_their_rows() {
    let whole = batch(0..100, |_| {});
    let parts = partitions(&[whole.slice(10, 5), whole.slice(40, 3)]).unwrap();
    let mut rows = flows_of(&parts[0].columns);
    rows.sort_by_key(|flow| flow.count);
    let expected: Vec<Flow> = Flow::read(&whole)
        .unwrap()
        .into_iter()
        .filter(|f| matches!(f.count, 10..15 | 40..43))
        .collect();
    assert_eq!(rows, expected);
}

#[test]
fn denies_and_audits_are_apart_from_allows() {
    let mixed = batch(0..90, |flow| {
        flow.verdict = ["allow", "deny", "audit"][(flow.count % 3) as usize].into();
    });
    let parts = partitions(&[mixed]).unwrap();
    let classes: Vec<_> = parts.iter().map(|part| (part.verdicts, part.columns.rows)).collect();
    assert_eq!(classes, [(Verdicts::Allow, 30), (Verdicts::Deny, 60)]);
    assert!(flows_of(&parts[0].columns).iter().all(|flow| flow.verdict == "allow"));
    let only_denies = batch(0..10, |flow| flow.verdict = "deny".into());
    assert_eq!(partitions(&[only_denies]).unwrap()[0].verdicts, Verdicts::Deny);
}

#[test]
fn the_latest_denies_come_first() {
    let an_hour = batch(0..7200, |flow| {
        flow.verdict = if flow.count % 7 == 0 { "audit" } else { "deny" }.into();
        flow.time.0 = HOUR + (flow.count as i64 * 7919 % 7200) * 500_000_000;
    });
    let parts = partitions(&[an_hour]).unwrap();
    assert_eq!(parts.len(), 1);
    let flows = flows_of(&parts[0].columns);
    let run = |flow: &Flow| flow.time.0.div_euclid(300 * 1_000_000_000);
    let runs: Vec<&[Flow]> = flows.chunk_by(|a, b| run(a) == run(b)).collect();
    assert_eq!(runs.iter().map(|run| run.len()).collect::<Vec<_>>(), [600; 12]);
    assert!(runs.is_sorted_by_key(|flows| -run(&flows[0])));
    assert!(runs.iter().all(|run| run.is_sorted_by_key(|flow| flow.verdict.clone())));
    assert!(is_sorted(&parts[0].columns).unwrap());
}

#[test]
fn each_hour_is_apart() {
    let across = batch(0..100, |flow| flow.time.0 += HOUR_NS - 50 * 1_000_003);
    let parts = partitions(&[across]).unwrap();
    assert_eq!(parts.iter().map(|part| part.columns.rows).collect::<Vec<_>>(), [50, 50]);
    assert!(time_range(&parts[0].columns).unwrap().0 < HOUR + HOUR_NS);
    assert!(time_range(&parts[1].columns).unwrap().0 >= HOUR + HOUR_NS);
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
    assert!(parts.len() <= MAX_HOURS);
    assert_eq!(parts.iter().map(|part| part.columns.rows).sum::<usize>(), 1000);
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
