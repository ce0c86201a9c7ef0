use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use proptest::prelude::*;
use weir_flow::Flow;
use weir_flow::schema::{FlowBuilder, LabelMap};
use weir_flow::synthetic::{Synthetic, SyntheticOptions};
use weir_flow::values::PolicyRule;

use super::*;
use crate::sort;
use crate::tests::flows::flow;

const SMALL: Shape = Shape { group_rows: 300, page_rows: 64, zstd_level: 3 };

fn read(file: Bytes) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<RecordBatch> =
        reader.with_batch_size(100).build().unwrap().map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

/// Into files and back, in any order.
fn round_trip(batches: &[RecordBatch], shape: &Shape) {
    let mut before: Vec<Flow> = batches.iter().flat_map(|b| Flow::read(b).unwrap()).collect();
    let mut after = Vec::new();
    for part in sort::partitions(batches).unwrap() {
        let file = encode_columns(&part.columns, shape).unwrap();
        after.extend(Flow::read(&read(file)).unwrap());
    }
    let order = |flow: &Flow| format!("{flow:?}");
    before.sort_by_cached_key(order);
    after.sort_by_cached_key(order);
    assert!(before == after, "rows differ");
}

#[test]
fn realistic_rows_come_back() {
    let batches: Vec<RecordBatch> = Synthetic::new(&SyntheticOptions::default())
        .steps(700, 1_700_000_000_000_000_000, 1_000_000_000)
        .take(3)
        .collect();
    round_trip(&batches, &SMALL);
    round_trip(&batches, &Shape::MERGED);
}

fn some_flow() -> impl Strategy<Value = Flow> {
    let text = || prop::option::of("[a-c]{0,2}");
    let labels = || prop::collection::btree_map("[a-b]{1,2}", "[x-y]{0,1}", 0..3);
    let rule = ("[a-b]", prop::option::of(0_u32..3)).prop_map(|(name, rule)| PolicyRule {
        kind: "NetworkPolicy".into(),
        namespace: String::new(),
        name,
        rule,
    });
    let names = prop::collection::vec("[a-b]{0,1}", 0..3);
    let policies = prop::collection::vec(rule, 0..3);
    (any::<u64>(), text(), text(), labels(), names, policies, any::<bool>()).prop_map(
        |(number, pod, service, labels, names, policies, denied)| {
            let mut flow = flow(number % 1000);
            flow.verdict = if denied { "deny" } else { "allow" }.into();
            flow.bytes = number;
            flow.source_pod = pod;
            flow.destination_service = service;
            flow.source_labels = LabelMap::from_iter(labels);
            flow.source_names = names;
            flow.policies = policies;
            flow
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_rows_come_back(
        batches in prop::collection::vec(prop::collection::vec(some_flow(), 0..200), 1..4)
    ) {
        let batches: Vec<RecordBatch> = batches
            .iter()
            .map(|flows| {
                let mut builder = FlowBuilder::default();
                flows.iter().for_each(|flow| builder.append(flow));
                builder.finish()
            })
            .collect();
        round_trip(&batches, &SMALL);
    }
}

#[test]
fn every_column_has_statistics_an_index_and_some_a_filter() {
    let mut builder = FlowBuilder::default();
    (0..1000).for_each(|number| builder.append(&flow(number)));
    for part in sort::partitions(&[builder.finish()]).unwrap() {
        let file = encode_columns(&part.columns, &SMALL).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        for group in reader.metadata().row_groups() {
            for column in group.columns() {
                let path = column.column_path().string();
                assert!(column.statistics().is_some(), "{path}");
                assert!(column.column_index_offset().is_some(), "{path}");
                assert!(column.offset_index_offset().is_some(), "{path}");
                let has_filter = column.bloom_filter_offset().is_some();
                assert_eq!(has_filter, NEEDLES.contains(&path.as_str()), "{path}");
            }
        }
    }
}
