//! A query service with access control on, over rows whose names are what nobody should call anything.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{ArrayRef, DictionaryArray, Int32Array};
use arrow::record_batch::RecordBatch;
use weir_collector::ledger::Tally;
use weir_flow::schema::sent_schema;
use weir_flow::synthetic::{Synthetic, SyntheticOptions};
use weir_flow::{Flow, FlowBuilder};

use crate::made_up;
use crate::weir::{Service, wait_for};

/// Who sees everything.
pub(super) const ROOT: &str = "root-has-a-long-secret";
const ROOT_SHA256: &str = "0cf1c485419ace1e7898c0fbfbfcb5bd5fd4722f7acf089e8080515dae77ede1";
/// Who sees one namespace.
pub(super) const GUEST: &str = "guest-has-another-secret";
const GUEST_SHA256: &str = "4a387932cb95a75197ce075aefebf3e1522ecf99f552add2a6d4d3d18f5bb801";
/// The namespace.
pub(super) const SEEN: &str = "seen";

const ROWS: usize = 300;
const LOST_ROWS: usize = 20;
const LABELS: usize = 400;
/// Markup, right-to-left and other marks, quotes of filters and SQL, nothing visible at all.
const NAMES: [&str; 8] = [
    "<img src=x onerror=\"document.title='owned'\">",
    "</script><script>document.title='owned'</script>",
    "\u{202e}gnp.exe\u{202c}\u{2067}abc",
    "a\"b'c\\d`e${f}{{g}}",
    "javascript:document.title='owned'",
    "\u{0}\u{1b}[31mred\r\nnext line\ttab",
    "\u{200b}\u{feff}",
    "עברית-العربية-日本語-🦀",
];

/// A relay and a query service with these rows, all within the last minutes.
pub(super) struct Bed {
    pub(super) query: Service,
    _relay: Service,
    _directory: tempfile::TempDir,
}

impl Bed {
    pub(super) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let store = path.join("store");
        let store = store.to_str().unwrap();
        let arguments = ["relay", "--ingest=127.0.0.1:0", "--store", store, "--flush-interval=1h"];
        let relay = Service::start(path, "relay", &arguments);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let mut builder = FlowBuilder::default();
        for flow in rows() {
            builder.append(&flow);
        }
        let batch = sent(&builder.finish());
        let lost = made_up::lose(relay.door("ingest"), batch.slice(0, LOST_ROWS), lost());
        runtime.block_on(lost);
        runtime.block_on(made_up::bring(relay.door("ingest"), std::iter::once(batch)));
        let (settings, state) = (path.join("query.yaml"), path.join("state"));
        std::fs::write(&settings, access()).unwrap();
        let url = format!("http://{}", relay.door("ingest"));
        let arguments =
            ["query", "--config", settings.to_str().unwrap(), "--relay", &url, "--store", store];
        let doors = ["--http=127.0.0.1:0", "--grpc=127.0.0.1:0", "--postgres=127.0.0.1:0"];
        let state = ["--state", state.to_str().unwrap()];
        let query = Service::start(path, "query", &[&arguments[..], &doors, &state].concat());
        let ready = || (query.request("GET", "/readyz", None).0 == 200).then_some(());
        wait_for("the query service to have the rows", ready);
        Self { query, _relay: relay, _directory: directory }
    }
}

/// The rows as collectors send them: lists and maps are values of dictionaries.
fn sent(batch: &RecordBatch) -> RecordBatch {
    let schema = sent_schema();
    let rows = i32::try_from(batch.num_rows()).unwrap();
    let as_sent = |(wanted, column): (_, &ArrayRef)| {
        if wanted == column.data_type() {
            return column.clone();
        }
        let keys = Int32Array::from_iter_values(0..rows);
        Arc::new(DictionaryArray::new(keys, column.clone())) as ArrayRef
    };
    let wanted = schema.fields().iter().map(|field| field.data_type());
    let columns = wanted.zip(batch.columns()).map(as_sent).collect();
    RecordBatch::try_new(schema.clone(), columns).unwrap()
}

/// What a collector could not keep, of some seconds in the midst of the rows.
fn lost() -> Tally {
    Tally {
        rows: LOST_ROWS as u64,
        allow: 17,
        deny: 3,
        from_ns: ago(Duration::from_secs(130)),
        to_ns: ago(Duration::from_secs(120)),
        ..Tally::default()
    }
}

/// That long before now, nanoseconds since 1970.
fn ago(time: Duration) -> i64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from((now - time).as_nanos()).unwrap()
}

fn rows() -> Vec<Flow> {
    let begin = ago(Duration::from_secs(240));
    let options = SyntheticOptions { denied_per_mille: 700, ..SyntheticOptions::default() };
    let mut flows = Synthetic::new(&options).flows(ROWS, begin, 200_000_000_000);
    let long = "n".repeat(253);
    for (at, flow) in flows.iter_mut().enumerate() {
        // Every third row is of the namespace that the guest sees; in no other is its name.
        if at % 3 == 0 {
            flow.source_namespace = Some(SEEN.into());
            flow.source_pod = Some(format!("visible-{at}"));
            continue;
        }
        flow.source_namespace = Some(format!("foreign-{}", at % 7));
        flow.destination_namespace = Some("foreign".into());
        let name =
            NAMES.get(at / 3 % (NAMES.len() + 1)).map_or(long.clone(), |name| (*name).to_owned());
        flow.source_pod = Some(name.clone());
        flow.source_workload = Some(name.clone());
        flow.destination_workload = Some(name.clone());
        flow.policy = format!("foreign/{name}");
        let labels = (0..LABELS).map(|label| (format!("label-{label}"), name.clone()));
        flow.source_labels = labels.collect();
    }
    flows
}

fn access() -> String {
    format!(
        "access:\n  tokens:\n    - {{name: root, sha256: {ROOT_SHA256}}}\n    - {{name: guest, sha256: {GUEST_SHA256}}}\n  grants:\n    \
         - {{principals: [root], namespaces: ['*'], admin: true}}\n    - {{principals: [guest], namespaces: [{SEEN}]}}\n",
    )
}
