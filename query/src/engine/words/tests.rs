use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use serde_json::json;

use crate::catalog::rollup::tests::{answer_with, quarter_of_an_hour, query};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_the_same_with_and_without_every_shortcut() {
    let stand = quarter_of_an_hour().await;
    let (mut runner, query) = (TestRunner::deterministic(), query());
    for _ in 0..60 {
        let sql = query.new_tree(&mut runner).unwrap().current();
        let plain = json!({"sql": sql, "roll_ups": false, "kept": false, "words": false});
        let plain = answer_with(&stand, plain).await;
        for (roll_ups, kept) in [(false, false), (false, true), (true, true)] {
            let words = json!({"sql": sql, "roll_ups": roll_ups, "kept": kept, "words": true});
            assert_eq!(answer_with(&stand, words).await, plain, "{sql}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_are_grouped_by_number() {
    let stand = quarter_of_an_hour().await;
    let plan = async |sql: &str| {
        let rows = stand.rows(&format!("explain {sql}")).await;
        rows.iter().map(ToString::to_string).collect::<String>()
    };
    for sql in [
        "select source_pod, sum(bytes) from flows group by 1",
        "select source_namespace, date_trunc('second', time), count(*) from flows group by 1, 2",
        "select policy, count(distinct source_pod), sum(count) from flows group by 1",
        "select n, count(*) from (select verdict as v, upper(source_pod) as u, source_namespace as n \
         from flows) group by n, v order by 2 desc, n limit 3",
        "select connection_id, min(source_pod), max(source_pod) from flows group by 1",
    ] {
        assert!(plan(sql).await.contains("EncodeExec"), "{sql}");
        let with = answer_with(&stand, json!({"sql": sql})).await;
        let without = json!({"sql": sql, "words": false, "kept": false});
        assert_eq!(with, answer_with(&stand, without).await, "{sql}");
    }
    for sql in [
        "select bytes, sum(packets) from flows group by 1",
        "select sum(bytes) from flows",
        "select a.source_pod, sum(b.bytes) from (select source_pod, count(*) from flows group by 1) a \
         join flows b on a.source_pod = b.source_pod group by 1",
    ] {
        assert!(!plan(sql).await.contains("EncodeExec"), "{sql}");
    }
}
