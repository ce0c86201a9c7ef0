use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use weir_flow::Flow;

use crate::testing::{STEP_NS, Stand, batch, flow};

const GROUPS: [&str; 12] = [
    "verdict",
    "source_namespace",
    "destination_port",
    "policy, direction",
    "date_trunc('minute', time)",
    "date_trunc('hour', time)",
    "date_bin(interval '5 minutes', time)",
    "time_bucket('2m', time)",
    "time_bucket('90s', time)",
    "date_part('minute', time)",
    "upper(reason)",
    "source_namespace || '/' || source_workload",
];
const AGGREGATES: [&str; 11] = [
    "count(*)",
    "sum(bytes)",
    "sum(count)",
    "sum(packets) filter (where verdict = 'deny')",
    "count(source_namespace)",
    "count(distinct source_namespace)",
    "min(destination_port)",
    "max(source_namespace)",
    "count(*) filter (where direction = 'egress')",
    "sum(reply_bytes)",
    "count(time)",
];
const CONDITIONS: [&str; 8] = [
    "verdict = 'deny'",
    "source_namespace is null",
    "(destination_port = 6379 or verdict <> 'allow')",
    "source_namespace like 'ns-%'",
    "date_trunc('minute', time) > timestamp '2026-01-01T00:03:00Z'",
    "destination_port in (1, 6379)",
    "verdict in ('deny', 'audit')",
    "not (direction = 'egress' and reason = 'policy')",
];
/// What only the flows themselves can say.
const OTHERS: [&str; 3] = ["packets > 100", "source_pod like 'Pod-1%'", "node = 'node-1'"];

fn some_of(
    from: &'static [&'static str],
    count: std::ops::RangeInclusive<usize>,
) -> BoxedStrategy<Vec<&'static str>> {
    prop::sample::subsequence(from, count).boxed()
}

/// A condition on time: by whole minutes, by seconds, or none.
fn time() -> BoxedStrategy<Option<String>> {
    let second =
        prop_oneof![(0..900u32).boxed(), (0..15u32).prop_map(|minute| minute * 60).boxed()];
    let at =
        |second: u32| format!("timestamp '2026-01-01T00:{:02}:{:02}Z'", second / 60, second % 60);
    (second.clone(), second, 0..6u8)
        .prop_map(move |(from, until, kind)| match kind {
            0 => None,
            1 => Some(format!("time >= {}", at(from))),
            2 => Some(format!("time < {}", at(until))),
            3 => {
                Some(format!("{} < time and time <= {}", at(from.min(until)), at(from.max(until))))
            }
            4 => Some(format!("time between {} and {}", at(from.min(until)), at(from.max(until)))),
            _ => {
                Some(format!("time >= {} and time < {}", at(from.min(until)), at(from.max(until))))
            }
        })
        .boxed()
}

/// Queries that aggregate flows.
pub(crate) fn query() -> impl Strategy<Value = String> {
    let groups = some_of(&GROUPS, 0..=2);
    let aggregates = some_of(&AGGREGATES, 0..=3);
    let others = prop_oneof![4 => Just(vec![]), 1 => some_of(&OTHERS, 1..=1)];
    (groups, aggregates, some_of(&CONDITIONS, 0..=2), others, time()).prop_map(
        |(groups, mut aggregates, conditions, others, time)| {
            if groups.is_empty() && aggregates.is_empty() {
                aggregates.push("count(*)");
            }
            let columns = [groups.clone(), aggregates].concat().join(", ");
            let conditions = conditions.into_iter().chain(others).map(str::to_owned);
            let conditions: Vec<String> = conditions.chain(time).collect();
            let mut sql = format!("select {columns} from flows");
            if !conditions.is_empty() {
                sql += &format!(" where {}", conditions.join(" and "));
            }
            if !groups.is_empty() {
                sql += &format!(" group by {}", groups.join(", "));
            }
            sql
        },
    )
}

async fn answer(stand: &Stand, sql: &str, roll_ups: bool) -> Value {
    answer_with(stand, json!({"sql": sql, "roll_ups": roll_ups, "kept": false})).await
}

/// Columns, sorted rows and completeness of an answer.
pub(crate) async fn answer_with(stand: &Stand, body: Value) -> Value {
    let sql = body["sql"].as_str().unwrap().to_owned();
    let response = stand.post(body).await;
    let (status, mut body) = (response.status(), response.json::<Value>().await.unwrap());
    assert_eq!(status, 200, "{sql}: {body}");
    assert!(body.get("error").is_none(), "{sql}: {body}");
    // Without an order rows come as they like.
    let rows = body["rows"].as_array_mut().unwrap();
    rows.sort_by_key(ToString::to_string);
    json!({"columns": body["columns"], "rows": body["rows"], "completeness": body["completeness"]})
}

async fn is_rewritten(stand: &Stand, sql: &str) -> bool {
    stand
        .rows(&format!("explain {sql}"))
        .await
        .iter()
        .any(|row| row.to_string().contains("edges_1m"))
}

/// A quarter of an hour in six files, in no order of time, some without roll-up, and the rest hot.
pub(crate) async fn quarter_of_an_hour() -> Stand {
    let stand = Stand::new().await;
    let mut flows: Vec<Flow> = (0..900)
        .map(|number| {
            let mut flow = flow(number);
            flow.count = number % 4 + 1;
            flow.reply_bytes = number * 7;
            flow.time.0 += i64::try_from(number % 17).unwrap() * STEP_NS / 20;
            flow.end_time.0 = flow.time.0 + STEP_NS * 40;
            flow
        })
        .collect();
    // Late rows: neighbours in time lie in different files.
    flows.sort_by_key(|flow| (flow.packets * 7_919) % 900);
    for (part, flows) in flows.chunks(130).enumerate() {
        stand.relay.push(batch(flows.iter().cloned()));
        if part < 6 {
            stand.relay.rolls_up(part != 2);
            stand.relay.flush();
        }
    }
    stand
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_the_same_with_and_without_roll_ups() {
    let stand = quarter_of_an_hour().await;
    let (mut runner, query) = (TestRunner::deterministic(), query());
    let mut rewritten = 0;
    for _ in 0..70 {
        let sql = query.new_tree(&mut runner).unwrap().current();
        let with = answer(&stand, &sql, true).await;
        assert_eq!(with, answer(&stand, &sql, false).await, "{sql}");
        rewritten += usize::from(is_rewritten(&stand, &sql).await);
    }
    assert!((25..70).contains(&rewritten), "{rewritten} of 70 are answered from roll-ups");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_roll_up_can_say_it_says() {
    let stand = quarter_of_an_hour().await;
    for sql in [
        "select verdict, sum(bytes) from flows group by verdict",
        "select date_trunc('minute', time) as m, count(*) as n from flows \
         where time >= timestamp '2026-01-01T00:02:30Z' group by m order by n desc, m limit 3",
        "select distinct source_namespace from flows",
        "select time_bucket('2m', time), verdict, sum(count) from flows group by 1, 2",
        "select policy, n from (select policy, verdict, sum(count) as n from flows group by 1, 2) \
         where verdict = 'deny' and n > 5",
        "with denied as (select * from flows where verdict = 'deny') \
         select destination_port, count(*) as n from denied d group by 1 having count(*) > 1",
        "select v, sum(b) from (select upper(verdict) as v, bytes as b from flows) group by v",
    ] {
        assert!(is_rewritten(&stand, sql).await, "{sql}");
        assert_eq!(answer(&stand, sql, true).await, answer(&stand, sql, false).await, "{sql}");
    }
    for sql in [
        "select count(*) from flows",
        "select verdict, max(bytes) from flows group by verdict",
        "select verdict, sum(bytes + 1) from flows group by verdict",
        "select source_pod, sum(bytes) from flows group by 1",
        "select verdict, min(time) from flows group by 1",
        "select date_trunc('second', time), sum(bytes) from flows group by 1",
        "select date_bin(interval '90 seconds', time), sum(bytes) from flows group by 1",
        "select time_bucket('90s', time), sum(bytes) from flows group by 1",
        "select verdict, sum(bytes) from flows where time >= timestamp '2026-01-01T00:02:30Z' \
         and time < timestamp '2026-01-01T00:03:10Z' group by 1",
        "select verdict, sum(distinct bytes) from flows group by 1",
        "select verdict from flows",
    ] {
        assert!(!is_rewritten(&stand, sql).await, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_has_all_rows_of_files_and_memory() {
    let stand = quarter_of_an_hour().await;
    let sql = "select time, verdict, destination_port, sum(flow_rows) as r, sum(count) as c, sum(bytes) as b \
               from edges_1m group by 1, 2, 3 order by 1, 2, 3";
    let same = "select date_trunc('minute', time) as time, verdict, destination_port, \
                count(*) as r, sum(count) as c, sum(bytes) as b from flows group by 1, 2, 3 order by 1, 2, 3";
    let edges = stand.rows(sql).await;
    assert!(edges.len() > 15);
    let response = stand.post(json!({"sql": same, "roll_ups": false})).await;
    assert_eq!(json!(edges), response.json::<Value>().await.unwrap()["rows"]);
    let sql = "select count(*) as n from edges_1m where time >= timestamp '2026-01-01T00:05:00Z' \
               and time < timestamp '2026-01-01T00:06:00Z' and verdict = 'deny'";
    let (_, body) = stand.sql(sql).await;
    assert!(body["rows"][0]["n"].as_u64().unwrap() > 0, "{body}");
    assert_eq!(body["completeness"]["from"], "2026-01-01T00:05:00.000000000Z", "{body}");
}
