mod gcloud;

use serde_json::{Value, json};

use super::metrics::MetricStore;
use crate::access::Principal;
use crate::testing::{Stand, batch, flow, python};

async fn call(stand: &Stand, body: &Value) -> (u16, Value) {
    let url = format!("{}/v2/entries:list?prettyPrint=false", stand.url);
    let response = stand.client.post(url).json(body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn refused(stand: &Stand, body: Value) -> String {
    let (status, answer) = call(stand, &body).await;
    assert_eq!(status, 400, "{body}: {answer}");
    assert_eq!(answer["error"]["status"], "INVALID_ARGUMENT");
    answer["error"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_have_the_shape_of_policy_action() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..6).map(flow)));
    // As gcloud sends it.
    let filter = "timestamp>=\"2025-11-19T17:15:57.203629Z\" AND resource.type=\"k8s_node\" \
                  jsonPayload.disposition=\"deny\" resource.labels.location=\"here\" \
                  resource.labels.cluster_name=\"test\" logName=\"projects/demo/logs/policy-action\"";
    let body = json!({
        "filter": filter,
        "orderBy": "timestamp desc",
        "pageSize": 1,
        "resourceNames": ["projects/demo"],
    });
    let (status, answer) = call(&stand, &body).await;
    assert_eq!(status, 200, "{answer}");
    let mut entry = answer["entries"][0].clone();
    assert_eq!(entry["insertId"].as_str().unwrap().len(), 27);
    entry.as_object_mut().unwrap().remove("insertId");
    assert_eq!(
        entry,
        json!({
            "logName": "projects/demo/logs/policy-action",
            "timestamp": "2026-01-01T00:00:03Z",
            "resource": {"type": "k8s_node", "labels": {
                "project_id": "demo", "location": "here", "cluster_name": "test",
                "node_name": "node-1",
            }},
            "labels": {
                "k8s-pod/app": "a,\"b\"", "weir/verdict": "deny", "weir/reason": "default_deny",
                "weir/policy": "default/redis",
            },
            "jsonPayload": {
                "connection": {
                    "src_ip": "10.0.0.4", "dest_ip": "10.0.1.1", "src_port": 40_003,
                    "dest_port": 6379, "protocol": "tcp", "direction": "egress",
                },
                "disposition": "deny",
                "src": {"pod_name": "Pod-3", "pod_namespace": "ns-0", "namespace": "ns-0"},
                "dest": {
                    "pod_name": "redis-0", "pod_namespace": "default", "namespace": "default",
                    "workload_kind": "StatefulSet", "workload_name": "redis",
                },
                "count": 1,
                "node_name": "node-1",
            },
        })
    );
    assert!(answer["nextPageToken"].is_string());
    // As the Python client adds it.
    let filter = "jsonPayload.disposition=allow AND timestamp>=\"2025-11-19T17:07:54.061258+0000\" \
                  AND logName=projects/demo/logs/policy-action";
    let body = json!({"resourceNames": ["projects/demo"], "filter": filter});
    let (_, answer) = call(&stand, &body).await;
    assert_eq!(answer["entries"].as_array().unwrap().len(), 4);
    assert!(answer.get("nextPageToken").is_none(), "{answer}");
    let policies = json!([{"kind": "NetworkPolicy", "name": "redis", "namespace": "default"}]);
    assert_eq!(answer["entries"][0]["jsonPayload"]["policies"], policies);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_have_each_entry_once_whatever_comes_between() {
    let stand = Stand::new().await;
    // Many of the same time, and some that are no verdicts.
    let rows = |from: u64, until: u64| {
        (from..until).map(|number| {
            let mut row = flow(number);
            row.time = flow(number / 7).time;
            row.count = u64::from(number % 10 != 9);
            row
        })
    };
    stand.relay.push(batch(rows(0, 100)));
    for order in ["timestamp asc", "timestamp desc"] {
        let mut body = json!({"resourceNames": ["projects/p"], "orderBy": order, "pageSize": 9});
        let mut seen: Vec<(String, String)> = Vec::new();
        loop {
            let (status, answer) = call(&stand, &body).await;
            assert_eq!(status, 200, "{answer}");
            for entry in answer["entries"].as_array().unwrap() {
                let text = |name: &str| entry[name].as_str().unwrap().to_owned();
                seen.push((text("timestamp"), text("insertId")));
            }
            let Some(next) = answer.get("nextPageToken") else { break };
            body["pageToken"] = next.clone();
            if order == "timestamp desc" && seen.len() == 9 {
                // Later than all that is still to come.
                stand.relay.push(batch(rows(1_000, 1_005)));
            }
        }
        assert_eq!(seen.len(), 90, "{order}");
        let mut expected = seen.clone();
        expected.sort_by(|left, right| {
            let times = left.0.cmp(&right.0);
            let times = if order == "timestamp asc" { times } else { times.reverse() };
            times.then_with(|| left.1.cmp(&right.1))
        });
        assert_eq!(seen, expected, "{order}");
        expected.dedup();
        assert_eq!(expected.len(), 90);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_asked_is_refused_as_google_does() {
    let stand = Stand::new().await;
    let with = |key: &str, value: Value| {
        let mut body = json!({"resourceNames": ["projects/demo"]});
        body[key] = value;
        body
    };
    for (body, part) in [
        (json!({}), "resourceNames is empty"),
        (with("resourceNames", json!(["demo"])), "no resource name"),
        (with("pageSize", json!(-1)), "pageSize -1"),
        (with("pageSize", json!(1001)), "1 to 1000"),
        (with("orderBy", json!("severity")), "timestamp desc"),
        (with("pageToken", json!("2")), "pageToken"),
        (with("filter", json!("thud=1")), "line 1, column 1"),
        (with("filter", json!("logName=\"projects//logs/policy-action\"")), "variable"),
    ] {
        let message = refused(&stand, body).await;
        assert!(message.contains(part), "{message}");
    }
    stand.relay.push(batch((0..6).map(flow)));
    let (_, answer) = call(&stand, &with("pageSize", json!(2))).await;
    let mut other = with("pageToken", answer["nextPageToken"].clone());
    other["filter"] = json!("verdict=deny");
    assert!(refused(&stand, other).await.contains("another request"));
    // An empty token is the first page's.
    let (status, _) = call(&stand, &with("pageToken", json!(""))).await;
    assert_eq!(status, 200);
    for (path, code) in [("entries:write", 403), ("entries:tail", 501)] {
        let url = format!("{}/v2/{path}", stand.url);
        let response = stand.client.post(url).json(&json!({})).send().await.unwrap();
        assert_eq!(response.status().as_u16(), code, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_of_what_there_is() {
    let stand = Stand::new().await;
    for (path, expected) in [
        ("projects/demo/logs?alt=json", json!({"logNames": ["projects/demo/logs/policy-action"]})),
        ("projects/demo/sinks", json!({"sinks": []})),
    ] {
        let (status, body) = stand.get(&format!("/v2/{path}")).await;
        assert_eq!((status, serde_json::from_str::<Value>(&body).unwrap()), (200, expected));
    }
    let (_, body) = stand.get("/v2/monitoredResourceDescriptors").await;
    assert!(body.contains("\"k8s_node\""), "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_are_checked_and_shown_as_sql() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..12).map(flow)));
    let check = async |filter: &str| -> Value {
        let url = format!("{}/api/v1/filter", stand.url);
        let response = stand.client.post(url).json(&json!({"filter": filter})).send().await;
        response.unwrap().json().await.unwrap()
    };
    let answer = check("verdict=deny AND NOT source_pod:\"pod-3\"").await;
    assert_eq!(answer["ok"], true);
    let sql = answer["sql"].as_str().unwrap();
    let rows = stand.rows(&format!("select source_pod from flows where {sql}")).await;
    assert_eq!(rows.len(), 3);
    let answer = check("verdict=deny\n  sourcepod=x").await;
    assert_eq!(answer["ok"], false);
    let error = &answer["error"];
    let place = (error["line"].as_u64(), error["column"].as_u64(), error["end"].as_u64());
    assert_eq!(place, (Some(2), Some(3), Some(12)), "{answer}");
    let answer = check("insertId=\"A\" OR \"B\"").await;
    assert_eq!(answer["warnings"][0]["column"], 17, "{answer}");
    let (_, schema) = stand.get("/api/v1/schema").await;
    let schema: Value = serde_json::from_str(&schema).unwrap();
    for name in schema["filter_names"].as_array().unwrap() {
        // Every name that is offered is one.
        let answer = check(&format!("{}:*", name.as_str().unwrap())).await;
        let good = answer["ok"] == true && answer["warnings"] == json!([]);
        assert!(good, "{name}: {answer}");
    }
    assert!(schema["filter_names"].as_array().unwrap().len() > 70, "{schema}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_filters_are_answered_and_larger_ones_refused() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..6).map(flow)));
    let list = async |filter: String| {
        call(&stand, &json!({"resourceNames": ["projects/demo"], "filter": filter})).await
    };
    let mut deep = "verdict=deny".to_owned();
    for level in 0..16 {
        let joined = if level % 2 == 0 { "OR" } else { "AND" };
        deep = format!("NOT (rtt_ns>{level} {joined} ({deep}))");
    }
    let wide = vec!["source_pod:pod"; 500].join(" OR ");
    let words = vec!["redis"; 500].join(" ");
    let objects = vec!["jsonPayload:pod"; 80].join(" ");
    for filter in [deep, wide, words, objects] {
        let (status, answer) = list(filter.clone()).await;
        assert_eq!(status, 200, "{filter}: {answer}");
    }
    for filter in ["(".repeat(10_000), "a OR ".repeat(3_900), "NOT ".repeat(4_900)] {
        let (status, answer) = list(filter).await;
        assert_eq!(status, 400, "{answer}");
    }
    assert_eq!(stand.rows("select 1 as one").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_begins_with_a_command_that_works() {
    let stand = Stand::new().await;
    let mut recent = flow(0);
    recent.time = weir_flow::schema::TimestampNs(now_ns());
    recent.end_time = recent.time;
    stand.relay.push(batch([recent]));
    let page = include_str!("../../../../docs/CLOUD-LOGGING.md");
    let command = page.split("```").nth(1).unwrap().trim();
    let command = command.replace("localhost:8080", stand.url.trim_start_matches("http://"));
    let output = tokio::process::Command::new("bash").args(["-c", &command]).output().await;
    let output = output.unwrap();
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["rows"][0]["verdict"], "deny", "{command}: {printed}");
}

fn now_ns() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_of_google_works_unchanged() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..30).map(flow)));
    let address = stand.url.trim_start_matches("http://");
    let printed = python(include_str!("client.py"), &[address]).await;
    assert_eq!(printed.trim(), "passed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_of_google_works_over_grpc() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..30).map(flow)));
    let arguments = [stand.grpc.as_str()];
    let feeder = async {
        // The client tails by now, or will: it waits for these.
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            stand.relay.push(batch((100..103).map(flow)));
        }
    };
    let printed = tokio::select! {
        printed = python(include_str!("client_grpc.py"), &arguments) => printed,
        () = feeder => unreachable!("it feeds for ever"),
    };
    assert_eq!(printed.trim(), "passed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_count_what_comes_and_stay() {
    let stand = Stand::new().await;
    let url = |path: &str| format!("{}/v2/projects/demo/metrics{path}", stand.url);
    let send = async |method: reqwest::Method, path: &str, body: Value| {
        let request = stand.client.request(method, url(path)).json(&body).send().await.unwrap();
        (request.status().as_u16(), request.json::<Value>().await.unwrap())
    };
    let denies = json!({"name": "denies/all", "filter": "verdict=deny"});
    let (status, made) = send(reqwest::Method::POST, "", denies.clone()).await;
    assert_eq!((status, &made["filter"]), (200, &json!("verdict=deny")), "{made}");
    assert_eq!(send(reqwest::Method::POST, "", denies).await.0, 409);
    for (body, part) in [
        (json!({"name": "a b", "filter": "a"}), "no name of a metric"),
        (json!({"name": "a", "filter": "thud=1"}), "line 1, column 1"),
        (json!({"name": "a", "filter": " "}), "needs a filter"),
        (json!({"name": "a", "filter": "b", "valueExtractor": "EXTRACT(x)"}), "count entries"),
    ] {
        let (status, answer) = send(reqwest::Method::POST, "", body).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(status == 400 && message.contains(part), "{answer}");
    }
    let counted = async |name: &str| -> Option<u64> {
        let (_, text) = stand.get("/metrics").await;
        let line = format!("weir_query_log_metric_{name}_total{{metric=\"denies/all\"}} ");
        text.lines().find_map(|text| text.strip_prefix(&line)?.parse().ok())
    };
    // Counting begins a moment after the metric is made: rows come until some are counted.
    let mut number = 0;
    while counted("entries").await.is_none_or(|entries| entries == 0) {
        stand.relay.push(batch([flow(number)]));
        number += 3;
        assert!(number < 3_000, "nothing is counted");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let entries = counted("entries").await;
    let mut many = flow(3_000);
    many.count = 1_000_000;
    stand.relay.push(batch([many, flow(3_001)]));
    while counted("verdicts").await.unwrap() < 1_000_000 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(counted("entries").await > entries);
    let (status, changed) =
        send(reqwest::Method::PUT, "/denies%2Fall", json!({"filter": "verdict=allow"})).await;
    assert_eq!((status, &changed["createTime"]), (200, &made["createTime"]), "{changed}");
    // The next process knows it, and does not start with a file that it cannot read.
    let state = stand.store.path().join("query-state");
    let kept = MetricStore::open(Some(&state)).unwrap().list();
    assert_eq!(kept[0].filter, "verdict=allow");
    let torn = tempfile::tempdir().unwrap();
    std::fs::write(torn.path().join("log-metrics.json"), "{\"a").unwrap();
    let error = MetricStore::open(Some(torn.path())).unwrap_err().to_string();
    assert!(error.contains("log-metrics.json"), "{error}");
    let none = MetricStore::open(None).unwrap().create(&Principal::everyone(), kept[0].clone());
    assert!(none.unwrap_err().into_message().contains("--state DIR"));
    assert_eq!(send(reqwest::Method::DELETE, "/denies%2Fall", json!({})).await.0, 200);
    assert_eq!(send(reqwest::Method::GET, "/denies%2Fall", json!({})).await.0, 404);
    let (_, listed) = send(reqwest::Method::GET, "", json!({})).await;
    assert_eq!(listed, json!({"metrics": []}));
}
