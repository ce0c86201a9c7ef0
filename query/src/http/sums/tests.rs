use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_flow::Flow;

use crate::testing::{BEGIN_NS, STEP_NS, Stand, batch, flow, loss, losses};

const TIME: &str = "since=2026-01-01T00:00:00Z&until=2026-01-01T00:05:00Z";
const OF_TIME: &str =
    "time >= timestamp '2026-01-01T00:00:00Z' and time < timestamp '2026-01-01T00:05:00Z'";

/// 400 flows, one a second; every fourth stands for several attempts. Half of them is in files.
async fn stand() -> Stand {
    let stand = Stand::new().await;
    let many = |number: u64| Flow { count: number % 4 + 1, reply_bytes: number, ..flow(number) };
    stand.relay.push(batch((0..200).map(many)));
    stand.relay.flush();
    stand.relay.push(batch((200..400).map(many)));
    stand
}

async fn get(stand: &Stand, path: &str) -> Value {
    let (status, text) = stand.get(&format!("/api/v1/{path}")).await;
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).unwrap()
}

async fn refused(stand: &Stand, path: &str) -> String {
    let (status, text) = stand.get(&format!("/api/v1/{path}")).await;
    assert_eq!(status, 400, "{path}: {text}");
    let body: Value = serde_json::from_str(&text).unwrap();
    body["error"]["message"].as_str().unwrap().to_owned()
}

fn sum(numbers: &Value) -> u64 {
    numbers.as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_histogram_has_the_sums_that_sql_has() {
    let stand = stand().await;
    // Half a minute needs the rows, a minute does with roll-ups.
    for (step, width_ns) in [("30s", 30 * STEP_NS), ("1m", 60 * STEP_NS)] {
        let found = get(&stand, &format!("histogram?{TIME}&step={step}&by=verdict,reason")).await;
        let sql = format!(
            "select time_bucket('{step}', time) as t, verdict, reason, sum(count) as count, sum(bytes) as bytes, \
             sum(reply_bytes) as reply_bytes from flows where {OF_TIME} group by all"
        );
        let times: Vec<&str> =
            found["times"].as_array().unwrap().iter().map(|time| time.as_str().unwrap()).collect();
        assert_eq!(times.len() as i64, 300 * STEP_NS / width_ns);
        let rows = stand.rows(&sql).await;
        assert!(rows.len() >= times.len());
        let mut expected: BTreeMap<(String, String), u64> = BTreeMap::new();
        for row in &rows {
            let index = times.iter().position(|time| *time == row["t"]).unwrap();
            let key = json!({"verdict": row["verdict"], "reason": row["reason"]});
            let series = found["series"].as_array().unwrap();
            let series = series.iter().find(|series| series["key"] == key).unwrap();
            for sum in ["count", "bytes", "reply_bytes"] {
                assert_eq!(series[sum][index], row[sum], "{step} {key} {sum} {index}");
            }
            let key = (key.to_string(), "count".to_owned());
            *expected.entry(key).or_default() += row["count"].as_u64().unwrap();
        }
        let series = found["series"].as_array().unwrap();
        assert_eq!(series.len(), expected.len());
        let counts: Vec<u64> = series.iter().map(|series| sum(&series["count"])).collect();
        assert_eq!(counts.iter().sum::<u64>(), found["total"]["count"].as_u64().unwrap());
        assert!(counts.is_sorted_by(|left, right| left >= right), "{counts:?}");
        assert!(expected.values().all(|count| counts.contains(count)));
        assert_eq!(found["completeness"]["complete"], true);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_histogram_tells_what_was_lost_and_where_it_may_be() {
    let stand = stand().await;
    let long = weir_flow::schema::loss::LossRow {
        end_time: weir_flow::schema::TimestampNs(BEGIN_NS + 200 * STEP_NS),
        ..loss(100, "spool", "allow", 7)
    };
    let others = [loss(10, "kernel", "deny", 2), loss(20, "kernel", "deny", 3)];
    stand.relay.push_loss(losses(others.into_iter().chain([
        long,
        loss(30, "follower", "", 100),
        loss(390, "kernel", "deny", 100),
    ])));
    let found = get(&stand, &format!("histogram?{TIME}&step=1m&filter=verdict%3Ddeny")).await;
    let gaps: Vec<Value> = found["gaps"].as_array().unwrap().clone();
    let told = |gap: &Value| {
        let keys = ["first_bucket", "last_bucket", "stage", "verdict", "count"];
        keys.map(|key| gap[key].clone())
    };
    let expected = [
        [json!(1), json!(3), json!("spool"), json!("allow"), json!(7)],
        [json!(0), json!(0), json!("kernel"), json!("deny"), json!(5)],
    ];
    assert_eq!(gaps.iter().map(told).collect::<Vec<_>>(), expected);
    assert_eq!(
        (&found["more_gaps"], &found["completeness"]["complete"]),
        (&json!(0), &json!(false))
    );
    assert_eq!(found["series"].as_array().unwrap().len(), 1);
    assert_eq!(found["by"], json!(["verdict"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facets_have_the_sums_that_sql_has() {
    let stand = stand().await;
    let fields = [
        ("verdict", "verdict"),
        ("destination_port", "destination_port"),
        ("source_pod", "source_pod"),
        ("source_namespace", "source_namespace"),
        ("source_labels.app", "label(source_labels, 'app')"),
        ("connection_id", "connection_id"),
    ];
    let names = fields.map(|(name, _)| name).join(",");
    let found =
        get(&stand, &format!("facets?{TIME}&fields={names}&limit=5&filter=bytes%3E100")).await;
    for ((name, sql), facet) in fields.iter().zip(found["facets"].as_array().unwrap()) {
        assert_eq!(facet["field"], *name);
        let rows = stand
            .rows(&format!(
                "select {sql} as value, sum(count) as count, sum(bytes) as bytes, sum(reply_bytes) as reply_bytes \
                 from flows where {OF_TIME} and bytes > 100 group by {sql} \
                 order by count desc, cast({sql} as text)"
            ))
            .await;
        let (none, known): (Vec<&Value>, Vec<&Value>) =
            rows.iter().partition(|row| row["value"].is_null());
        assert_eq!(facet["distinct"], known.len(), "{name}");
        let listed: Vec<Value> = known.iter().take(5).map(|row| (*row).clone()).collect();
        assert_eq!(facet["values"], json!(listed), "{name}");
        let counts =
            |rows: &[&Value]| rows.iter().map(|row| row["count"].as_u64().unwrap()).sum::<u64>();
        assert_eq!(facet["other"]["count"], counts(&known[known.len().min(5)..]), "{name}");
        assert_eq!(facet["none"]["count"], counts(&none), "{name}");
    }
    // For completion: what begins so, whatever the case.
    let found = get(&stand, &format!("facets?{TIME}&fields=source_pod&prefix=pOD-29")).await;
    let facet = &found["facets"][0];
    assert_eq!((&facet["distinct"], &facet["other"]["count"]), (&json!(11), &json!(1)), "{facet}");
    assert_eq!(facet["none"]["count"], 0);
    let (_, text) = stand.get("/api/v1/facets").await;
    assert!(text.contains("\"destination_workload\""), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_are_the_largest_with_their_sums_over_time() {
    let stand = stand().await;
    let found =
        get(&stand, &format!("groups?{TIME}&filter=verdict%3Ddeny&limit=3&buckets=5")).await;
    let rows = stand
        .rows(&format!(
            "select direction, source_namespace, protocol, destination_port, sum(count) as count, sum(bytes) as bytes, \
             min(time) as first_seen, max(end_time) as last_seen from flows where {OF_TIME} and verdict = 'deny' \
             group by direction, source_namespace, protocol, destination_port order by count desc limit 4"
        ))
        .await;
    assert_eq!((found["groups"].as_array().unwrap().len(), &found["truncated"]), (3, &json!(true)));
    for (group, row) in found["groups"].as_array().unwrap().iter().zip(&rows) {
        for (key, value) in row.as_object().unwrap() {
            assert_eq!(&group[key], value, "{key}: {group}");
        }
        assert_eq!(sum(&group["counts"]), group["count"].as_u64().unwrap());
        assert_eq!(group["counts"].as_array().unwrap().len(), 5);
        assert_eq!(
            (&group["policy"], &group["destination_workload"]),
            (&json!("default/redis"), &json!("redis"))
        );
    }
    for (order, by) in [
        ("last_seen", "last_seen desc"),
        ("first_seen:asc", "first_seen"),
        ("reply_bytes:asc", "reply_bytes"),
        ("bytes", "bytes desc"),
    ] {
        let found = get(&stand, &format!("groups?{TIME}&order={order}&limit=2")).await;
        let rows = stand
            .rows(&format!(
                "select verdict, direction, reason, policy, source_namespace, source_workload, destination_workload, protocol, \
                 destination_port, sum(bytes) as bytes, sum(reply_bytes) as reply_bytes, min(time) as first_seen, \
                 max(end_time) as last_seen from flows where {OF_TIME} group by all order by {by} limit 2"
            ))
            .await;
        let (name, _) = order.split_once(':').unwrap_or((order, ""));
        let measured =
            |groups: &[Value]| groups.iter().map(|group| group[name].clone()).collect::<Vec<_>>();
        assert_eq!(measured(found["groups"].as_array().unwrap()), measured(&rows), "{order}");
    }
    let all = get(&stand, &format!("groups?{TIME}&limit=500")).await;
    assert_eq!(all["truncated"], false);
    let total: u64 = all["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| group["count"].as_u64().unwrap())
        .sum();
    assert_eq!(json!(total), get(&stand, &format!("histogram?{TIME}")).await["total"]["count"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_summed_says_what_to_do() {
    let stand = stand().await;
    for (path, part) in [
        ("histogram?by=verdikt", "did you mean `verdict`?"),
        ("histogram?by=source_pod", "There are verdict"),
        ("histogram?by=verdict,reason,state", "2 columns are possible"),
        ("histogram?step=soon", "10s, 1m"),
        ("histogram?step=1s&since=1d", "buckets, 2000 are possible"),
        ("histogram?step=1m&buckets=10", "either"),
        ("histogram?buckets=0", "1 to 1000"),
        ("histogram?since=1h&until=2h", "since is not before until"),
        ("histogram?filter=x%3D1", "filter, line 1, column 1"),
        ("histogram?fields=verdict", "known are filter"),
        ("facets?fields=sourcepod", "did you mean `source_pod`?"),
        ("facets?fields=xyzzy", "GET /api/v1/schema"),
        ("facets?fields=,", "names none"),
        ("facets?fields=time", "cannot be listed"),
        ("facets?fields=policies", "ask for `policy`"),
        ("facets?fields=source_labels", "source_labels.app"),
        ("facets?fields=verdict.x", "no parts"),
        ("facets?limit=1001", "1 to 1000"),
        ("groups?limit=5001", "1 to 5000"),
        ("groups?by=verdict", "known are filter"),
        ("groups?order=colour", "there are count, bytes"),
        ("groups?order=count:desc", ":asc"),
    ] {
        let message = refused(&stand, path).await;
        assert!(message.contains(part), "{path}: {message}");
    }
    let many = vec!["verdict"; 21].join(",");
    assert!(refused(&stand, &format!("facets?fields={many}")).await.contains("20 are possible"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_the_page_work_as_printed() {
    let stand = Stand::new().await;
    let now_ns = crate::clock::now().0;
    let recent = |number: u64| {
        let time =
            weir_flow::schema::TimestampNs(now_ns - i64::try_from(number + 1).unwrap() * STEP_NS);
        Flow { time, end_time: time, ..flow(number) }
    };
    stand.relay.push(batch((0..30).map(recent)));
    let page = include_str!("../../../../docs/API.md");
    let commands: Vec<&str> = page.split("```").skip(1).step_by(2).map(str::trim).collect();
    assert_eq!(commands.len(), 4);
    for (command, part) in commands.into_iter().zip([
        "\"first_seen\":",
        "\"default_deny\"",
        "\"distinct\":1",
        "\"row_count\":30",
    ]) {
        assert!(command.contains("localhost:8080"), "{command}");
        let command = command.replace("localhost:8080", stand.url.trim_start_matches("http://"));
        let output =
            tokio::process::Command::new("bash").args(["-c", &command]).output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains(part), "{command}: {text}");
    }
}
