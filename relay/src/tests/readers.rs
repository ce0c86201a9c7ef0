//! The files as other programs read them: nothing but Parquet.

use weir_flow::Flow;
use weir_flow::synthetic::{Synthetic, SyntheticOptions};

use super::python;
use crate::encode_flows;

const PYARROW: &str = r#"
import sys, json
import pyarrow.parquet as pq
rows = []
for path in sys.stdin.read().split():
    table = pq.read_table(path, partitioning=None)
    for row in table.select(["source_pod", "source_labels", "policies", "source_names", "bytes", "source_port"]).to_pylist():
        row["source_labels"] = dict(row["source_labels"])
        rows.append(row)
print(json.dumps(rows))
"#;

const DUCKDB: &str = r#"
import sys, json, duckdb
paths = sys.stdin.read().split()
rows = duckdb.sql(f"""select source_pod, source_labels, policies, source_names, bytes, source_port
    from read_parquet({paths}, hive_partitioning=false)""").fetchall()
names = ["source_pod", "source_labels", "policies", "source_names", "bytes", "source_port"]
rows = [dict(zip(names, row)) for row in rows]
some = duckdb.sql(f"select source_ip, count(*) from read_parquet({paths}, hive_partitioning=false) group by 1 order by 2 desc limit 1").fetchall()[0]
again = duckdb.sql(f"select count(*) from read_parquet({paths}, hive_partitioning=false) where source_ip = '{some[0]}'").fetchall()[0]
assert some[1] == again[0], (some, again)
print(json.dumps(rows))
"#;

#[test]
fn pyarrow_and_duckdb_read_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let batches: Vec<_> = Synthetic::new(&SyntheticOptions::default())
        .steps(2000, 1_700_000_000_000_000_000, 1_000_000_000)
        .take(2)
        .collect();
    let mut paths = Vec::new();
    for encoded in encode_flows(&batches, "a", 0).unwrap() {
        for (path, body) in [
            (encoded.file.path.clone(), encoded.body),
            (encoded.file.edges.unwrap().path, encoded.edges),
        ] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, body).unwrap();
            if path.to_str().unwrap().contains("/flows/") {
                paths.push(path.display().to_string());
            }
        }
    }
    let mut expected: Vec<serde_json::Value> = batches
        .iter()
        .flat_map(|batch| Flow::read(batch).unwrap())
        .map(|flow| {
            serde_json::json!({
                "source_pod": flow.source_pod,
                "source_labels": flow.source_labels,
                "policies": flow.policies,
                "source_names": flow.source_names,
                "bytes": flow.bytes,
                "source_port": flow.source_port,
            })
        })
        .collect();
    expected.sort_by_cached_key(ToString::to_string);
    for program in [PYARROW, DUCKDB] {
        let printed = python::run(program, &paths.join("\n"));
        let mut rows: Vec<serde_json::Value> = serde_json::from_str(&printed).unwrap();
        rows.sort_by_cached_key(ToString::to_string);
        assert_eq!(rows.len(), expected.len());
        assert!(rows == expected, "{} is not {}", rows[0], expected[0]);
    }
}
