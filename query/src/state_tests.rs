//! Objects by the real relay, hot and stored, as tables, and explanations of then and now.

mod access;

use std::time::Duration;

use arrow::record_batch::RecordBatch;
use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use weir_flow::Flow;
use weir_flow::schema::TimestampNs;
use weir_flow::schema::objects::{ObjectVersion, ObjectVersionBuilder};
use weir_flow::values::PolicyRule;
use weir_flow::wire::{self, BatchId, FLOWS, OBJECTS, ObjectsId};
use weir_relay::{Relay, RelayConfig};

use crate::access_tests::{grant, token};
use crate::testing::{BEGIN_NS, batch};
use crate::{AccessSettings, Limits, Query, QueryConfig};

const SECOND: i64 = 1_000_000_000;

pub(crate) struct Stand {
    _store: tempfile::TempDir,
    ingest: String,
    /// Up to `/api/v1`.
    pub(crate) url: String,
    pub(crate) http: reqwest::Client,
    /// What it shows when it asks.
    secret: String,
    token: CancellationToken,
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

impl Stand {
    pub(crate) async fn start(flush_interval: Duration) -> Self {
        Self::start_with(flush_interval, None).await
    }

    async fn start_with(flush_interval: Duration, access: Option<AccessSettings>) -> Self {
        Self::start_for(flush_interval, access, "").await
    }

    /// For whoever has that secret.
    async fn start_for(
        flush_interval: Duration,
        access: Option<AccessSettings>,
        secret: &str,
    ) -> Self {
        let store = tempfile::tempdir().unwrap();
        let token = CancellationToken::new();
        let relay = Relay::bind(RelayConfig {
            ingest: "127.0.0.1:0".parse().unwrap(),
            flush_interval,
            linger: Duration::ZERO,
            ..RelayConfig::new(store.path())
        })
        .await
        .unwrap();
        let ingest = format!("http://{}", relay.ingest_address());
        tokio::spawn(relay.run(token.clone()));
        let query = Query::bind(QueryConfig {
            http: "127.0.0.1:0".parse().unwrap(),
            grpc: "127.0.0.1:0".parse().unwrap(),
            postgres: "127.0.0.1:0".parse().unwrap(),
            access,
            relays: vec![ingest.clone()],
            store: store.path().into(),
            state: Some(store.path().join("query-state")),
            limits: Limits { threads: 2, ..Limits::default() },
            ..QueryConfig::default()
        })
        .await
        .unwrap();
        let url = format!("http://{}/api/v1", query.addresses().http);
        tokio::spawn(query.run(token.clone()));
        let (http, secret) = (reqwest::Client::new(), secret.to_owned());
        Self { _store: store, ingest, url, http, secret, token }
    }

    pub(crate) async fn tell(&self, versions: &[ObjectVersion]) {
        let mut builder = ObjectVersionBuilder::default();
        versions.iter().for_each(|version| builder.append(version));
        let id = ObjectsId {
            cluster: "lab".into(),
            node: "n1".into(),
            epoch: 1,
            sequence: 1,
            complete_at_ns: None,
        };
        self.put(OBJECTS, builder.finish(), wire::encode(&id)).await;
    }

    /// Sends flows; the number tells batches apart.
    pub(crate) async fn push(&self, sequence: u64, rows: RecordBatch) {
        let collector = "lab/n1".into();
        let id = BatchId { collector, epoch: 1, sequence, status: None, losses: vec![] };
        self.put(FLOWS, rows, wire::encode(&id)).await;
    }

    async fn put(&self, what: &str, rows: RecordBatch, id: bytes::Bytes) {
        let mut messages: Vec<FlightData> = FlightDataEncoderBuilder::new()
            .with_schema(rows.schema())
            .with_dictionary_handling(DictionaryHandling::Resend)
            .with_max_flight_data_size(usize::MAX)
            .with_flight_descriptor(Some(FlightDescriptor::new_path(vec![what.into()])))
            .build(stream::iter([Ok(rows)]))
            .map(Result::unwrap)
            .collect()
            .await;
        messages.last_mut().unwrap().app_metadata = id;
        let channel = Endpoint::from_shared(self.ingest.clone()).unwrap().connect().await.unwrap();
        let answers = FlightServiceClient::new(channel).do_put(stream::iter(messages)).await;
        let answers: Vec<_> = answers.unwrap().into_inner().try_collect().await.unwrap();
        assert_eq!(answers.len(), 1);
    }

    async fn get(&self, path: &str) -> Value {
        self.whole(path).await["rows"].clone()
    }

    async fn whole(&self, path: &str) -> Value {
        let request = self.http.get(format!("{}/{path}", self.url)).bearer_auth(&self.secret);
        let response = request.send().await.unwrap();
        let status = response.status();
        let body: Value = response.json().await.unwrap();
        assert_eq!(status, 200, "{body}");
        body
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let request = self.http.post(format!("{}/{path}", self.url)).bearer_auth(&self.secret);
        let response = request.json(&body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn rows(&self, sql: &str) -> Value {
        let (status, body) = self.post("sql", json!({ "sql": sql })).await;
        assert_eq!((status, &body["warnings"]), (200, &json!([])), "{body}");
        body["rows"].clone()
    }

    async fn explain(&self, body: Value) -> Value {
        let (status, answer) = self.post("policies/explain", body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

fn version(second: i64, kind: &str, name: &str, manifest: Option<String>) -> ObjectVersion {
    ObjectVersion {
        time: TimestampNs(BEGIN_NS + second * SECOND),
        cluster: "lab".into(),
        node: "n1".into(),
        kind: kind.into(),
        namespace: if kind == "Node" { String::new() } else { "shop".into() },
        name: name.into(),
        manifest,
    }
}

fn pod(name: &str, address: &str) -> Option<String> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "shop", "name": name, "labels": {"app": name}},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running", "podIPs": [{"ip": address}]},
    });
    Some(pod.to_string())
}

/// Only the app of that label may come in.
fn policy(app: &str) -> Option<String> {
    Some(format!(
        "# who may\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata:\n  namespace: shop\n  name: redis\nspec:\n  podSelector: {{matchLabels: {{app: redis}}}}\n  \
         ingress:\n    - from: [{{podSelector: {{matchLabels: {{app: {app}}}}}}}]\n"
    ))
}

pub(crate) fn cluster() -> Vec<ObjectVersion> {
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.1"}]},
    });
    vec![
        version(0, "Node", "n1", Some(node.to_string())),
        version(0, "Pod", "redis", pod("redis", "10.0.0.1")),
        version(0, "Pod", "web", pod("web", "10.0.0.2")),
        version(0, "NetworkPolicy", "redis", policy("nobody")),
    ]
}

/// A row as the API gives it, at that second.
fn flow(second: i64, verdict: &str, reason: &str, rule: Option<u32>) -> Value {
    json!({
        "time": TimestampNs(BEGIN_NS + second * SECOND),
        "end_time": TimestampNs(BEGIN_NS + second * SECOND),
        "cluster": "lab", "node": "n1", "direction": "ingress", "verdict": verdict, "reason": reason,
        "policies": [{"kind": "NetworkPolicy", "namespace": "shop", "name": "redis", "rule": rule}],
        "protocol": "TCP", "source_ip": "10.0.0.2", "source_port": 40000,
        "destination_ip": "10.0.0.1", "destination_port": 6379, "packets": 1,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_tables_at_any_time_hot_and_stored() {
    for flush_interval in [Duration::from_secs(3600), Duration::from_millis(20)] {
        let stand = Stand::start(flush_interval).await;
        stand.tell(&cluster()).await;
        stand.tell(&[version(100, "NetworkPolicy", "redis", policy("web"))]).await;
        stand.tell(&[version(200, "Pod", "web", None)]).await;
        // While versions move from the relay's memory into files, nothing is seen twice or missed.
        for _ in 0..20 {
            let sql = "select valid_to is null as now, manifest like '%app: web%' as web \
                       from policies order by valid_from";
            let expected = json!([{"now": false, "web": false}, {"now": true, "web": true}]);
            assert_eq!(stand.rows(sql).await, expected);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let pods = "select name, addresses, labels['app'] as app, node, phase from endpoints \
                    where valid_to is null";
        let redis = json!({
            "name": "redis", "addresses": ["10.0.0.1"], "app": "redis", "node": "n1", "phase": "Running",
        });
        assert_eq!(stand.rows(pods).await, json!([redis]));
        assert_eq!(stand.rows("select count(*) as n from nodes").await, json!([{"n": 1}]));

        let now = stand.get("policies").await;
        assert_eq!(now.as_array().unwrap().len(), 1);
        assert_eq!(now[0]["manifest"], policy("web").unwrap());
        let then = stand.get("policies?at=2026-01-01T00:01:00Z").await;
        assert_eq!(then[0]["manifest"], policy("nobody").unwrap());
        assert_eq!(then[0]["valid_to"], "2026-01-01T00:01:40.000000000Z");
        assert_eq!(stand.get("policies?at=2025-12-31T00:00:00Z").await, json!([]));
        assert_eq!(stand.get("endpoints").await.as_array().unwrap().len(), 1);
        let then = stand.get("endpoints?at=2026-01-01T00:01:00Z").await;
        assert_eq!(then.as_array().unwrap().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explanations_are_of_the_policies_of_then() {
    let stand = Stand::start(Duration::from_millis(20)).await;
    stand.tell(&cluster()).await;
    stand.tell(&[version(100, "NetworkPolicy", "redis", policy("web"))]).await;

    let question = json!({"from": "shop/web", "to": "shop/redis", "port": 6379});
    let now = stand.explain(question.clone()).await;
    assert_eq!(now["explanation"]["verdict"], "allow", "{now}");
    let mut then = question.clone();
    then["at"] = json!("2026-01-01T00:01:00Z");
    let then = stand.explain(then).await;
    assert_eq!(then["explanation"]["verdict"], "deny", "{then}");
    let diff = then["explanation"]["diff"].as_str().unwrap();
    // Against the text of its author, comment and all.
    assert!(diff.contains("shop/redis.yaml") && diff.contains("+"), "{diff}");

    let denied = stand.explain(json!({"flow": flow(50, "deny", "default_deny", None)})).await;
    assert_eq!((&denied["agrees"], &denied["notes"]), (&json!(true), &json!([])), "{denied}");
    assert_eq!(denied["recorded"]["verdict"], "deny");
    assert_eq!(denied["explanation"]["answers"][0]["ingress"]["rules"][0]["name"], "redis");
    let allowed = stand.explain(json!({"flow": flow(150, "allow", "policy", Some(0))})).await;
    assert_eq!(allowed["agrees"], true, "{allowed}");

    // Its node had not taken over the change yet.
    let late = stand.explain(json!({"flow": flow(101, "deny", "default_deny", None)})).await;
    assert_eq!(late["agrees"], true, "{late}");
    assert!(late["notes"][0].as_str().unwrap().contains("changed about that time"), "{late}");
    // A connection that was judged before and goes on.
    let mut old = flow(150, "allow", "policy", Some(0));
    old["duration_ns"] = json!(20 * SECOND);
    assert_eq!(stand.explain(json!({ "flow": old })).await["agrees"], true);
    // What cannot be.
    let wrong = stand.explain(json!({"flow": flow(150, "deny", "default_deny", None)})).await;
    assert_eq!(wrong["agrees"], false, "{wrong}");
    let note = wrong["notes"][0].as_str().unwrap();
    assert!(
        note.contains("deny (default_deny) by shop/redis") && note.contains("gives allow"),
        "{note}"
    );
    // Only reported.
    let audit = stand.explain(json!({"flow": flow(50, "audit", "default_deny", None)})).await;
    assert_eq!(audit["agrees"], true, "{audit}");
    // Nothing that policies decide.
    let invalid = stand.explain(json!({"flow": flow(50, "deny", "invalid_packet", None)})).await;
    assert_eq!(invalid["agrees"], Value::Null, "{invalid}");
    // Before anything was known.
    let early = stand.explain(json!({"flow": flow(-50, "deny", "default_deny", None)})).await;
    assert_eq!(early["agrees"], true, "{early}");
    assert!(early["notes"][0].as_str().unwrap().contains("nothing is known"), "{early}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_explained_says_what_to_do() {
    let stand = Stand::start(Duration::from_secs(3600)).await;
    let question = |from: &str| json!({"from": from, "to": "shop/redis", "port": 6379});
    let (status, body) = stand.post("policies/explain", question("shop/web")).await;
    assert_eq!((status, &body["error"]["status"]), (503, &json!("UNAVAILABLE")), "{body}");
    stand.tell(&cluster()).await;
    let with = |key: &str, value: Value| {
        let mut body = question("shop/web");
        body[key] = value;
        body
    };
    let mut other_cluster = flow(1, "deny", "default_deny", None);
    other_cluster["cluster"] = json!("elsewhere");
    let mut no_address = flow(1, "deny", "default_deny", None);
    no_address["source_ip"] = json!("web");
    let mut flow_and_more = with("flow", flow(1, "deny", "default_deny", None));
    flow_and_more["at"] = json!("10m");
    for (body, part) in [
        (question("shop/wed"), "shop/web"),
        (json!({"from": "shop/web"}), "\"from\", \"to\" and \"port\""),
        (with("protocol", json!("TPC")), "TCP, UDP or SCTP"),
        (with("port", json!(70000)), "cannot be read"),
        (with("at", json!("soon")), "10m"),
        (with("cluster", json!("elsewhere")), "known are lab"),
        (with("form", json!("x")), "form"),
        (json!({ "flow": other_cluster }), "known are lab"),
        (json!({ "flow": no_address }), "cannot be read"),
        (flow_and_more, "send \"flow\" alone"),
    ] {
        let shown = body.to_string();
        let (status, body) = stand.post("policies/explain", body).await;
        let message = body["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(status == 400 && message.contains(part), "{shown}: {status} {message}");
    }
    let response = stand.http.get(format!("{}/policies?since=1", stand.url)).send().await.unwrap();
    assert_eq!(response.status(), 400);
    let (status, body) = stand.post("sql", json!({"sql": "select * from policy"})).await;
    assert_eq!(status, 400);
    assert!(body["error"]["message"].as_str().unwrap().contains("`policies`"), "{body}");
}

/// What came in to redis at that second, and who decided.
fn row(second: i64, verdict: &str, rule: Option<u32>, count: u64) -> Flow {
    let by = |name: &str, rule| PolicyRule {
        kind: "NetworkPolicy".into(),
        namespace: "shop".into(),
        name: name.into(),
        rule,
    };
    let time = TimestampNs(BEGIN_NS + second * SECOND);
    Flow {
        time,
        end_time: time,
        cluster: "lab".into(),
        direction: "ingress".into(),
        verdict: verdict.into(),
        policies: vec![by("redis", rule), by("gone", rule)],
        source_namespace: Some("shop".into()),
        destination_namespace: Some("shop".into()),
        count,
        ..crate::testing::flow(1)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_are_reviewed_with_what_they_decided() {
    for flush_interval in [Duration::from_secs(3600), Duration::from_millis(20)] {
        let stand = Stand::start(flush_interval).await;
        stand.tell(&cluster()).await;
        stand.tell(&[version(100, "NetworkPolicy", "redis", policy("web"))]).await;
        stand.tell(&[version(110, "Pod", "loose", pod("loose", "10.0.0.3"))]).await;
        stand.tell(&[version(120, "NetworkPolicy", "other", policy("x"))]).await;
        stand.tell(&[version(130, "NetworkPolicy", "other", None)]).await;
        let rows = [
            row(50, "deny", None, 5),
            row(101, "allow", Some(0), 1),
            row(150, "allow", Some(0), 2),
            // It goes on: nothing was decided again, and the rule is still of use.
            row(160, "allow", Some(0), 0),
            row(170, "audit", None, 3),
            row(500, "allow", Some(0), 9),
        ];
        stand.push(1, batch(rows)).await;
        let time = "since=2026-01-01T00:00:00Z&until=2026-01-01T00:05:00Z";
        let review = stand.whole(&format!("policies/review?{time}&cluster=lab")).await;
        let cluster = &review["clusters"][0];
        assert_eq!(cluster["policies"].as_array().unwrap().len(), 1, "{review}");
        let redis = &cluster["policies"][0];
        let told = |key: &str| redis[key].clone();
        assert_eq!((told("allow"), told("deny"), told("audit")), (json!(0), json!(5), json!(3)));
        assert_eq!(told("last_hit"), "2026-01-01T00:02:50.000000000Z");
        assert_eq!(told("valid_from"), "2026-01-01T00:01:40.000000000Z");
        assert_eq!(told("selects"), json!({"count": 1, "pods": ["shop/redis"]}));
        let rule = json!({
            "direction": "ingress", "rule": 0, "allow": 3, "deny": 0, "audit": 0,
            "last_hit": "2026-01-01T00:02:40.000000000Z",
        });
        assert_eq!((told("rules"), told("never_hit")), (json!([rule]), json!(0)));
        let without = json!({"count": 2, "pods": ["shop/loose", "shop/web"]});
        assert_eq!(cluster["pods_without_policy"], without);
        assert_eq!(review["completeness"]["complete"], true);
        // Nothing was decided after that.
        let later = "policies/review?since=2026-01-01T00:10:00Z&until=2026-01-01T00:20:00Z";
        let later = stand.whole(later).await;
        let redis = &later["clusters"][0]["policies"][0];
        assert_eq!((&redis["never_hit"], &redis["last_hit"]), (&json!(1), &Value::Null));
        // Before anything was known.
        let early = "policies/review?since=2025-01-01T00:00:00Z&until=2025-01-02T00:00:00Z";
        assert_eq!(stand.whole(early).await["clusters"][0]["policies"], json!([]));

        let marks = stand.whole(&format!("histogram?{time}&step=1m")).await;
        let marks: Vec<Value> = marks["policy_changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|mark| json!([mark["bucket"], mark["name"], mark["what"]]))
            .collect();
        let expected = json!([
            [0, "redis", "added"],
            [1, "redis", "changed"],
            [2, "other", "added"],
            [2, "other", "removed"],
        ]);
        assert_eq!(json!(marks), expected);
    }
    let stand = Stand::start(Duration::from_secs(3600)).await;
    let response = stand.http.get(format!("{}/policies/review?cluster=x", stand.url)).send().await;
    assert_eq!(response.unwrap().status(), 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_and_pods_are_those_that_one_sees() {
    let (seer, stranger) = ("seer-has-a-long-secret", "stranger-has-a-long-secret");
    let access = AccessSettings {
        tokens: vec![token("seer", seer), token("stranger", stranger)],
        grants: vec![grant("seer", &["shop"], false), grant("stranger", &["other"], false)],
        ..AccessSettings::default()
    };
    let stand = Stand::start_with(Duration::from_secs(3600), Some(access)).await;
    let mut versions = cluster();
    let elsewhere = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "other", "name": "mine"},
        "spec": {"nodeName": "n1"}, "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.9"}]},
    });
    let mut pod = version(0, "Pod", "mine", Some(elsewhere.to_string()));
    pod.namespace = "other".into();
    versions.push(pod);
    stand.tell(&versions).await;
    stand.push(1, batch([row(50, "deny", None, 5)])).await;
    let time = "since=2026-01-01T00:00:00Z&until=2026-01-01T00:05:00Z";
    let get = async |secret: &str, path: &str| {
        let request = stand.http.get(format!("{}/{path}?{time}", stand.url)).bearer_auth(secret);
        let text = request.send().await.unwrap().text().await.unwrap();
        (serde_json::from_str::<Value>(&text).unwrap(), text)
    };
    let (own, text) = get(seer, "policies/review").await;
    let redis = &own["clusters"][0]["policies"][0];
    assert_eq!((&redis["deny"], &redis["selects"]["count"]), (&json!(5), &json!(1)), "{own}");
    // The peer matches nobody; whether anybody elsewhere is meant is not told.
    assert!(!text.contains("mine") && !text.contains("peer_matches_nothing"), "{own}");
    let (foreign, text) = get(stranger, "policies/review").await;
    let cluster = &foreign["clusters"][0];
    assert_eq!(cluster["policies"], json!([]), "{foreign}");
    assert_eq!(cluster["pods_without_policy"], json!({"count": 1, "pods": ["other/mine"]}));
    assert!(!text.contains("redis") && !text.contains("shop"), "{foreign}");
    let (own, _) = get(seer, "histogram").await;
    assert_eq!(own["policy_changes"].as_array().unwrap().len(), 1, "{own}");
    let (foreign, _) = get(stranger, "histogram").await;
    assert_eq!(
        (&foreign["policy_changes"], &foreign["series"]),
        (&json!([]), &json!([])),
        "{foreign}"
    );
}
