//! The ledger and several relays, seen from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::ipc::reader::StreamReader;
use serde_json::{Value, json};
use weir_flow::manifest::{ExpiredCause, ExpiredClass};

use crate::testing::{Stand, batch, flow, loss, losses};

/// The completeness of an answer to SQL.
async fn told(stand: &Stand, sql: &str) -> Value {
    let (status, body) = stand.sql(sql).await;
    assert_eq!(status, 200, "{body}");
    body["completeness"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losses_are_a_table_hot_and_stored() {
    let stand = Stand::new().await;
    stand.relay.push_loss(losses([loss(1, "spool", "allow", 5), loss(2, "kernel", "", 3)]));
    stand.relay.flush();
    stand.relay.push_loss(losses([loss(3, "relay", "deny", 1)]));
    let rows = stand.rows("select stage, count from loss order by time").await;
    let expected = [("spool", 5), ("kernel", 3), ("relay", 1)]
        .map(|(stage, count)| json!({"stage": stage, "count": count}));
    assert_eq!(rows, expected);
    let sql = "select sum(count) as n from loss where stage <> 'kernel' and time >= '2026-01-01T00:00:02Z'";
    assert_eq!(stand.rows(sql).await, [json!({"n": 1})]);
    let (status, text) = stand.get("/api/v1/loss?since=2026-01-01T00:00:02Z&limit=10").await;
    assert_eq!(status, 200, "{text}");
    let body: Value = serde_json::from_str(&text).unwrap();
    let stages: Vec<&Value> =
        body["rows"].as_array().unwrap().iter().map(|row| &row["stage"]).collect();
    assert_eq!(stages, ["relay", "kernel"]);
    assert_eq!(body["completeness"], Value::Null, "it is not over flows");
    assert_eq!(stand.get("/api/v1/loss?from=1").await.0, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_says_what_is_missing_of_its_time() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..100).map(flow)));
    assert_eq!(told(&stand, "select count(*) from flows").await["complete"], true);
    stand.relay.push_loss(losses([loss(10, "spool", "allow", 5), loss(10, "spool", "deny", 1)]));
    stand.relay.flush();
    stand.relay.push_loss(losses([loss(20, "kernel", "", 3)]));

    let all = told(&stand, "select count(*) from flows").await;
    assert_eq!(
        (&all["complete"], &all["from"], &all["until"]),
        (&json!(false), &Value::Null, &Value::Null)
    );
    assert_eq!(all["missing"], json!({"allow": 5, "deny": 1, "audit": 0, "unknown": 3}));
    assert_eq!(
        all["losses"][0],
        json!({"stage": "spool", "reason": "full", "verdict": "allow", "unit": "verdicts", "count": 5})
    );
    let of = async |condition: &str| {
        let told = told(
            &stand,
            &format!("select verdict, sum(bytes) from flows where {condition} group by 1"),
        )
        .await;
        let missing = &told["missing"];
        let count = |key: &str| missing[key].as_u64().unwrap();
        (count("allow"), count("deny"), count("unknown"))
    };
    assert_eq!(of("time >= '2026-01-01T00:00:15Z'").await, (0, 0, 3));
    assert_eq!(of("time < '2026-01-01T00:00:15Z' and verdict = 'deny'").await, (5, 1, 0));
    assert_eq!(
        of("time between '2026-01-01T00:00:12Z' and '2026-01-01T00:00:15Z'").await,
        (0, 0, 0)
    );
    // It lasted for half a second.
    assert_eq!(
        of("time >= timestamp '2026-01-01T00:00:10.4Z' and end_time < '2026-01-01T00:00:11Z'")
            .await,
        (5, 1, 0)
    );
    assert_eq!(of("packets > 5").await, (5, 1, 3));
    assert_eq!(of("time > now() - interval '1 minute'").await, (0, 0, 0));
    let both = "select (select count(*) from flows where time < '2026-01-01T00:00:05Z') as a, \
                (select count(*) from flows where time > '2026-01-01T00:00:18Z') as b";
    let both = told(&stand, both).await;
    assert_eq!(both["missing"]["allow"], 5, "what is between is not known to be left out: {both}");
    assert_eq!(told(&stand, "select 1").await, Value::Null);
    assert_eq!(told(&stand, "select * from policies").await, Value::Null);
    let plan = "explain select * from flows where time > '2026-01-01T00:00:15Z'";
    assert_eq!(told(&stand, plan).await["missing"]["unknown"], 3);

    let (_, body) = stand.flows(&[("until", "2026-01-01T00:00:15Z")]).await;
    assert_eq!(body["completeness"]["missing"]["allow"], 5, "{body}");
    let (_, status) = stand.get("/api/v1/status").await;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["completeness"]["complete"], true, "nothing of the last day: {status}");
}

/// What was removed by age or size is not there, and answers over its time say so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_says_what_retention_removed_of_its_time() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..10).map(flow)));
    stand.relay.flush();
    stand.relay.push(batch((10..20).map(flow)));
    stand.relay.flush();
    stand.relay.expire(ExpiredClass::Allow, ExpiredCause::Age);
    let all = told(&stand, "select count(*) from flows").await;
    assert_eq!(all["complete"], false, "{all}");
    let removed = json!([{"verdict": "allow", "unit": "rows", "reason": "age",
        "before": "2026-01-01T00:00:09.000000006Z", "count": 10}]);
    assert_eq!((&all["removed"], &all["losses"]), (&removed, &json!([])));
    assert_eq!(all["missing"], json!({"allow": 0, "deny": 0, "audit": 0, "unknown": 0}));
    for condition in ["time < '2026-01-01T00:00:05Z'", "end_time >= '2026-01-01T00:00:09Z'"] {
        let sql = format!("select count(*) from flows where {condition}");
        assert_eq!(told(&stand, &sql).await["removed"], removed, "{condition}");
    }
    for condition in ["time >= '2026-01-01T00:00:10Z'", "time < '2025-12-31T00:00:00Z'"] {
        let sql = format!("select count(*) from edges_1m where {condition}");
        assert_eq!(told(&stand, &sql).await["complete"], true, "{condition}");
    }
    let rows = stand.rows("select stage, verdict, unit, count, reason from loss").await;
    let expected = json!({"stage": "retention", "verdict": "allow", "unit": "rows", "count": 10,
        "reason": "age"});
    assert_eq!(rows, [expected]);
    // The ledger's own entries are kept no longer than denies are.
    stand.relay.push_loss(losses([loss(3, "spool", "allow", 5)]));
    stand.relay.flush();
    stand.relay.expire(ExpiredClass::Loss, ExpiredCause::Age);
    let all = told(&stand, "select count(*) from flows").await;
    assert_eq!((&all["removed"][1]["unit"], &all["losses"]), (&json!("entries"), &json!([])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_format_has_a_place_for_completeness() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..3).map(flow)));
    let ask = async |format: &str| {
        let response =
            stand.post(json!({"sql": "select verdict from flows", "format": format})).await;
        let header = response.headers()["weir-completeness"].to_str().unwrap().to_owned();
        (serde_json::from_str::<Value>(&header).unwrap(), response.bytes().await.unwrap())
    };
    let (complete, lines) = ask("ndjson").await;
    assert_eq!(complete["complete"], true);
    assert_eq!(String::from_utf8_lossy(&lines).lines().count(), 3);

    stand.relay.push_loss(losses([loss(1, "spool", "deny", 7)]));
    for format in ["json", "csv", "arrow"] {
        assert_eq!(ask(format).await.0["missing"]["deny"], 7, "{format}");
    }
    let (header, lines) = ask("ndjson").await;
    let lines = String::from_utf8_lossy(&lines);
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!((lines.lines().count(), &last["completeness"]), (4, &header));
    let (header, stream) = ask("arrow").await;
    let reader = StreamReader::try_new(&stream[..], None).unwrap();
    let metadata = reader.schema().metadata()["weir.completeness"].clone();
    assert_eq!(serde_json::from_str::<Value>(&metadata).unwrap(), header);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_silent_is_named_and_the_other_answers() {
    let stand = Stand::with_two_relays().await;
    let other = stand.other.clone().unwrap();
    stand.relay.push(batch((0..5).map(flow)));
    stand.relay.flush();
    stand.relay.push(batch((5..7).map(flow)));
    other.push(batch((7..10).map(flow)));
    let sql = "select count(*) as n from flows";
    let (_, body) = stand.sql(sql).await;
    assert_eq!(
        (&body["rows"][0]["n"], &body["completeness"]["complete"]),
        (&json!(10), &json!(true))
    );
    stand.stop_relay();
    let body = loop {
        let (status, body) = stand.sql(sql).await;
        assert_eq!(status, 200, "{body}");
        // The listener goes a moment after the token.
        if body["rows"][0]["n"] == 8 {
            break body;
        }
    };
    assert_eq!(body["completeness"]["complete"], false, "{body}");
    let unreachable = body["completeness"]["unreachable"].as_array().unwrap();
    assert_eq!((unreachable.len(), &unreachable[0]["missing"]), (1, &json!("flows")), "{body}");
    assert_eq!(body["warnings"].as_array().unwrap().len(), 1, "{body}");
    assert_eq!(stand.get("/readyz").await, (200, "ready\n".into()));
    let (_, status) = stand.get("/api/v1/status").await;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["relay"]["reachable"], false);
    assert_eq!(status["other_relays"][0]["reachable"], true);
    assert_eq!(status["enforcing"]["ok"], false);
}

/// Both take, flush, and one begins a new life, while queries look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_row_of_two_relays_is_seen_twice_or_missed() {
    let stand = Arc::new(Stand::with_two_relays().await);
    let relays = [stand.relay.clone(), stand.other.clone().unwrap()];
    stand.relay.rolls_up(true);
    let acknowledged = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let writers: Vec<_> = relays
        .into_iter()
        .enumerate()
        .map(|(at, relay)| {
            let acknowledged = acknowledged.clone();
            std::thread::spawn(move || {
                for round in 0..60u64 {
                    let first = at as u64 * 1_000 + round * 10;
                    relay.push(batch((first..first + 10).map(flow)));
                    relay.push_loss(losses([loss(round, "spool", "allow", 1)]));
                    acknowledged[at].store((round + 1) * 10, Ordering::SeqCst);
                    if round % (3 + at as u64 * 2) == 2 {
                        relay.flush();
                    }
                    if round == 30 && at == 0 {
                        relay.restart();
                    }
                    std::thread::yield_now();
                }
            })
        })
        .collect();
    let sql = "select count(*) as n, count(distinct source_pod) as d, \
               (select sum(count) from loss) as lost from flows";
    let known = || acknowledged.iter().map(|known| known.load(Ordering::SeqCst)).sum::<u64>();
    let mut last = false;
    while !last {
        last = writers.iter().all(std::thread::JoinHandle::is_finished);
        let before = known();
        let row = &stand.rows(sql).await[0];
        let after = known();
        let n = row["n"].as_u64().unwrap();
        assert!((before..=after + 20).contains(&n), "{before} {n} {after}");
        assert_eq!(row["d"], n);
        let lost = row["lost"].as_u64().unwrap_or(0) * 10;
        assert!((before..=after + 20).contains(&lost), "{before} {lost} {after}");
    }
    let row = &stand.rows(sql).await[0];
    assert_eq!((&row["n"], &row["d"], &row["lost"]), (&json!(1200), &json!(1200), &json!(120)));
}
