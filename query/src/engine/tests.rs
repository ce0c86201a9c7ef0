use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use weir_flow::community_id::{Ports, community_id};
use weir_flow::values::protocol_number;

use crate::testing::{Stand, batch, flow};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_found_at_once_and_exactly_once_while_they_move() {
    let stand = Arc::new(Stand::new().await);
    let pushed = Arc::new(AtomicU64::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (stand, pushed, done) = (stand.clone(), pushed.clone(), done.clone());
        async move {
            for round in 0..60u64 {
                stand.relay.push(batch((round * 10..(round + 1) * 10).map(flow)));
                pushed.store((round + 1) * 10, Ordering::SeqCst);
                if round % 3 == 2 {
                    let relay = stand.relay.clone();
                    tokio::task::spawn_blocking(move || relay.flush()).await.unwrap();
                }
                if round == 30 {
                    stand.relay.restart();
                }
                tokio::task::yield_now().await;
            }
            done.store(true, Ordering::SeqCst);
        }
    });
    let sql = "select count(*) as n, count(distinct source_pod) as d, sum(packets) as s from flows";
    let mut last = false;
    while !last {
        last = done.load(Ordering::SeqCst);
        let before = pushed.load(Ordering::SeqCst);
        let row = &stand.rows(sql).await[0];
        let after = pushed.load(Ordering::SeqCst);
        let n = row["n"].as_u64().unwrap();
        // A batch is there before its number is written down.
        assert!((before..=after + 10).contains(&n), "{before} {n} {after}");
        assert_eq!(row["d"], n);
        assert_eq!(row["s"].as_u64().unwrap_or(0), (0..n).sum::<u64>());
    }
    writer.await.unwrap();
    assert_eq!(stand.rows(sql).await[0]["n"], 600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_new_batches_travel() {
    let stand = Stand::new().await;
    for number in 0..10 {
        stand.relay.push(batch([flow(number)]));
        assert_eq!(stand.rows("select * from flows").await.len() as u64, number + 1);
    }
    assert_eq!(stand.relay.sent(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_query_sees_one_moment() {
    let stand = Arc::new(Stand::new().await);
    stand.relay.push(batch((0..100).map(flow)));
    let writer = tokio::spawn({
        let relay = stand.relay.clone();
        async move {
            for number in 100..400 {
                relay.push(batch([flow(number)]));
                tokio::task::yield_now().await;
            }
        }
    });
    while !writer.is_finished() {
        let sql = "select (select count(*) from flows) as a, (select count(*) from flows) as b";
        let row = &stand.rows(sql).await[0];
        assert_eq!(row["a"], row["b"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_relay_the_store_answers_and_says_so() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..5).map(flow)));
    stand.relay.flush();
    stand.relay.push(batch((5..7).map(flow)));
    let (_, body) = stand.sql("select count(*) as n from flows").await;
    assert_eq!((&body["rows"][0]["n"], body["warnings"].as_array().unwrap().len()), (&7.into(), 0));
    stand.stop_relay();
    let body = loop {
        let (status, body) = stand.sql("select count(*) as n from flows").await;
        assert_eq!(status, 200, "{body}");
        // The listener goes a moment after the token.
        if body["rows"][0]["n"] == 5 {
            break body;
        }
    };
    let warning = body["warnings"][0].as_str().unwrap();
    assert!(warning.contains("rows that are not stored yet are missing"), "{warning}");
    let response =
        stand.post(serde_json::json!({"sql": "select count(*) from flows", "format": "csv"})).await;
    assert!(response.headers().contains_key("weir-warning"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_that_is_not_there_is_an_error() {
    let stand = Stand::new().await;
    stand.relay.push(batch([flow(1)]));
    stand.relay.flush();
    std::fs::remove_dir_all(stand.store.path().join("manifests")).unwrap();
    let message = stand.refused("select * from flows", 503).await;
    assert!(message.contains("same store"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_or_broken_file_is_an_error() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..5).map(flow)));
    stand.relay.flush();
    let path = weir_flow::manifest::data_path(crate::testing::BEGIN_NS, "f-1");
    let file = stand.store.path().join(path);
    std::fs::write(&file, b"PAR1 this is no Parquet").unwrap();
    let message = stand.refused("select source_pod from flows", 503).await;
    assert!(message.contains("store cannot be read"), "{message}");
    std::fs::remove_file(&file).unwrap();
    stand.refused("select source_pod from flows", 503).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_id_is_the_community_id_hot_and_stored() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..40).map(flow)));
    stand.relay.flush();
    stand.relay.push(batch((40..60).map(flow)));
    let rows = stand.rows("select source_pod, connection_id from flows").await;
    assert_eq!(rows.len(), 60);
    for row in rows {
        let number = row["source_pod"].as_str().unwrap().trim_start_matches("Pod-");
        let flow = flow(number.parse().unwrap());
        let ports = match (flow.source_port, flow.icmp_type, flow.icmp_code) {
            (Some(port), ..) => Ports::Transport(port, flow.destination_port.unwrap()),
            (_, Some(kind), Some(code)) => Ports::Icmp(kind, code),
            _ => Ports::None,
        };
        let expected = community_id(
            protocol_number(&flow.protocol).unwrap(),
            flow.source_ip.parse().unwrap(),
            flow.destination_ip.parse().unwrap(),
            ports,
        );
        assert_eq!(row["connection_id"], expected);
        let found = format!("select source_pod from flows where connection_id = '{expected}'");
        if number == "41" {
            assert_eq!(stand.rows(&found).await.len(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_outside_of_the_asked_time_are_not_opened() {
    let stand = Stand::new().await;
    for part in 0..5 {
        stand.relay.push(batch((part * 100..(part + 1) * 100).map(flow)));
        stand.relay.flush();
    }
    // 2026-01-01T00:05:00Z is the time of flow 300.
    let filter =
        "time >= timestamp '2026-01-01T00:05:00Z' and time < timestamp '2026-01-01T00:06:00Z'";
    let plan = stand.rows(&format!("explain select source_pod from flows where {filter}")).await;
    let plan = serde_json::to_string(&plan).unwrap();
    assert!(plan.contains("f-4.parquet"), "{plan}");
    for other in ["f-1", "f-2", "f-3", "f-5"] {
        assert!(!plan.contains(other), "{plan}");
    }
    assert!(plan.contains("predicate="), "filters reach the reader: {plan}");
    let rows = stand.rows(&format!("select source_pod from flows where {filter}")).await;
    assert_eq!(rows.len(), 60);
    // Files that were not needed may be gone.
    std::fs::remove_file(
        stand.store.path().join(weir_flow::manifest::data_path(crate::testing::BEGIN_NS, "f-1")),
    )
    .unwrap();
    assert_eq!(stand.rows(&format!("select source_pod from flows where {filter}")).await.len(), 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hot_and_stored_rows_give_the_same_answers() {
    let stand = Stand::new().await;
    let queries = [
        "select verdict, count(*) as n, sum(bytes) as b from flows group by verdict order by verdict",
        "select source_namespace, destination_port, count(*) as n from flows \
         where verdict = 'deny' group by all order by 1, 2, 3",
        "select source_pod from flows where source_pod like 'Pod-1%' order by time desc limit 7",
        "select min(time) as a, max(end_time) as b, max(time) as c from flows",
        "select count(*) as n from flows where rtt_ns is null",
        "select p['name'] as name, count(*) as n from \
         (select unnest(policies) as p from flows) group by 1",
        "select source_labels['app'] as app, count(*) as n from flows group by 1",
        "select a.source_pod from flows a join flows b on a.packets = b.packets + 1 \
         where b.verdict = 'deny' order by 1",
    ];
    stand.relay.push(batch((0..3_000).map(flow)));
    let mut hot = Vec::new();
    for sql in queries {
        hot.push(stand.rows(sql).await);
    }
    stand.relay.flush();
    for (sql, hot) in queries.iter().zip(hot) {
        assert_eq!(stand.rows(sql).await, hot, "{sql}");
        assert!(!hot.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dictionaries_stay_dictionaries() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..10).map(flow)));
    stand.relay.flush();
    let sql = "select distinct arrow_typeof(verdict) as t from flows";
    let types: HashSet<String> =
        stand.rows(sql).await.iter().map(|row| row["t"].to_string()).collect();
    assert_eq!(types, HashSet::from(["\"Dictionary(Int32, Utf8)\"".to_owned()]));
}
