use serde_json::{Value, json};

use crate::catalog::rollup::tests::quarter_of_an_hour;
use crate::engine::kept::tests::counted;
use crate::engine::latest::tests::BY_TIME;
use crate::testing::{Stand, batch, flow};

async fn answer(stand: &Stand, sql: &str, kept: bool) -> Value {
    let response = stand.post(json!({"sql": sql, "kept": kept})).await;
    let body: Value = response.json().await.unwrap();
    assert!(body.get("error").is_none(), "{sql}: {body}");
    body["rows"].clone()
}

async fn is_kept(stand: &Stand, sql: &str) -> bool {
    let plan = stand.rows(&format!("explain {sql}")).await;
    plan.iter().any(|row| row.to_string().contains("KeptLatestExec"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_latest_rows_are_the_same_with_and_without_what_is_kept() {
    let stand = quarter_of_an_hour().await;
    let more = [
        "select time, source_pod from flows where source_pod like 'Pod-1%' order by time desc, 2 limit 50",
        "select time, source_pod from flows where source_ip = '10.0.0.7' order by time desc, 2 limit 50",
        "select a.time, b.source_pod from (select time, source_pod from flows order by time desc, 2 limit 9) a \
         join (select time, source_pod from flows order by time desc, 2 limit 9) b on a.time = b.time \
         order by 1, 2",
    ];
    for sql in BY_TIME.into_iter().chain(more) {
        assert!(is_kept(&stand, sql).await, "{sql}");
        let plain = answer(&stand, sql, false).await;
        // The second finds what the first leaves.
        for _ in 0..2 {
            assert_eq!(answer(&stand, sql, true).await, plain, "{sql}");
        }
    }
    let (found, read) = counted(&stand).await;
    assert!(found > 40 && read > 40, "{found} found, {read} read");
    for sql in [
        "select * from flows order by source_pod, time desc limit 20",
        "select end_time as time from flows order by time desc limit 3",
        "select * from flows order by time desc",
        "select time, random() as r from flows order by time desc, r limit 3",
        "select time, count(*) from flows group by time order by time desc limit 3",
        "select f.time from flows f join flows g on f.time = g.time order by 1 desc limit 3",
    ] {
        assert!(!is_kept(&stand, sql).await, "{sql}");
    }
}

/// Twelve hours, each in files of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_asked_once_and_none_without_need() {
    let stand = Stand::new().await;
    let feed = |hour: u64| {
        stand.relay.push(batch((hour * 3600..hour * 3600 + 300).map(flow)));
        stand.relay.flush();
    };
    (0..12).for_each(feed);
    let ask = async |sql: &str| {
        let before = counted(&stand).await;
        let rows = answer(&stand, sql, true).await;
        let after = counted(&stand).await;
        (rows.as_array().unwrap().len(), after.0 - before.0, after.1 - before.1)
    };
    let latest = |rows: usize| {
        format!(
            "select time, source_pod from flows where verdict = 'deny' order by time desc limit {rows}"
        )
    };
    // Two threads look at the last two hours; then that is known, and the first of them is enough.
    let (rows, found, read) = ask(&latest(50)).await;
    assert!((rows, found) == (50, 0) && read <= 2, "{read} read");
    let (rows, _, read) = ask(&latest(50)).await;
    assert!(rows == 50 && read <= 1, "{read} read");
    // All of an hour have 100.
    let (rows, found, read) = ask(&latest(1_150)).await;
    assert_eq!((rows, found, read), (1_150, 0, 12));
    assert_eq!(ask(&latest(1_150)).await, (1_150, 12, 0));
    // What comes is read, and with it what is older is known.
    feed(12);
    let (rows, found, read) = ask(&latest(1_150)).await;
    assert_eq!((rows, read), (1_150, 1));
    assert!(found >= 11, "{found} found");
    // A time that holds all rows is none.
    let since = latest(1_150).replace("where", "where time > timestamp '2025-12-31T01:00:00Z' and");
    let (rows, _, read) = ask(&since).await;
    assert_eq!((rows, read), (1_150, 0));
    // Another order or another number is another question.
    let earliest = latest(1_150).replace(" desc", "");
    let (rows, found, read) = ask(&earliest).await;
    assert!(rows == 1_150 && found == 0 && read >= 12, "{found} found, {read} read");
}
