use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use serde_json::json;

use crate::catalog::rollup::tests::{answer_with, quarter_of_an_hour, query};
use crate::testing::{Stand, batch, flow};

/// Files that queries did not have to read, and those they had.
pub(super) async fn counted(stand: &Stand) -> (u64, u64) {
    let (_, text) = stand.get("/metrics").await;
    let counter = |name: &str| -> u64 {
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)).unwrap();
        value.trim().parse().unwrap()
    };
    (counter("weir_query_kept_found_total"), counter("weir_query_kept_read_total"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_the_same_with_and_without_what_is_kept() {
    let stand = quarter_of_an_hour().await;
    let (mut runner, query) = (TestRunner::deterministic(), query());
    for _ in 0..50 {
        let sql = query.new_tree(&mut runner).unwrap().current();
        let plain = json!({"sql": sql, "roll_ups": false, "kept": false});
        let plain = answer_with(&stand, plain).await;
        // Twice: what the first leaves the second finds.
        for roll_ups in [false, true, false, true] {
            let kept = json!({"sql": sql, "roll_ups": roll_ups, "kept": true});
            assert_eq!(answer_with(&stand, kept).await, plain, "{sql}");
        }
    }
    let (found, read) = counted(&stand).await;
    assert!(found > 200 && read > 200, "{found} found, {read} read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_asked_as_a_whole_is_read_once() {
    let stand = quarter_of_an_hour().await;
    let ask = async |sql: &str| {
        let before = counted(&stand).await;
        stand.rows(sql).await;
        let after = counted(&stand).await;
        (after.0 - before.0, after.1 - before.1)
    };
    let by_pod = "select source_pod, sum(bytes) as b from flows";
    let all = format!("{by_pod} group by 1");
    assert_eq!(ask(&all).await, (0, 6));
    assert_eq!(ask(&all).await, (6, 0));
    // Columns by other names, and what is made of sums later, are the same question.
    let named = "select p from (select source_pod as p, sum(bytes) as n from flows group by 1) \
                 where n > 5 order by p limit 3";
    assert_eq!(ask(named).await, (6, 0));
    // A time that holds all rows is none, whenever it begins.
    for hours in [1, 2] {
        let sql =
            format!("{by_pod} where time > timestamp '2025-12-31T{hours:02}:00:00Z' group by 1");
        assert_eq!(ask(&sql).await, (6, 0), "{sql}");
    }
    // All files have rows of any minute here, so another time is another question.
    let some = format!("{by_pod} where time > timestamp '2026-01-01T00:03:00Z' group by 1");
    assert_eq!(ask(&some).await, (0, 6));
    // A new file is all that is read.
    stand.relay.push(batch((2_000..2_050).map(flow)));
    assert_eq!(ask(&all).await, (6, 0));
    stand.relay.flush();
    assert_eq!(ask(&all).await, (6, 1));
    // Other functions, conditions and filters are other questions.
    for sql in [
        "select source_pod, max(bytes) from flows group by 1",
        "select source_pod, sum(bytes) filter (where verdict = 'deny') from flows group by 1",
        "select source_pod, sum(bytes) from flows where verdict = 'deny' group by 1",
        "select source_pod, sum(distinct bytes) from flows group by 1",
        "select source_workload, sum(bytes), count(distinct source_pod) from flows group by 1",
    ] {
        assert_eq!(ask(sql).await.0, 0, "{sql}");
    }
    // What is not the same at each call is never kept, nor what depends on the order of rows.
    for sql in [
        "select source_pod, sum(bytes * random()) from flows group by 1",
        "select source_pod, first_value(bytes order by time) from flows group by 1",
        "select verdict, array_agg(source_pod) from flows group by 1",
    ] {
        assert_eq!(ask(sql).await, (0, 0), "{sql}");
        assert_eq!(ask(sql).await, (0, 0), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_kept_where_settings_say_so() {
    let limits = crate::Limits { kept_bytes: 0, threads: 2, ..crate::Limits::default() };
    let stand = Stand::with_limits(limits).await;
    stand.relay.push(batch((0..50).map(flow)));
    stand.relay.flush();
    for _ in 0..2 {
        let rows = stand.rows("select source_pod, sum(bytes) from flows group by 1").await;
        assert_eq!(rows.len(), 50);
    }
    assert_eq!(counted(&stand).await, (0, 0));
}
