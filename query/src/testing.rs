//! What tests need: a relay that speaks real Flight on a real socket, a query service in front of
//! it, and flows.

mod gcloud;
mod relay;
mod store;

use std::net::SocketAddr;
use std::path::PathBuf;

use arrow::record_batch::RecordBatch;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use weir_flow::schema::loss::{LossBuilder, LossRow};
use weir_flow::schema::{LabelMap, TimestampNs};
use weir_flow::values::PolicyRule;
use weir_flow::{Flow, FlowBuilder};

pub(crate) use gcloud::{Ran, gcloud, gcloud_shell};
pub(crate) use relay::FakeRelay;
pub(crate) use store::FakeStore;

use crate::{Limits, Query, QueryConfig};

/// 2026-01-01T00:00:00Z.
pub(crate) const BEGIN_NS: i64 = 1_767_225_600_000_000_000;
/// The distance between flows of neighbouring numbers.
pub(crate) const STEP_NS: i64 = 1_000_000_000;

/// A flow that differs from those of other numbers.
pub(crate) fn flow(number: u64) -> Flow {
    let time = BEGIN_NS + i64::try_from(number).unwrap() * STEP_NS;
    let deny = number.is_multiple_of(3);
    let icmp = number % 7 == 5;
    Flow {
        time: TimestampNs(time),
        end_time: TimestampNs(time + 5),
        cluster: "test".into(),
        node: format!("node-{}", number % 2),
        direction: if number.is_multiple_of(2) { "ingress" } else { "egress" }.into(),
        verdict: if deny { "deny" } else { "allow" }.into(),
        reason: if deny { "default_deny" } else { "policy" }.into(),
        policies: vec![PolicyRule {
            kind: "NetworkPolicy".into(),
            namespace: "default".into(),
            name: "redis".into(),
            rule: (!deny).then_some(1),
        }],
        policy: "default/redis".into(),
        policy_revision: u64::MAX - number,
        protocol: if icmp { "ICMP" } else { "TCP" }.into(),
        source_ip: format!("10.0.0.{}", number % 200 + 1),
        source_port: (!icmp).then(|| 40_000 + u16::try_from(number % 1_000).unwrap()),
        destination_ip: "10.0.1.1".into(),
        destination_port: (!icmp).then_some(6379),
        tcp_flags: (!icmp).then_some(2),
        icmp_type: icmp.then_some(8),
        icmp_code: icmp.then_some(0),
        source_kind: "pod".into(),
        source_namespace: (!number.is_multiple_of(5)).then(|| format!("ns-{}", number % 3)),
        source_pod: Some(format!("Pod-{number}")),
        source_workload_kind: Some("Pod".into()),
        source_workload: Some("rogue".into()),
        source_labels: LabelMap::from([("app".into(), "a,\"b\"".into())]),
        source_node: None,
        source_names: vec![],
        destination_kind: "pod".into(),
        destination_namespace: Some("default".into()),
        destination_pod: Some("redis-0".into()),
        destination_workload_kind: Some("StatefulSet".into()),
        destination_workload: Some("redis".into()),
        destination_labels: LabelMap::new(),
        destination_node: None,
        destination_names: vec!["redis.default.svc".into()],
        destination_service: None,
        count: 1,
        packets: number,
        bytes: number * 100,
        reply_packets: 0,
        reply_bytes: 0,
        duration_ns: None,
        rtt_ns: (!deny).then_some(number * 1_000),
        state: "open".into(),
    }
}

/// A batch of flows.
pub(crate) fn batch(flows: impl IntoIterator<Item = Flow>) -> RecordBatch {
    let mut builder = FlowBuilder::default();
    for flow in flows {
        builder.append(&flow);
    }
    builder.finish()
}

/// An entry of the ledger for the second of the flow of that number.
pub(crate) fn loss(number: u64, stage: &str, verdict: &str, count: u64) -> LossRow {
    let time = BEGIN_NS + i64::try_from(number).unwrap() * STEP_NS;
    LossRow {
        time: TimestampNs(time),
        end_time: TimestampNs(time + STEP_NS / 2),
        cluster: "test".into(),
        node: "node-1".into(),
        stage: stage.into(),
        verdict: verdict.into(),
        unit: "verdicts".into(),
        count,
        reason: "full".into(),
    }
}

/// A batch of the ledger.
pub(crate) fn losses(rows: impl IntoIterator<Item = LossRow>) -> RecordBatch {
    let mut builder = LossBuilder::default();
    for row in rows {
        builder.append(&row);
    }
    builder.finish()
}

/// A query service with fake relays behind it.
pub(crate) struct Stand {
    pub(crate) relay: FakeRelay,
    /// A second relay that writes the same store, where there is one.
    pub(crate) other: Option<FakeRelay>,
    pub(crate) store: tempfile::TempDir,
    pub(crate) url: String,
    /// Host and port of gRPC.
    pub(crate) grpc: String,
    /// Host and port of the Postgres wire.
    pub(crate) postgres: SocketAddr,
    pub(crate) client: reqwest::Client,
    relay_token: CancellationToken,
    other_token: CancellationToken,
    query_token: CancellationToken,
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.relay_token.cancel();
        self.other_token.cancel();
        self.query_token.cancel();
    }
}

impl Stand {
    pub(crate) async fn new() -> Self {
        Self::with_limits(Limits { threads: 2, ..Limits::default() }).await
    }

    pub(crate) async fn with_limits(limits: Limits) -> Self {
        Self::start(QueryConfig { limits, ..QueryConfig::default() }, false).await
    }

    /// With two threads and more settings.
    pub(crate) async fn with(config: QueryConfig) -> Self {
        let limits = Limits { threads: 2, ..config.limits.clone() };
        Self::start(QueryConfig { limits, ..config }, false).await
    }

    /// With two relays.
    pub(crate) async fn with_two_relays() -> Self {
        let limits = Limits { threads: 2, ..Limits::default() };
        Self::start(QueryConfig { limits, ..QueryConfig::default() }, true).await
    }

    async fn start(config: QueryConfig, two: bool) -> Self {
        let store = tempfile::tempdir().unwrap();
        let files = FakeStore::new(store.path());
        let relay = FakeRelay::new(&files, 1);
        let other = two.then(|| FakeRelay::new(&files, 1_000_000));
        let relay_token = CancellationToken::new();
        let other_token = CancellationToken::new();
        let mut relays = vec![relay.serve(relay_token.clone())];
        relays.extend(other.iter().map(|other| other.serve(other_token.clone())));
        let config = QueryConfig {
            http: "127.0.0.1:0".parse().unwrap(),
            grpc: "127.0.0.1:0".parse().unwrap(),
            postgres: "127.0.0.1:0".parse().unwrap(),
            relays,
            store: store.path().into(),
            state: Some(store.path().join("query-state")),
            ..config
        };
        let query = Query::bind(config).await.unwrap();
        let url = format!("http://{}", query.addresses().http);
        let postgres = query.addresses().postgres;
        let grpc = query.addresses().grpc.to_string();
        let query_token = CancellationToken::new();
        tokio::spawn(query.run(query_token.clone()));
        let client = reqwest::Client::new();
        Self {
            relay,
            other,
            store,
            url,
            grpc,
            postgres,
            client,
            relay_token,
            other_token,
            query_token,
        }
    }

    /// Ends the first relay.
    pub(crate) fn stop_relay(&self) {
        self.relay_token.cancel();
    }

    /// Status and body of a GET.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let response = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Status and JSON body of a GET of flows.
    pub(crate) async fn flows(&self, parameters: &[(&str, &str)]) -> (u16, Value) {
        let url =
            reqwest::Url::parse_with_params(&format!("{}/api/v1/flows", self.url), parameters);
        let response = self.client.get(url.unwrap()).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub(crate) async fn post(&self, body: Value) -> reqwest::Response {
        let request = self.client.post(format!("{}/api/v1/sql", self.url));
        request.json(&body).send().await.unwrap()
    }

    /// Status and JSON body of SQL.
    pub(crate) async fn sql(&self, sql: &str) -> (u16, Value) {
        let response = self.post(json!({"sql": sql})).await;
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// The rows of SQL that must succeed.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<Value> {
        let (status, body) = self.sql(sql).await;
        assert_eq!(status, 200, "{sql}: {body}");
        assert!(body.get("error").is_none(), "{sql}: {body}");
        body["rows"].as_array().unwrap().clone()
    }

    /// The message of SQL that must fail with this code.
    pub(crate) async fn refused(&self, sql: &str, code: u16) -> String {
        let (status, body) = self.sql(sql).await;
        let shown: String = sql.chars().take(200).collect();
        assert_eq!(status, code, "{shown}: {body}");
        assert_eq!(body["error"]["code"], code);
        assert!(!body["error"]["status"].as_str().unwrap().is_empty());
        body["error"]["message"].as_str().unwrap().to_owned()
    }
}

/// Where `scripts/setup` puts what is no package of the system.
pub(crate) fn cache() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    std::env::var_os("WEIR_CACHE").map_or_else(|| home.join(".cache/weir"), Into::into)
}

/// What a Python program prints, with the packages of `scripts/setup test`.
pub(crate) async fn python(program: &str, arguments: &[&str]) -> String {
    let python = cache().join("python/bin/python");
    assert!(python.exists(), "there is no {}: run scripts/setup test", python.display());
    let mut command = tokio::process::Command::new(python);
    command.args(["-c", program]).args(arguments).kill_on_drop(true);
    let output = command.output().await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}
