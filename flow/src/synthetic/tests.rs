use std::collections::{HashMap, HashSet};

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::DataType;

use super::*;
use crate::schema::sent_schema;

const START: i64 = 1_700_000_000_000_000_000;
const MINUTE: i64 = 60_000_000_000;

fn synthetic() -> Synthetic {
    Synthetic::new(&SyntheticOptions::default())
}

#[test]
fn the_same_seed_gives_the_same_rows() {
    let (mut one, mut two) = (synthetic(), synthetic());
    assert_eq!(one.batch(2000, START, MINUTE), two.batch(2000, START, MINUTE));
    assert_eq!(one.flows(100, START, MINUTE), two.flows(100, START, MINUTE));
    let mut other = Synthetic::new(&SyntheticOptions { seed: 2, ..SyntheticOptions::default() });
    assert_ne!(synthetic().batch(2000, START, MINUTE), other.batch(2000, START, MINUTE));
}

#[test]
fn rows_look_like_a_cluster() {
    let batch = synthetic().batch(50_000, START, MINUTE);
    assert_eq!(batch.schema(), sent_schema());
    let flows = Flow::read(&batch).unwrap();
    let share = |holds: fn(&Flow) -> bool| {
        flows.iter().filter(|flow| holds(flow)).count() as f64 / flows.len() as f64
    };
    let near = |share: f64, aim: f64| (share - aim).abs() < aim * 0.4;
    let denied = share(|flow| flow.verdict == "deny");
    assert!(near(denied, 0.03), "{denied}");
    let world = share(|flow| flow.source_kind == "world" || flow.destination_kind == "world");
    assert!(near(world, 0.10), "{world}");
    for state in ["open", "active", "closed"] {
        assert!(flows.iter().any(|flow| flow.state == state), "{state}");
    }
    for protocol in ["TCP", "UDP", "ICMP"] {
        assert!(flows.iter().any(|flow| flow.protocol == protocol), "{protocol}");
    }
    let pods: HashSet<_> = flows.iter().filter_map(|flow| flow.source_pod.as_ref()).collect();
    assert!((1000..=2000).contains(&pods.len()), "{}", pods.len());
    for flow in &flows {
        assert!((START - 11_000_000_000..START + MINUTE).contains(&flow.time.0));
        let length = flow.end_time.0 - flow.time.0;
        assert!((0..6_000_000_000).contains(&length) && flow.end_time.0 < START + MINUTE);
        // Exact, or by the tick.
        assert!(length == 0 || flow.end_time.0 % 1_000_000 == 0, "{flow:?}");
        assert!(flow.state != "open" || length == 0);
        assert!(flow.packets > 0 && flow.bytes >= flow.packets * 42);
        assert_eq!(flow.policies.is_empty(), flow.policy.is_empty());
        assert_eq!(flow.verdict == "deny", flow.reason == "default_deny");
        assert_eq!(flow.source_pod.is_some(), flow.source_labels.len() >= 3);
        assert_eq!(flow.destination_port.is_none(), flow.protocol == "ICMP");
    }
    assert!(flows.is_sorted_by_key(|flow| flow.end_time));
}

/// The share of rows that say something in a column.
fn filled(batch: &RecordBatch, column: &str) -> f64 {
    let column = batch.column_by_name(column).unwrap();
    let says = |row: usize| match column.data_type() {
        DataType::List(_) => !column.as_list::<i32>().value(row).is_empty(),
        DataType::Map(..) => !column.as_map().value(row).is_empty(),
        _ => !column.is_null(row),
    };
    (0..batch.num_rows()).filter(|row| says(*row)).count() as f64 / batch.num_rows() as f64
}

#[test]
fn every_column_is_filled() {
    let batch = synthetic().batch(50_000, START, MINUTE);
    for field in batch.schema().fields() {
        let share = filled(&batch, field.name());
        // Names are known of what is outside, types are of ICMP alone.
        let least = match field.name().as_str() {
            "icmp_type" | "icmp_code" => 0.001,
            "source_names" | "destination_names" => 0.015,
            "destination_service" => 0.2,
            "rtt_ns" | "duration_ns" | "policies" => 0.5,
            "tcp_flags" => 0.75,
            _ => 0.85,
        };
        assert!(share >= least, "{}: {share}", field.name());
    }
}

#[test]
fn few_workloads_have_most_of_the_traffic() {
    let flows = synthetic().flows(50_000, START, MINUTE);
    let mut rows: HashMap<&str, usize> = HashMap::new();
    for flow in &flows {
        for workload in [&flow.source_workload, &flow.destination_workload].into_iter().flatten() {
            *rows.entry(workload).or_default() += 1;
        }
    }
    assert!((300..=400).contains(&rows.len()), "{}", rows.len());
    let mut rows: Vec<usize> = rows.into_values().collect();
    rows.sort_unstable();
    let most: usize = rows.iter().rev().take(rows.len() / 10).sum();
    let share = most as f64 / rows.iter().sum::<usize>() as f64;
    assert!((0.4..0.9).contains(&share), "{share}");
}

#[test]
fn connections_go_on_from_batch_to_batch() {
    let batches: Vec<RecordBatch> =
        synthetic().steps(1000, START, 1_000_000_000).take(20).collect();
    let key = |flow: &Flow| (flow.source_ip.clone(), flow.source_port, flow.destination_ip.clone());
    let active = |batch: &RecordBatch| -> HashSet<_> {
        let flows = Flow::read(batch).unwrap();
        flows.iter().filter(|flow| flow.state == "active").map(key).collect()
    };
    let (early, late) = (active(&batches[2]), active(&batches[19]));
    assert!(
        early.intersection(&late).count() + active(&batches[12]).intersection(&early).count() > 50
    );
}

#[test]
fn small_numbers_do() {
    let options = SyntheticOptions {
        nodes: 0,
        namespaces: 0,
        workloads: 0,
        pods: 0,
        world: 0,
        interval_ns: 0,
        ..SyntheticOptions::default()
    };
    assert_eq!(Synthetic::new(&options).batch(500, 0, 0).num_rows(), 500);
    assert_eq!(synthetic().batch(0, START, MINUTE).num_rows(), 0);
}
