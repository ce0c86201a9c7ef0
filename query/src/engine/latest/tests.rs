use serde_json::{Value, json};

use crate::catalog::rollup::tests::quarter_of_an_hour;
use crate::testing::{Stand, batch, flow};

/// Searches for the first rows by time.
pub(in crate::engine) const BY_TIME: [&str; 8] = [
    "select * from flows order by time desc, source_pod limit 20",
    "select time, source_pod from flows where verdict = 'deny' order by time desc, 2 limit 7",
    "select source_pod, time as at from flows order by at, source_pod limit 30 offset 5",
    "select time, source_pod from flows where source_pod like '%od-1%' order by time desc, 2 limit 50",
    "select time, n from (select time, source_namespace as n, source_pod as p from flows \
     where destination_port = 6379) where n = 'ns-1' order by time desc, n limit 9",
    "select time, source_pod from flows where verdict = 'nothing' order by time desc, 2 limit 3",
    "select time, source_pod from flows order by time, 2 limit 5000",
    "select time, source_pod from flows \
     where time < timestamp '2026-01-01T00:05:00Z' order by time desc, 2 limit 3",
];

/// Of files that are read, whatever queries before left.
async fn rows(stand: &Stand, sql: &str, latest: bool) -> Value {
    let response = stand.post(json!({"sql": sql, "latest": latest, "kept": false})).await;
    let body: Value = response.json().await.unwrap();
    assert!(body.get("error").is_none(), "{sql}: {body}");
    body["rows"].clone()
}

async fn is_bounded(stand: &Stand, sql: &str) -> bool {
    rows(stand, &format!("explain {sql}"), true).await.to_string().contains("LatestExec")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_latest_rows_are_the_same_with_a_bound() {
    let stand = quarter_of_an_hour().await;
    for sql in BY_TIME {
        assert!(is_bounded(&stand, sql).await, "{sql}");
        assert_eq!(rows(&stand, sql, true).await, rows(&stand, sql, false).await, "{sql}");
    }
    for sql in [
        "select * from flows order by source_pod, time desc limit 20",
        "select end_time as time from flows order by time desc limit 3",
        "select date_trunc('minute', time) as time from flows order by time desc limit 3",
        "select * from flows order by time desc",
        "select time, count(*) from flows group by time order by time desc limit 3",
        "select time from flows where source_pod like 'Pod-1%' order by time desc limit 3",
        "select time from flows where destination_ip = '10.0.0.1' order by time desc limit 3",
    ] {
        assert!(!is_bounded(&stand, sql).await, "{sql}");
    }
}

/// Twelve hours, each in files of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_other_hours_are_passed_by() {
    let stand = Stand::new().await;
    for hour in 0..12 {
        let of_hour = (hour * 3600..hour * 3600 + 300).map(flow);
        stand.relay.push(batch(of_hour));
        stand.relay.flush();
    }
    let answer = async |order: &str, rows: usize| {
        let sql = format!("select time, source_pod from flows order by time {order} limit {rows}");
        assert!(is_bounded(&stand, &sql).await);
        let response = stand.post(json!({"sql": sql, "kept": false})).await;
        let body: Value = response.json().await.unwrap();
        (body["rows"].clone(), body["bytes_scanned"].as_u64().unwrap())
    };
    for (order, first) in [("desc", 11 * 3600 + 299), ("asc", 0)] {
        let (rows, few_bytes) = answer(order, 3).await;
        assert_eq!(rows[0]["source_pod"], format!("Pod-{first}"));
        let (rows, all_bytes) = answer(order, 10_000).await;
        assert_eq!(rows.as_array().unwrap().len(), 12 * 300);
        assert!(few_bytes * 3 < all_bytes, "{order}: {few_bytes} of {all_bytes} bytes");
    }
}
