use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use weir_flow::Flow;
use weir_flow::schema::FlowBuilder;
use weir_flow::schema::edges::EdgeRow;

use super::*;
use crate::encode::{Shape, encode_columns};
use crate::sort;
use crate::tests::flows::{HOUR, flow};

type Key = (i64, Vec<Option<String>>, Option<u16>);

/// By hand, text by text.
fn expected(flows: &[Flow]) -> BTreeMap<Key, Sums> {
    let mut edges: BTreeMap<Key, Sums> = BTreeMap::new();
    for flow in flows {
        let texts = [
            Some(&flow.cluster),
            Some(&flow.direction),
            Some(&flow.verdict),
            Some(&flow.reason),
            Some(&flow.policy),
            Some(&flow.protocol),
            Some(&flow.source_kind),
            flow.source_namespace.as_ref(),
            flow.source_workload_kind.as_ref(),
            flow.source_workload.as_ref(),
            Some(&flow.destination_kind),
            flow.destination_namespace.as_ref(),
            flow.destination_workload_kind.as_ref(),
            flow.destination_workload.as_ref(),
            flow.destination_service.as_ref(),
        ];
        let minute = flow.time.0.div_euclid(MINUTE_NS) * MINUTE_NS;
        let key = (minute, texts.map(Option::<&String>::cloned).to_vec(), flow.destination_port);
        let sums = edges.entry(key).or_default();
        let more = [1, flow.count, flow.packets, flow.bytes, flow.reply_packets, flow.reply_bytes];
        sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    }
    edges
}

fn found(edges: &[EdgeRow]) -> BTreeMap<Key, Sums> {
    let mut all = BTreeMap::new();
    for edge in edges {
        let texts = [
            Some(&edge.cluster),
            Some(&edge.direction),
            Some(&edge.verdict),
            Some(&edge.reason),
            Some(&edge.policy),
            Some(&edge.protocol),
            Some(&edge.source_kind),
            edge.source_namespace.as_ref(),
            edge.source_workload_kind.as_ref(),
            edge.source_workload.as_ref(),
            Some(&edge.destination_kind),
            edge.destination_namespace.as_ref(),
            edge.destination_workload_kind.as_ref(),
            edge.destination_workload.as_ref(),
            edge.destination_service.as_ref(),
        ];
        let key =
            (edge.time.0, texts.map(Option::<&String>::cloned).to_vec(), edge.destination_port);
        let sums = [
            edge.flow_rows,
            edge.count,
            edge.packets,
            edge.bytes,
            edge.reply_packets,
            edge.reply_bytes,
        ];
        assert!(all.insert(key, sums).is_none(), "an edge twice: {edge:?}");
    }
    all
}

/// Through a file and back.
fn read(edges: &Columns) -> Vec<EdgeRow> {
    let file = encode_columns(edges, &Shape::FLUSHED).unwrap();
    let batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    batches.flat_map(|batch| EdgeRow::read(&batch.unwrap()).unwrap()).collect()
}

fn some_flow() -> impl Strategy<Value = Flow> {
    let name = || prop::sample::select(vec![None, Some("a"), Some("b"), Some("")]);
    let word = || prop::sample::select(vec!["", "a", "b"]);
    let texts = (word(), word(), word(), word(), word(), word(), word(), word());
    let names = (name(), name(), name(), name(), name(), name(), name());
    let counters = prop::array::uniform5(0_u64..1 << 40);
    let port = prop::option::of(prop::sample::select(vec![0, 80, u16::MAX]));
    (texts, names, counters, port, -100_i64..4000).prop_map(
        |(texts, names, counters, port, second)| {
            let mut flow = flow(0);
            let owned = |name: Option<&str>| name.map(str::to_owned);
            flow.time.0 = HOUR + second * 1_000_000_000;
            flow.verdict = if texts.2 == "a" { "allow" } else { "deny" }.into();
            [
                &mut flow.cluster,
                &mut flow.direction,
                &mut flow.reason,
                &mut flow.policy,
                &mut flow.protocol,
                &mut flow.source_kind,
                &mut flow.destination_kind,
            ]
            .into_iter()
            .zip([texts.0, texts.1, texts.3, texts.4, texts.5, texts.6, texts.7])
            .for_each(|(column, text)| *column = text.to_owned());
            [
                &mut flow.source_namespace,
                &mut flow.source_workload_kind,
                &mut flow.source_workload,
                &mut flow.destination_namespace,
                &mut flow.destination_workload_kind,
                &mut flow.destination_workload,
                &mut flow.destination_service,
            ]
            .into_iter()
            .zip([names.0, names.1, names.2, names.3, names.4, names.5, names.6])
            .for_each(|(column, name)| *column = owned(name));
            flow.destination_port = port;
            [flow.count, flow.packets, flow.bytes, flow.reply_packets, flow.reply_bytes] = counters;
            flow
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Over any rows, in any batches, each edge says what its flows say, and no flow is left out.
    #[test]
    fn edges_are_the_sums_of_their_flows(
        batches in prop::collection::vec(prop::collection::vec(some_flow(), 0..40), 1..4)
    ) {
        let built: Vec<RecordBatch> = batches
            .iter()
            .map(|flows| {
                let mut builder = FlowBuilder::default();
                flows.iter().for_each(|flow| builder.append(flow));
                builder.finish()
            })
            .collect();
        let mut merged: BTreeMap<Key, Sums> = BTreeMap::new();
        for part in sort::partitions(&built).unwrap() {
            let rows = read(&edges(&part.columns).unwrap());
            for (key, more) in found(&rows) {
                let sums = merged.entry(key).or_default();
                sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
            }
        }
        prop_assert_eq!(merged, expected(&batches.concat()));
    }
}
