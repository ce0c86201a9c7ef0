use serde_json::json;

use super::units::{duration_ns, time_text, timestamp_ns};
use crate::testing::{Stand, batch, flow};

#[test]
fn times_and_durations_are_read_and_written() {
    let second = Some(1_000_000_000);
    for text in [
        "1970-01-01T00:00:01Z",
        "1970-01-01T00:00:01.000+0000",
        "1970-01-01T01:00:01+01:00",
        "1970-01-01T01:00:01+0100",
    ] {
        assert_eq!(timestamp_ns(text), second, "{text}");
    }
    assert_eq!(timestamp_ns("1970-01-02"), Some(86_400_000_000_000));
    for text in ["", "yesterday", "1970-01-01T00:00:01", "1970-13-01", "19700101"] {
        assert_eq!(timestamp_ns(text), None, "{text}");
    }
    assert_eq!(duration_ns("3.2s"), Some(3_200_000_000));
    assert_eq!(duration_ns("-1.5ms"), Some(-1_500_000));
    assert_eq!(duration_ns("2h"), Some(7_200_000_000_000));
    for text in ["", "s", ".s", "1", "1d", "1.2.3s", "99999999999999999999s", "9999999h"] {
        assert_eq!(duration_ns(text), None, "{text}");
    }
    for (time, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (1_000_000, "1970-01-01T00:00:00.001Z"),
        (1_000, "1970-01-01T00:00:00.000001Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
    ] {
        assert_eq!(time_text(time), text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_has_the_functions() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..10).map(flow)));
    for (expression, expected) in [
        ("ip_in_net(source_ip, '10.0.0.2/32')", json!(true)),
        ("ip_in_net(source_pod, '10.0.0.0/8')", json!(false)),
        ("ip_in_net('::1', '::/0')", json!(true)),
        ("host_of(destination_names, destination_ip)", json!("redis.default.svc")),
        ("host_of(source_names, source_ip)", json!("10.0.0.2")),
        ("label(source_labels, 'app')", json!("a,\"b\"")),
        ("label(source_labels, 'App')", json!(null)),
        ("time_bucket('5m', time)", json!("2026-01-01T00:00:00.000000000Z")),
        ("time_bucket('1d', time - interval '2 seconds')", json!("2025-12-31T00:00:00.000000000Z")),
        ("policy_field(policies, 'name')", json!(["redis"])),
        ("text_equal(source_pod, 'POD-1')", json!(true)),
        ("text_not_equal(source_node, 'x')", json!(false)),
        ("text_of(time, 'America/New_York')", json!("2025-12-31T19:00:01-05:00")),
        ("regexp_extract(source_pod, '-(.)')", json!("1")),
        ("integer_of('12.9')", json!(12)),
        ("boolean_of('TRUE')", json!(true)),
        ("duration_ns_of('1s')", json!(1_000_000_000)),
        ("float_of('x')", json!(null)),
        ("in_sample(source_pod, '1')", json!(true)),
        ("text_search(source_pod, 'pod `pod-1`')", json!(true)),
        ("row_search('pod 6379', source_pod, destination_port)", json!(true)),
    ] {
        let sql = format!("select {expression} as x from flows where packets = 1");
        let rows = stand.rows(&sql).await;
        assert_eq!(rows, [json!({"x": expected})], "{expression}");
    }
    for (sql, part) in [
        ("select ip_in_net(source_ip, '10.0.0.0/99') from flows", "is no network"),
        ("select ip_in_net(source_ip, source_pod) from flows", "in single quotes"),
        ("select time_bucket('0s', time) from flows", "is no width"),
        ("select text_matches(node, '(') from flows", "cannot be read"),
        ("select label(node, 'x') from flows", "is a map"),
        ("select policy_field(policies, 'x') from flows", "kind, namespace, name"),
    ] {
        let message = stand.refused(sql, 400).await;
        assert!(message.contains(part), "{message}");
    }
}
