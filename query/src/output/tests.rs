use arrow::array::AsArray as _;
use arrow::ipc::reader::StreamReader;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use weir_flow::Flow;
use weir_flow::schema::table_schema;

use super::*;
use crate::Limits;
use crate::testing::{Stand, batch, flow};

/// A stand with two stored flows and a hot one.
async fn stand() -> Stand {
    let stand = Stand::new().await;
    stand.relay.push(batch([flow(4), flow(5)]));
    stand.relay.flush();
    stand.relay.push(batch([flow(6)]));
    stand
}

async fn text(stand: &Stand, sql: &str, format: &str) -> String {
    let response = stand.post(json!({"sql": sql, "format": format})).await;
    assert_eq!(response.status(), 200);
    let known = Format::from_name(format).unwrap();
    assert_eq!(response.headers()["content-type"], known.content_type());
    response.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_of_all_columns() {
    let stand = stand().await;
    let body = text(&stand, "select * from flows order by time", "json").await;
    let mut body: Value = serde_json::from_str(&body).unwrap();
    assert!(body["elapsed_ms"].as_f64().unwrap() > 0.0);
    assert!(body["bytes_scanned"].is_u64(), "{body}");
    body["elapsed_ms"] = 0.into();
    body["bytes_scanned"] = 0.into();
    insta::assert_json_snapshot!(body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_of_other_types_and_of_nothing() {
    let stand = stand().await;
    let sql = "select 1 as i, 1.5 as f, true as b, null as n, 'x' as t, [1, 2] as l, \
               date '2026-01-02' as d, interval '1 hour' as v, 'NaN'::double as nan, \
               18446744073709551615::bigint unsigned as u, time '01:02:03' as tm, \
               timestamp '2026-01-01T00:00:00' as ts, arrow_cast('x', 'Utf8View') as view, \
               1.25::decimal(5,2) as dec, x'00ff' as bin, 'a\"b\\c' as q";
    let mut body: Value = serde_json::from_str(&text(&stand, sql, "json").await).unwrap();
    body["elapsed_ms"] = 0.into();
    insta::assert_json_snapshot!("other_types", body);
    let sql = "select time, verdict from flows where false";
    let mut body: Value = serde_json::from_str(&text(&stand, sql, "json").await).unwrap();
    body["elapsed_ms"] = 0.into();
    insta::assert_json_snapshot!("nothing", body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_without_columns_are_counted() {
    let stand = stand().await;
    let sql = "select from flows limit 2";
    let body: Value = serde_json::from_str(&text(&stand, sql, "json").await).unwrap();
    assert_eq!((&body["rows"], &body["row_count"]), (&json!([{}, {}]), &json!(2)));
    assert_eq!(text(&stand, sql, "ndjson").await, "{}\n{}\n");
    // A header and two lines.
    assert_eq!(text(&stand, sql, "csv").await.lines().count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_of_the_same_name_are_told_apart() {
    let stand = stand().await;
    let sql = "select a.packets, b.packets from flows a join flows b on a.time = b.time \
               order by 1 limit 1";
    let body: Value = serde_json::from_str(&text(&stand, sql, "json").await).unwrap();
    assert_eq!(body["rows"], json!([{"packets": 4, "packets_2": 4}]), "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_json() {
    let stand = stand().await;
    let sql = "select source_pod, source_port, policies, rtt_ns from flows order by time";
    insta::assert_snapshot!(text(&stand, sql, "ndjson").await);
    assert_eq!(text(&stand, "select 1 where false", "ndjson").await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comma_separated_values() {
    let stand = stand().await;
    let sql = "select time, source_pod, source_port, policies, source_labels, source_names, \
               destination_names, rtt_ns, null as n from flows order by time";
    insta::assert_snapshot!(text(&stand, sql, "csv").await);
    assert_eq!(text(&stand, "select 1 as x where false", "csv").await, "x\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arrow_keeps_types_and_values() {
    let stand = stand().await;
    let body = json!({"sql": "select * from flows order by time", "format": "arrow"});
    let bytes = stand.post(body).await.bytes().await.unwrap();
    let reader = StreamReader::try_new(&bytes[..], None).unwrap();
    let types = |schema: &SchemaRef| {
        let fields = schema.fields().iter();
        fields.map(|f| (f.name().clone(), f.data_type().clone())).collect::<Vec<_>>()
    };
    assert_eq!(types(&reader.schema()), types(&table_schema()));
    let flows: Vec<Flow> = reader.flat_map(|batch| Flow::read(&batch.unwrap()).unwrap()).collect();
    assert_eq!(flows, [flow(4), flow(5), flow(6)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_beyond_the_limit_are_cut_off_and_it_is_said() {
    let limits = Limits { threads: 2, max_rows: 10, ..Limits::default() };
    let stand = Stand::with_limits(limits).await;
    stand.relay.push(batch((0..30).map(flow)));
    let (_, body) = stand.sql("select * from flows").await;
    assert_eq!((&body["row_count"], &body["truncated"]), (&10.into(), &true.into()));
    assert_eq!(body["rows"].as_array().unwrap().len(), 10);
    assert!(body["warnings"][0].as_str().unwrap().contains("only the first 10 rows"));
    let (_, body) = stand.sql("select * from flows limit 10").await;
    assert_eq!((&body["row_count"], &body["truncated"]), (&10.into(), &false.into()));
    let lines = text(&stand, "select source_pod from flows", "ndjson").await;
    assert_eq!(lines.lines().count(), 11);
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["truncated"], true);
    let response = stand.post(json!({"sql": "select * from flows", "format": "csv"})).await;
    assert_eq!(response.headers()["weir-row-limit"], "10");
    assert_eq!(response.text().await.unwrap().lines().count(), 11);
    let response = stand.post(json!({"sql": "select * from flows", "limit": 3})).await;
    let body: Value = response.json().await.unwrap();
    assert_eq!((&body["row_count"], &body["truncated"]), (&3.into(), &true.into()));
}

/// An error after the first rows: JSON says it, CSV and Arrow break off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_after_the_first_rows_is_told() {
    let stand = Stand::new().await;
    let sql = "select 1 / (60000 - value) as x from generate_series(1, 90000)";
    let (status, body) = stand.sql(sql).await;
    assert_eq!(status, 200);
    assert_eq!(body["error"]["status"], "INVALID_ARGUMENT", "{}", body["error"]);
    assert!(body["row_count"].as_u64().unwrap() > 0);
    let lines = text(&stand, sql, "ndjson").await;
    assert!(lines.lines().last().unwrap().starts_with("{\"error\":"));
    for format in ["csv", "arrow"] {
        let request = stand.client.post(format!("{}/api/v1/sql", stand.url));
        let response = request.json(&json!({"sql": sql, "format": format})).send().await;
        // The connection may break before the head of the response is on its way.
        if let Ok(response) = response {
            assert!(response.bytes().await.is_err(), "{format}");
        }
    }
}

#[test]
fn formats_are_found_by_accept() {
    for (accept, format) in [
        ("*/*", Format::Json),
        ("text/csv", Format::Csv),
        ("text/html, application/x-ndjson;q=0.9", Format::NdJson),
        ("application/vnd.apache.arrow.stream", Format::Arrow),
        ("", Format::Json),
    ] {
        assert_eq!(Format::from_accept(accept), format, "{accept}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parquet_of_all_columns() {
    let stand = stand().await;
    let sql = "select * from flows order by time";
    let response = stand.post(json!({"sql": sql, "format": "parquet"})).await;
    assert_eq!(response.headers()["content-type"], "application/vnd.apache.parquet");
    let file = response.bytes().await.unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    assert!(reader.schema().metadata.contains_key(super::COMPLETENESS));
    let batches: Vec<RecordBatch> = reader.build().unwrap().collect::<Result<_, _>>().unwrap();
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, stand.rows(sql).await.len());
    let names: Vec<_> = batches[0].schema().fields().iter().map(|f| f.name().clone()).collect();
    assert!(
        names.contains(&"source_labels".to_owned()) && names.contains(&"connection_id".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn intervals_are_texts_in_parquet() {
    let stand = stand().await;
    let sql = "select interval '1 hour' as one, [interval '1 day', null] as many, 7 as n";
    let file = stand.post(json!({"sql": sql, "format": "parquet"})).await.bytes().await.unwrap();
    let mut reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let batch = reader.next().unwrap().unwrap();
    let text =
        |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().value(0).to_owned();
    assert_eq!(text("one"), "1 hours");
    assert_eq!(text("many"), "[\"1 days\",null]");
}
