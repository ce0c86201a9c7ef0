use std::time::Duration;

use futures::StreamExt as _;
use serde_json::{Value, json};
use weir_flow::wire::{CollectorSeen, CollectorStatus, RelayStatus};

use crate::testing::{Stand, batch, flow};
use crate::{Limits, Query, QueryConfig};

/// Waits until the condition holds; fails after half a minute.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} did not happen");
}

async fn metric(stand: &Stand, line: &str) -> bool {
    stand.get("/metrics").await.1.lines().any(|found| found == line)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_error_has_the_same_shape() {
    let limits = Limits { threads: 1, request_bytes: 1_000, ..Limits::default() };
    let stand = Stand::with_limits(limits).await;
    let sql = |body: String| {
        let request = stand.client.post(format!("{}/api/v1/sql", stand.url));
        request.header("content-type", "application/json").body(body)
    };
    let get = |path: &str| stand.client.get(format!("{}{path}", stand.url));
    let query = |text: &str| sql(json!({"sql": text}).to_string());
    let cases = [
        (get("/nowhere"), 404, "NOT_FOUND", "POST /api/v1/sql"),
        (get("/api/v1/sql"), 405, "INVALID_ARGUMENT", "GET is not possible at /api/v1/sql"),
        (
            stand.client.delete(format!("{}/api/v1/flows", stand.url)),
            405,
            "INVALID_ARGUMENT",
            "DELETE",
        ),
        (
            stand.client.post(format!("{}/api/v1/sql", stand.url)).body("{}"),
            415,
            "INVALID_ARGUMENT",
            "content-type: application/json",
        ),
        (sql("{".into()), 400, "INVALID_ARGUMENT", "line 1"),
        (sql("{\"sq\":1}".into()), 400, "INVALID_ARGUMENT", "sq"),
        (sql("{\"sql\":\"select 1\",\"x\":1}".into()), 400, "INVALID_ARGUMENT", "`x`"),
        (sql("{\"sql\":5}".into()), 400, "INVALID_ARGUMENT", "string"),
        (sql("\u{0}".into()), 400, "INVALID_ARGUMENT", "cannot be read"),
        (
            sql(json!({"sql": "select 1", "format": "xml"}).to_string()),
            400,
            "INVALID_ARGUMENT",
            "json, ndjson, csv, arrow",
        ),
        (sql(" ".repeat(2_000)), 413, "INVALID_ARGUMENT", "1000 bytes"),
        (
            query("select sourcepod from flows"),
            400,
            "INVALID_ARGUMENT",
            "did you mean `source_pod`?",
        ),
        (
            query("select f.verdikt from flows f"),
            400,
            "INVALID_ARGUMENT",
            "did you mean `verdict`?",
        ),
        (query("selekt 1"), 400, "INVALID_ARGUMENT", "selekt"),
        (query("select ) from flows"), 400, "INVALID_ARGUMENT", "cannot be read"),
        (query("select * from flow"), 400, "INVALID_ARGUMENT", "there is no table `flow`"),
        (query("select 1\nfrom flow"), 400, "INVALID_ARGUMENT", "line 2, column 6: there is"),
        (query("select frobnicate(1)"), 400, "INVALID_ARGUMENT", "frobnicate"),
        (query("select 1/0"), 400, "INVALID_ARGUMENT", "zero"),
        (query("select cast('x' as int)"), 400, "INVALID_ARGUMENT", "x"),
        (get("/api/v1/flows?filter=x%3D1"), 400, "INVALID_ARGUMENT", "filter, line 1, column 1"),
        (get("/api/v1/flows?filtre=x"), 400, "INVALID_ARGUMENT", "known are filter"),
        (get("/api/v1/flows?limit=0"), 400, "INVALID_ARGUMENT", "1 to 10000"),
        (get("/api/v1/flows?limit=10001"), 400, "INVALID_ARGUMENT", "1 to 10000"),
        (get("/api/v1/flows?order=up"), 400, "INVALID_ARGUMENT", "asc"),
        (get("/api/v1/flows?since=soon"), 400, "INVALID_ARGUMENT", "10m"),
        (get("/api/v1/flows?format=xml"), 400, "INVALID_ARGUMENT", "json, ndjson, csv, arrow"),
        (
            get("/api/v1/schema").header("host", "evil.example"),
            403,
            "PERMISSION_DENIED",
            "localhost",
        ),
    ];
    for (request, code, status, part) in cases {
        let shown = format!("{request:?}");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), code, "{shown}");
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["error"]["code"], code, "{shown}: {body}");
        assert_eq!(body["error"]["status"], status, "{shown}: {body}");
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains(part), "{shown}: {message}");
        assert_eq!(body.as_object().unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_come_in_order_of_time() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..150).map(flow)));
    stand.relay.flush();
    stand.relay.push(batch((150..300).map(flow)));
    let pods = |body: &Value| -> Vec<u64> {
        let rows = body["rows"].as_array().unwrap().iter();
        rows.map(|row| row["packets"].as_u64().unwrap()).collect()
    };
    let (status, body) = stand.flows(&[]).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(pods(&body), (200..300).rev().collect::<Vec<_>>());
    assert_eq!(body["truncated"], false);
    assert_eq!(body["columns"].as_array().unwrap().len(), 44);
    assert!(body["rows"][0]["connection_id"].as_str().unwrap().starts_with("1:"));
    let (_, body) = stand.flows(&[("order", "asc"), ("limit", "3")]).await;
    assert_eq!(pods(&body), [0, 1, 2]);
    let bounds = [("since", "2026-01-01T00:02:28Z"), ("until", "2026-01-01T00:02:32Z")];
    let (_, body) = stand.flows(&bounds).await;
    assert_eq!(pods(&body), [151, 150, 149, 148]);
    let filter = "verdict=deny OR source_pod=\"pod-1\" AND packets<10";
    let (_, body) = stand.flows(&[("filter", filter), ("order", "asc")]).await;
    assert_eq!(pods(&body), [0, 1, 3, 6, 9]);
    let (_, body) = stand.flows(&[("filter", "connection_id:\"1:\""), ("limit", "10000")]).await;
    assert_eq!(body["row_count"], 300);
    // These flows are of the past.
    let (_, body) = stand.flows(&[("since", "1s")]).await;
    assert_eq!(body["row_count"], 0);
    let (_, text) = stand.get("/api/v1/flows?format=csv&limit=1").await;
    assert_eq!(text.lines().count(), 2);
}

/// Server-sent events as they come.
struct Events {
    response: reqwest::Response,
    text: String,
    /// The last `id:` seen.
    id: String,
}

impl Events {
    async fn follow(stand: &Stand, parameters: &[(&str, &str)]) -> Self {
        let url = format!("{}/api/v1/flows/tail", stand.url);
        let url = reqwest::Url::parse_with_params(&url, parameters).unwrap();
        let response = stand.client.get(url).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new(), id: String::new() }
    }

    /// The next event with data, as `(event, data)`.
    async fn next(&mut self) -> (String, Value) {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let found = event.lines().find_map(|line| line.strip_prefix(name));
                    found.unwrap_or_default().trim().to_owned()
                };
                let (id, name, data) = (field("id:"), field("event:"), field("data:"));
                self.text = rest.to_owned();
                if !id.is_empty() {
                    self.id = id;
                }
                if !data.is_empty() {
                    return (name, serde_json::from_str(&data).unwrap());
                }
            }
            let chunk = tokio::time::timeout(Duration::from_secs(30), self.response.chunk()).await;
            let chunk = chunk.expect("an event comes").unwrap().unwrap();
            self.text += std::str::from_utf8(&chunk).unwrap();
        }
    }

    /// The numbers of the next rows.
    async fn numbers(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            let (event, row) = self.next().await;
            assert_eq!(event, "", "{row}");
            numbers.push(row["packets"].as_u64().unwrap());
        }
        numbers
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_flows_that_pass_the_filter_are_followed() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..10).map(flow)));
    let mut events = Events::follow(&stand, &[("filter", "verdict=deny")]).await;
    // What was there before is not new.
    stand.relay.push(batch((10..20).map(flow)));
    let denied = |range: std::ops::Range<u64>| -> Vec<u64> {
        range.filter(|number| flow(*number).verdict == "deny").collect()
    };
    let expected = denied(10..20);
    assert!(!expected.is_empty());
    assert_eq!(events.numbers(expected.len()).await, expected);
    let mut others = Events::follow(&stand, &[("filter", "connection_id:\"1:\"")]).await;
    stand.relay.push(batch((20..23).map(flow).rev()));
    let (_, row) = others.next().await;
    assert!(row["connection_id"].as_str().unwrap().starts_with("1:"), "{row}");
    assert_eq!(row["packets"], 20, "the earliest comes first");
    assert_eq!(others.numbers(2).await, [21, 22]);
    assert_eq!(events.numbers(1).await, [21]);
    assert!(metric(&stand, "weir_query_followers 2").await);
    let (status, _) = stand.get("/api/v1/flows/tail?after=x").await;
    assert_eq!(status, 400);
    let (status, _) = stand.get("/api/v1/flows/tail?filter=nonsense%3D").await;
    assert_eq!(status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_of_two_relays_goes_on_where_it_was() {
    let stand = Stand::with_two_relays().await;
    let other = stand.other.clone().unwrap();
    let mut events = Events::follow(&stand, &[]).await;
    stand.relay.push(batch([flow(1)]));
    assert_eq!(events.numbers(1).await, [1]);
    other.push(batch([flow(2)]));
    assert_eq!(events.numbers(1).await, [2]);
    let id = events.id.clone();
    assert_eq!(id, "1:1,1000000:1");
    drop(events);
    // What comes meanwhile is not lost, as long as it is in memory.
    stand.relay.push(batch([flow(4)]));
    other.push(batch([flow(3)]));
    let mut events = Events::follow(&stand, &[("after", &id)]).await;
    assert_eq!(events.numbers(2).await, [3, 4]);
    stand.relay.push(batch([flow(5)]));
    assert_eq!(events.numbers(1).await, [5]);
    let id = events.id.clone();
    drop(events);
    stand.relay.push(batch([flow(6)]));
    stand.relay.push(batch([flow(7)]));
    stand.relay.flush();
    stand.relay.push(batch([flow(8)]));
    let mut events = Events::follow(&stand, &[("after", &id)]).await;
    let (event, missed) = events.next().await;
    assert_eq!((event.as_str(), &missed["batches"]), ("missed", &json!(2)), "{missed}");
    assert_eq!(events.numbers(1).await, [8]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_does_not_read_is_told_what_it_missed() {
    let stand = Stand::new().await;
    let mut slow = Events::follow(&stand, &[]).await;
    let mut quick = Events::follow(&stand, &[("filter", "packets=1")]).await;
    // More than the buffers between here and there.
    let (rounds, step, rows) = (2_500, 250, 40);
    for _ in 0..rounds / step {
        for _ in 0..step {
            stand.relay.push(batch((0..rows).map(flow)));
        }
        assert_eq!(quick.numbers(step).await, vec![1; step]);
    }
    let (mut got, mut missed) = (0, 0);
    while got + missed < rounds as u64 * rows {
        let (event, data) = slow.next().await;
        match event.as_str() {
            "missed" => missed += data["rows"].as_u64().unwrap(),
            "" => got += 1,
            other => panic!("{other}: {data}"),
        }
    }
    assert!(missed > 0);
    assert_eq!(got + missed, rounds as u64 * rows);
    let (_, metrics) = stand.get("/metrics").await;
    assert!(metrics.contains(&format!("weir_query_missed_rows_total {missed}\n")), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_goes_is_told_once_to_its_followers() {
    let stand = Stand::new().await;
    let mut events = Events::follow(&stand, &[]).await;
    stand.relay.push(batch([flow(1)]));
    assert_eq!(events.numbers(1).await, [1]);
    stand.stop_relay();
    let (event, data) = events.next().await;
    assert_eq!(event, "trouble", "{data}");
    assert!(data["message"].as_str().unwrap().contains("the relay at"), "{data}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_queries_than_allowed_are_refused() {
    let limits = Limits {
        threads: 1,
        concurrent: 1,
        queued: 0,
        timeout: Duration::from_secs(20),
        ..Limits::default()
    };
    let stand = Stand::with_limits(limits).await;
    stand.relay.push(batch((0..3_000).map(flow)));
    let endless = json!({"sql": "select count(*) from flows a, flows b, flows c, flows d"});
    let request = stand.client.post(format!("{}/api/v1/sql", stand.url)).json(&endless);
    let running = tokio::spawn(request.send());
    eventually("the query runs", async || metric(&stand, "weir_query_running 1").await).await;
    let response = stand.post(json!({"sql": "select 1"})).await;
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "2");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"]["status"], "RESOURCE_EXHAUSTED");
    assert!(body["error"]["message"].as_str().unwrap().contains("try again"), "{body}");
    // The process is well meanwhile.
    assert_eq!(stand.get("/healthz").await, (200, "ok\n".into()));
    // The client goes, and with it the query.
    running.abort();
    eventually("the query ends", async || metric(&stand, "weir_query_running 0").await).await;
    assert_eq!(stand.sql("select 1").await.0, 200);
    let cancelled = "weir_query_queries_total{door=\"Sql\",outcome=\"Cancelled\"} 1";
    assert!(metric(&stand, cancelled).await, "{}", stand.get("/metrics").await.1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_in_the_middle_ends_the_query() {
    let limits = Limits { threads: 1, max_rows: usize::MAX, ..Limits::default() };
    let stand = Stand::with_limits(limits).await;
    let sql = "select value, repeat('x', 1000) as x from generate_series(1, 9000000)";
    let response = stand.post(json!({"sql": sql, "format": "csv"})).await;
    let mut body = response.bytes_stream();
    assert!(!body.next().await.unwrap().unwrap().is_empty());
    assert!(metric(&stand, "weir_query_running 1").await);
    drop(body);
    eventually("the query ends", async || metric(&stand, "weir_query_running 0").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_compressed_when_asked() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..1_000).map(flow)));
    for encoding in ["gzip", "zstd"] {
        let response = stand
            .client
            .post(format!("{}/api/v1/sql", stand.url))
            .header("accept-encoding", encoding)
            .json(&json!({"sql": "select * from flows"}))
            .send()
            .await
            .unwrap();
        assert_eq!(response.headers()["content-encoding"], encoding);
        assert!(response.bytes().await.unwrap().len() < 100_000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_small_pages() {
    let stand = Stand::new().await;
    let (status, text) = stand.get("/").await;
    assert_eq!(status, 200);
    for path in ["/api/v1/sql", "/api/v1/flows", "/api/v1/schema", "/api/v1/status", "/metrics"] {
        assert!(text.contains(path), "{path}");
    }
    let (_, text) = stand.get("/api/v1/schema").await;
    let schema: Value = serde_json::from_str(&text).unwrap();
    let columns = schema["tables"][0]["columns"].as_array().unwrap();
    assert_eq!(columns.len(), 44);
    assert_eq!(columns[0]["name"], "time");
    assert_eq!(columns[0]["type"], "timestamp(ns, UTC)");
    assert_eq!(stand.get("/healthz").await, (200, "ok\n".into()));
    assert_eq!(stand.get("/readyz").await, (200, "ready\n".into()));
    stand.sql("select 1").await;
    let (_, text) = stand.get("/metrics").await;
    assert!(text.ends_with("# EOF\n"));
    let answered = "weir_query_queries_total{door=\"Sql\",outcome=\"Answered\"} 1";
    assert!(text.contains(answered), "{text}");
    stand.stop_relay();
    eventually("readiness goes", async || stand.get("/readyz").await.0 == 503).await;
    assert_eq!(stand.get("/healthz").await, (200, "ok\n".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_tells_of_relay_and_collectors() {
    let stand = Stand::new().await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let collector = CollectorSeen {
        collector: "lab/n1".into(),
        epoch: 1,
        sequence: 5,
        last_seen_ns: u64::try_from(now.as_nanos()).unwrap(),
        status: Some(CollectorStatus {
            policies: 1,
            unenforced_pods: vec!["default/web: no veth".into()],
            ..CollectorStatus::default()
        }),
    };
    let status = RelayStatus { collectors: vec![collector], ..RelayStatus::default() };
    stand.relay.set_status(status);
    let (code, text) = stand.get("/api/v1/status").await;
    assert_eq!(code, 200);
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body["enforcing"]["ok"], false);
    assert_eq!(body["enforcing"]["summary"], "1 PODS ARE NOT ENFORCED");
    assert_eq!(body["relay"]["status"]["collectors"][0]["collector"], "lab/n1");
    assert_eq!(body["limits"]["max_rows"], 100_000);
    stand.stop_relay();
    eventually("the relay is gone", async || {
        let body: Value = serde_json::from_str(&stand.get("/api/v1/status").await.1).unwrap();
        body["relay"]["reachable"] == false && body["enforcing"]["ok"] == false
    })
    .await;
}

#[tokio::test]
async fn wrong_settings_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let good = QueryConfig {
        http: "127.0.0.1:0".parse().unwrap(),
        grpc: "127.0.0.1:0".parse().unwrap(),
        postgres: "127.0.0.1:0".parse().unwrap(),
        store: directory.path().into(),
        ..QueryConfig::default()
    };
    let refused = async |config: QueryConfig| Query::bind(config).await.unwrap_err().to_string();
    let address = taken.local_addr().unwrap();
    let error = refused(QueryConfig { http: address, ..good.clone() }).await;
    assert!(error.contains(&address.to_string()), "{error}");
    let error = refused(QueryConfig { store: file.clone().into(), ..good.clone() }).await;
    assert!(error.contains(file.to_str().unwrap()), "{error}");
    for relay in ["127.0.0.1:4246", "ftp://x", "http://", "unix://"] {
        let error = refused(QueryConfig { relays: vec![relay.into()], ..good.clone() }).await;
        assert!(error.contains("http://host:port or unix:///path"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_stops_when_told_even_while_it_answers() {
    let directory = tempfile::tempdir().unwrap();
    let config = QueryConfig {
        http: "127.0.0.1:0".parse().unwrap(),
        grpc: "127.0.0.1:0".parse().unwrap(),
        postgres: "127.0.0.1:0".parse().unwrap(),
        store: directory.path().into(),
        relays: vec!["http://127.0.0.1:1".into()],
        limits: Limits { threads: 1, ..Limits::default() },
        ..QueryConfig::default()
    };
    let query = Query::bind(config).await.unwrap();
    let base = format!("http://{}", query.addresses().http);
    let token = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(query.run(token.clone()));
    let sql = "select count(*) from generate_series(1, 9000000) a, generate_series(1, 9000000) b";
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let question = client.post(format!("{base}/api/v1/sql")).json(&json!({"sql": sql}));
    let asking = tokio::spawn(question.send());
    eventually("the query's beginning", async || {
        let metrics = client.get(format!("{base}/metrics")).send().await.unwrap();
        metrics.text().await.unwrap().contains("weir_query_running 1\n")
    })
    .await;
    token.cancel();
    tokio::time::timeout(Duration::from_secs(30), running).await.unwrap().unwrap().unwrap();
    asking.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_are_values_and_never_text() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..20).map(flow)));
    let ask = async |sql: &str, parameters: Value| {
        let body = json!({"sql": sql, "parameters": parameters});
        stand.post(body).await.json::<Value>().await.unwrap()
    };
    let sql =
        "select count(*) as n from flows where source_pod = $1 and packets < $2 and time >= $3";
    let found = ask(sql, json!(["Pod-3", 10, "2026-01-01T00:00:01Z"])).await;
    assert_eq!(found["rows"][0]["n"], 1, "{found}");
    let found = ask(sql, json!(["x' or '1'='1", 10, "2026-01-01T00:00:01Z"])).await;
    assert_eq!(found["rows"][0]["n"], 0, "{found}");
    let few = ask("select packets from flows order by packets limit $1", json!([3])).await;
    assert_eq!(few["row_count"], 3, "{few}");
    for (sql, parameters, told) in [
        (sql, json!(["Pod-3"]), "has 3 parameters, 1 values came"),
        (sql, json!(["a", 1, "yesterday"]), "$3"),
        ("select $2000", json!([]), "$1000"),
        ("select $1", json!([[1]]), "a text, a number"),
    ] {
        let refused = ask(sql, parameters).await;
        assert_eq!(refused["error"]["code"], 400, "{refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains(told), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_is_handed_out_page_by_page() {
    let limits = Limits { threads: 2, max_rows: 50, ..Limits::default() };
    let stand = Stand::with_limits(limits).await;
    stand.relay.push(batch((0..60).map(flow)));
    stand.relay.flush();
    stand.relay.push(batch((60..120).map(flow)));
    let sql = "select packets from flows order by packets";
    let answer = async |body: Value| {
        let response = stand.post(body).await;
        let header = response.headers().get("weir-next-page-token").cloned();
        let header = header.map(|token| token.to_str().unwrap().to_owned());
        (response.status().as_u16(), header, response.text().await.unwrap())
    };
    let (_, mut token, text) = answer(json!({"sql": sql, "page_size": 50})).await;
    let first: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&first["row_count"], &first["truncated"]), (&json!(50), &json!(false)));
    assert_eq!(first["next_page_token"].as_str(), token.as_deref());
    assert_eq!(first["completeness"]["complete"], true);
    // What comes meanwhile is in no page.
    stand.relay.push(batch((0..60).map(flow)));
    let first_token = token.clone();
    let mut rows = first["rows"].as_array().unwrap().clone();
    while let Some(next) = token {
        let body = json!({"page_token": next, "page_size": 33, "format": "ndjson"});
        let (code, next, text) = answer(body).await;
        assert_eq!(code, 200, "{text}");
        rows.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
        token = next;
    }
    let expected: Vec<Value> = (0..120).map(|packets| json!({"packets": packets})).collect();
    assert_eq!(rows, expected);
    // A page may be read again, in any size and format.
    let again = json!({"page_token": first_token, "page_size": 2, "format": "csv"});
    assert_eq!(answer(again).await.2.lines().collect::<Vec<_>>(), ["packets", "50", "51"]);
    // What fits needs no second page.
    let (_, none, _) = answer(json!({"sql": "select 1", "page_size": 1})).await;
    assert_eq!(none, None);
    for (body, code, part) in [
        (json!({"sql": sql, "page_size": 51}), 400, "1 to 50"),
        (json!({"sql": sql, "page_size": 0}), 400, "1 to 50"),
        (json!({"page_token": "1-2"}), 400, "as it came"),
        (json!({"page_token": "1-2-3"}), 410, "run the query again"),
        (json!({"page_token": "1-2-3", "sql": sql}), 400, "send it alone"),
        (json!({"page_size": 3}), 400, "\\\"sql\\\" is missing"),
    ] {
        let (found, _, text) = answer(body).await;
        assert!(found == code && text.contains(part), "{found}: {text}");
    }
    // The ninth result takes the room of the one that was read longest ago.
    for _ in 0..8 {
        assert!(answer(json!({"sql": sql, "page_size": 10})).await.1.is_some());
    }
    let (code, _, text) = answer(json!({"page_token": first_token})).await;
    assert_eq!(code, 410, "{text}");
    assert!(metric(&stand, "weir_query_results_dropped_total{reason=\"MadeRoom\"} 1").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_sql_begins_with_a_command_that_works() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..30).map(flow)));
    let page = include_str!("../../../docs/SQL.md");
    let command = page.split("```").nth(1).unwrap().trim();
    let command = command.replace("localhost:8080", stand.url.trim_start_matches("http://"));
    let output = tokio::process::Command::new("bash").args(["-c", &command]).output().await;
    let printed: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    let expected = json!([{"verdict": "allow", "flows": 20}, {"verdict": "deny", "flows": 10}]);
    assert_eq!(printed["rows"], expected, "{command}: {printed}");
}
