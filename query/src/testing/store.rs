//! A store as relays write it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use weir_flow::Flow;
use weir_flow::manifest::{
    DataFile, EDGES_PREFIX, FLOWS_PREFIX, LOSS_PREFIX, MANIFESTS_KEPT, Manifest, RollUp, Verdicts,
    data_path,
};
use weir_flow::schema::edges::{EdgeBuilder, EdgeRow, edge_schema};
use weir_flow::schema::loss::{LossRow, loss_schema};
use weir_flow::schema::{SCHEMA_VERSION, TimestampNs, stored_schema};
use weir_flow::values::Verdict;

const MINUTE_NS: i64 = 60_000_000_000;

/// The files and the newest manifest.
#[derive(Debug)]
pub(crate) struct FakeStore {
    path: PathBuf,
    manifest: Mutex<Manifest>,
}

impl FakeStore {
    pub(crate) fn new(path: &Path) -> Arc<Self> {
        Arc::new(Self { path: path.into(), manifest: Mutex::default() })
    }

    /// Makes the next manifest of what `change` adds; its version.
    pub(super) fn commit(&self, change: impl FnOnce(&Self, &mut Manifest)) -> u64 {
        let mut manifest = self.manifest.lock().unwrap();
        let mut next = manifest.clone();
        next.version += 1;
        change(self, &mut next);
        let path = self.path.join(Manifest::path(next.version));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let temporary = path.with_extension("tmp");
        std::fs::write(&temporary, serde_json::to_vec(&next).unwrap()).unwrap();
        std::fs::rename(temporary, path).unwrap();
        if let Some(old) = next.version.checked_sub(MANIFESTS_KEPT) {
            let _ = std::fs::remove_file(self.path.join(Manifest::path(old)));
        }
        *manifest = next;
        manifest.version
    }

    /// Writes a file of flows, and its roll-up if it is to have one.
    pub(super) fn flows(&self, name: &str, batches: &[RecordBatch], rolled_up: bool) -> DataFile {
        let flows: Vec<Flow> =
            batches.iter().flat_map(|batch| Flow::read(batch).unwrap()).collect();
        let min_time_ns = flows.iter().map(|flow| flow.time.0).min().unwrap();
        let path = data_path(min_time_ns, name);
        let edges = rolled_up.then(|| {
            let path = path.replacen(FLOWS_PREFIX, EDGES_PREFIX, 1);
            let edges = edges(&flows);
            let size_bytes = self.write(&path, edge_schema(), std::slice::from_ref(&edges));
            RollUp { path, rows: edges.num_rows() as u64, size_bytes }
        });
        DataFile {
            size_bytes: self.write(&path, stored_schema(), batches),
            path,
            rows: flows.len() as u64,
            min_time_ns,
            max_time_ns: flows.iter().map(|flow| flow.end_time.0).max().unwrap(),
            schema_version: SCHEMA_VERSION,
            verdicts: class(&flows),
            edges,
            ..DataFile::default()
        }
    }

    /// Writes a file of the ledger.
    pub(super) fn loss(&self, name: &str, batches: &[RecordBatch]) -> DataFile {
        let rows: Vec<LossRow> =
            batches.iter().flat_map(|batch| LossRow::read(batch).unwrap()).collect();
        let path = format!("{LOSS_PREFIX}/{name}.parquet");
        DataFile {
            size_bytes: self.write(&path, loss_schema(), batches),
            path,
            rows: rows.len() as u64,
            min_time_ns: rows.iter().map(|row| row.time.0).min().unwrap(),
            max_time_ns: rows.iter().map(|row| row.end_time.0).max().unwrap(),
            schema_version: SCHEMA_VERSION,
            ..DataFile::default()
        }
    }

    fn write(&self, path: &str, schema: SchemaRef, batches: &[RecordBatch]) -> u64 {
        let path = self.path.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let properties =
            WriterProperties::builder().set_max_row_group_row_count(Some(1024)).build();
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).unwrap();
        for batch in batches {
            writer.write(batch).unwrap();
        }
        writer.close().unwrap();
        std::fs::metadata(&path).unwrap().len()
    }
}

/// What a relay would say of them, only that it does not mix them.
fn class(flows: &[Flow]) -> Verdicts {
    let allows = flows.iter().filter(|flow| flow.verdict == Verdict::Allow.as_str()).count();
    match allows {
        0 => Verdicts::Deny,
        all if all == flows.len() => Verdicts::Allow,
        _ => Verdicts::Any,
    }
}

/// The roll-up of flows, row by row.
fn edges(flows: &[Flow]) -> RecordBatch {
    let mut sums: BTreeMap<String, EdgeRow> = BTreeMap::new();
    for flow in flows {
        let edge = EdgeRow {
            time: TimestampNs(flow.time.0.div_euclid(MINUTE_NS) * MINUTE_NS),
            cluster: flow.cluster.clone(),
            direction: flow.direction.clone(),
            verdict: flow.verdict.clone(),
            reason: flow.reason.clone(),
            policy: flow.policy.clone(),
            protocol: flow.protocol.clone(),
            destination_port: flow.destination_port,
            source_kind: flow.source_kind.clone(),
            source_namespace: flow.source_namespace.clone(),
            source_workload_kind: flow.source_workload_kind.clone(),
            source_workload: flow.source_workload.clone(),
            destination_kind: flow.destination_kind.clone(),
            destination_namespace: flow.destination_namespace.clone(),
            destination_workload_kind: flow.destination_workload_kind.clone(),
            destination_workload: flow.destination_workload.clone(),
            destination_service: flow.destination_service.clone(),
            flow_rows: 0,
            count: 0,
            packets: 0,
            bytes: 0,
            reply_packets: 0,
            reply_bytes: 0,
        };
        let sum = sums.entry(format!("{edge:?}")).or_insert(edge);
        sum.flow_rows += 1;
        sum.count += flow.count;
        sum.packets += flow.packets;
        sum.bytes += flow.bytes;
        sum.reply_packets += flow.reply_packets;
        sum.reply_bytes += flow.reply_bytes;
    }
    let mut builder = EdgeBuilder::default();
    sums.values().for_each(|edge| builder.append(edge));
    builder.finish()
}
