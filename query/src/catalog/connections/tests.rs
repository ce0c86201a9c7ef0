use serde_json::{Value, json};
use weir_flow::Flow;
use weir_flow::schema::TimestampNs;

use crate::testing::{BEGIN_NS, Stand, batch, flow};

const MS: i64 = 1_000_000;

/// What a connection's rows have in common.
#[derive(Clone, Copy)]
struct Connection {
    port: u16,
    begin_ms: i64,
    destination: u8,
}

/// What one end reported of it: a row that begins and ends so long after the connection's begin.
fn row(of: Connection, direction: &str, verdict: &str, from_ms: i64, until_ms: i64) -> Flow {
    let at = |ms: i64| TimestampNs(BEGIN_NS + (of.begin_ms + ms) * MS);
    let denied = verdict == "deny";
    Flow {
        time: at(from_ms),
        end_time: at(until_ms),
        node: if direction == "egress" { "node-a" } else { "node-b" }.into(),
        direction: direction.into(),
        verdict: verdict.into(),
        reason: if denied { "default_deny" } else { "policy" }.into(),
        policy: format!("{direction}/policy"),
        protocol: "TCP".into(),
        source_ip: "10.0.0.1".into(),
        source_port: Some(of.port),
        destination_ip: format!("10.0.1.{}", of.destination),
        destination_port: Some(6379),
        source_namespace: Some("shop".into()),
        source_pod: Some("web".into()),
        source_node: Some("node-a".into()),
        destination_pod: Some("redis".into()),
        destination_node: Some("node-b".into()),
        count: u64::from(from_ms == 0),
        packets: 2,
        bytes: 100,
        reply_packets: 1,
        reply_bytes: 50,
        duration_ns: (!denied).then(|| u64::try_from(until_ms * MS).unwrap()),
        rtt_ns: None,
        state: if from_ms == 0 { "open" } else { "active" }.into(),
        ..flow(1)
    }
}

fn both(of: Connection, skew_ms: i64) -> Vec<Flow> {
    let ingress = Connection { begin_ms: of.begin_ms + skew_ms, ..of };
    let mut rows = Vec::new();
    for (from, until) in [(0, 0), (3, 5_000), (5_000, 10_000)] {
        rows.push(row(of, "egress", "allow", from, until));
        rows.push(row(ingress, "ingress", "allow", from, until));
    }
    rows
}

async fn connections(stand: &Stand, condition: &str) -> Vec<Value> {
    stand
        .rows(&format!("select * from connections where {condition} order by time, source_port"))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_are_one_row_late_rows_and_used_ports_too() {
    let stand = Stand::new().await;
    let first = Connection { port: 40_000, begin_ms: 0, destination: 1 };
    let again = Connection { begin_ms: 60_000, ..first };
    let mut rows = [both(first, 400), both(again, -400)].concat();
    // The last come first, and of each end some are stored and some hot.
    rows.reverse();
    for part in rows.chunks(4) {
        stand.relay.push(batch(part.iter().cloned()));
        if part.len() == 4 && part[0].state == "active" {
            stand.relay.flush();
        }
    }
    let found = connections(&stand, "true").await;
    assert_eq!(found.len(), 2, "{found:?}");
    for found in &found {
        assert_eq!(found["outcome"], "allowed", "{found}");
        assert_eq!(
            (&found["egress_node"], &found["ingress_node"]),
            (&json!("node-a"), &json!("node-b"))
        );
        assert_eq!(
            (&found["egress_verdict"], &found["ingress_verdict"]),
            (&json!("allow"), &json!("allow"))
        );
        assert_eq!(
            (&found["egress_policy"], &found["ingress_policy"]),
            (&json!("egress/policy"), &json!("ingress/policy"))
        );
        let counters =
            ["count", "packets", "bytes", "reply_packets", "reply_bytes"].map(|name| &found[name]);
        assert_eq!(counters, [&json!(1), &json!(6), &json!(300), &json!(3), &json!(150)]);
        assert!(found["connection_id"].as_str().unwrap().starts_with("1:"));
    }
    assert_eq!(found[0]["time"], "2026-01-01T00:00:00.000000000Z");
    assert_eq!(found[1]["time"], "2026-01-01T00:00:59.600000000Z");
    assert_eq!(found[1]["end_time"], "2026-01-01T00:01:10.000000000Z");
    // Narrowed by time the answer is the same as without.
    for (condition, expected) in [
        ("time >= '2026-01-01T00:00:10Z'", &found[1..]),
        ("time >= '2026-01-01T00:00:59.6Z' and bytes > 5", &found[1..]),
        ("time < '2026-01-01T00:00:10Z' and source_pod = 'web'", &found[..1]),
        ("end_time > '2026-01-01T00:00:20Z'", &found[1..]),
        ("time > '2026-01-01T00:00:59.6Z'", &found[2..]),
    ] {
        assert_eq!(connections(&stand, condition).await, expected, "{condition}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_say_where_it_ended() {
    let stand = Stand::new().await;
    let at = |second: i64, port: u16| Connection { port, begin_ms: second * 1_000, destination: 1 };
    let mut rows = vec![
        // Denied at the source.
        row(at(0, 1), "egress", "deny", 0, 0),
        // Denied at the destination: two attempts, of which the second has no row there.
        row(at(20, 2), "egress", "allow", 0, 0),
        row(at(24, 3), "egress", "allow", 0, 0),
        Flow { count: 2, ..row(at(20, 2), "ingress", "deny", 0, 4_000) },
        // Left, and never came.
        row(at(40, 4), "egress", "allow", 0, 0),
        // Seen at one end only, as the other has no collector.
        Flow {
            destination_node: Some("node-z".into()),
            ..row(Connection { destination: 9, ..at(60, 5) }, "egress", "allow", 0, 0)
        },
        Flow {
            source_kind: "world".into(),
            source_pod: None,
            ..row(at(80, 6), "ingress", "allow", 0, 0)
        },
        // Would have been denied.
        row(at(100, 7), "egress", "audit", 0, 0),
        row(at(100, 7), "ingress", "allow", 0, 0),
    ];
    // A Service was dialled.
    let dialled = at(120, 8);
    rows.push(Flow {
        destination_ip: "10.96.0.1".into(),
        destination_port: Some(80),
        destination_kind: "service".into(),
        destination_pod: None,
        destination_node: None,
        destination_service: Some("shop/redis".into()),
        packets: 9,
        ..row(dialled, "egress", "allow", 0, 0)
    });
    rows.push(row(Connection { begin_ms: 119_900, ..dialled }, "ingress", "allow", 0, 0));
    stand.relay.push(batch(rows));
    let found = connections(&stand, "true").await;
    let outcomes: Vec<(u64, &str)> = found
        .iter()
        .map(|found| (found["source_port"].as_u64().unwrap(), found["outcome"].as_str().unwrap()))
        .collect();
    let expected = [
        (1, "denied_at_source"),
        (2, "denied_at_destination"),
        (3, "denied_at_destination"),
        (4, "never_arrived"),
        (5, "allowed"),
        (6, "allowed"),
        (7, "allowed"),
        (8, "allowed"),
    ];
    assert_eq!(outcomes, expected);
    let service = found.last().unwrap();
    assert_eq!(
        (&service["destination_pod"], &service["destination_service"], &service["destination_ip"]),
        (&json!("redis"), &json!("shop/redis"), &json!("10.0.1.1")),
        "{service}"
    );
    assert_eq!((&service["packets"], &service["ingress_node"]), (&json!(9), &json!("node-b")));
    let sql =
        "select outcome, count(*) as n from connections group by outcome order by n desc limit 1";
    assert_eq!(stand.rows(sql).await, [json!({"outcome": "allowed", "n": 4})]);
}

/// What began later is not joined, and of what is much later not even the file is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_later_than_asked_for_is_bounded() {
    const DAY_MS: i64 = 24 * 3_600_000;
    let stand = Stand::new().await;
    let asked = Connection { port: 40_000, begin_ms: 0, destination: 1 };
    let later = Connection { begin_ms: 20_000, port: 40_001, ..asked };
    stand.relay.push(batch(both(asked, 400)));
    stand.relay.flush();
    // Its last row, of half a day after it began, and one of two days after.
    stand.relay.push(batch([row(asked, "egress", "allow", DAY_MS / 2, DAY_MS / 2 + 5_000)]));
    stand.relay.push(batch(both(later, 400)));
    stand.relay.flush();
    stand.relay.push(batch([row(asked, "egress", "allow", 2 * DAY_MS, 2 * DAY_MS + 5_000)]));
    stand.relay.flush();
    let (_, body) =
        stand.sql("select * from connections where time < '2026-01-01T00:00:10Z'").await;
    let rows = body["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&rows[0]["source_port"], &rows[0]["bytes"]), (&json!(40_000), &json!(400)));
    assert_eq!(body["completeness"]["until"], "2026-01-02T00:00:16.009999999Z");
    // Without an end everything is read.
    let all = connections(&stand, "source_port = 40000").await;
    assert_eq!((all.len(), &all[0]["bytes"]), (1, &json!(500)));
}
