use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::DOCUMENT;
use crate::http::{open_routes, routes};
use crate::state_tests::{Stand, cluster};
use crate::testing::{batch, flow, python};

#[test]
fn every_call_is_in_the_document_and_nothing_else() {
    let served: Vec<String> = routes()
        .into_iter()
        .chain(open_routes())
        .map(|(method, path, _)| format!("{method} {path}"))
        .collect();
    let documented: BTreeSet<String> = super::calls().split(", ").map(str::to_owned).collect();
    assert_eq!(served.len(), documented.len());
    assert_eq!(served.into_iter().collect::<BTreeSet<_>>(), documented);
}

#[test]
fn the_file_that_clients_are_made_from_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    let document = serde_json::to_string_pretty(&*DOCUMENT).unwrap() + "\n";
    if std::env::var_os("WEIR_UPDATE").is_some() {
        std::fs::write(path, &document).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, document, "run `WEIR_UPDATE=1 cargo test` to write {path} anew");
}

/// Asks, and notes what came.
struct Asker {
    stand: Stand,
    samples: Vec<Value>,
}

impl Asker {
    /// `path` is as in the document; what is in braces there comes from `url`.
    async fn ask(&mut self, method: &str, path: &str, url: &str, sent: Option<Value>) -> Value {
        let base = self.stand.url.trim_end_matches("/api/v1");
        let request =
            self.stand.http.request(method.parse::<Method>().unwrap(), format!("{base}{url}"));
        let request = match &sent {
            Some(body) => request.json(body),
            None => request,
        };
        let built = request.build().unwrap();
        let query: Vec<String> =
            built.url().query_pairs().map(|(key, _)| key.into_owned()).collect();
        let mut response = self.stand.http.execute(built).await.unwrap();
        let status = response.status().as_u16();
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        let body = match kind.as_str() {
            // It has no end.
            "text/event-stream" => String::new(),
            _ => {
                let mut bytes = Vec::new();
                while let Some(chunk) = response.chunk().await.unwrap() {
                    bytes.extend(chunk);
                }
                String::from_utf8_lossy(&bytes).into_owned()
            }
        };
        let told = serde_json::from_str(&body).unwrap_or_default();
        self.samples.push(json!({
            "method": method, "path": path, "query": query, "sent": sent,
            "status": status, "type": kind, "body": body,
        }));
        told
    }

    async fn get(&mut self, path: &str, query: &str) -> Value {
        self.ask("GET", path, &format!("{path}{query}"), None).await
    }

    async fn post(&mut self, path: &str, body: Value) -> Value {
        self.ask("POST", path, path, Some(body)).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_what_the_document_says() {
    let stand = Stand::start(Duration::from_secs(3_600)).await;
    stand.tell(&cluster()).await;
    stand.push(1, batch((0..30).map(flow))).await;
    let mut asker = Asker { stand, samples: vec![] };
    for path in [
        "/",
        "/api",
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/api/v1/schema",
        "/api/v1/status",
    ] {
        asker.get(path, "").await;
    }
    for path in [
        "/api/v1/library",
        "/api/v1/session",
        "/api/v1/intervals/preview",
        "/v2/monitoredResourceDescriptors",
    ] {
        asker.get(path, "").await;
    }
    let time = "since=2026-01-01T00:00:00Z&until=2026-01-01T00:05:00Z";
    for format in ["json", "ndjson", "csv", "arrow", "parquet"] {
        for path in ["/api/v1/flows", "/api/v1/loss"] {
            asker.get(path, &format!("?{time}&limit=5&format={format}")).await;
        }
        for path in ["/api/v1/policies", "/api/v1/endpoints"] {
            asker.get(path, &format!("?at=2026-01-01T00:05:00Z&format={format}")).await;
        }
        asker.post("/api/v1/sql", json!({"sql": "select 1 as one", "format": format})).await;
    }
    asker.get("/api/v1/flows", "?filter=verdict%3Ddeny&order=asc").await;
    asker.get("/api/v1/flows", "?filter=x%3D1").await;
    asker.get("/api/v1/flows/tail", "?filter=verdict%3Ddeny").await;
    asker.get("/api/v1/histogram", &format!("?{time}&by=verdict,reason&step=1m")).await;
    asker.get("/api/v1/histogram", "?buckets=10").await;
    asker
        .get(
            "/api/v1/facets",
            &format!("?{time}&fields=source_pod,destination_port&limit=3&prefix=6"),
        )
        .await;
    asker.get("/api/v1/groups", &format!("?{time}&limit=3&buckets=5&filter=verdict%3Ddeny")).await;
    asker.get("/api/v1/policies/review", &format!("?{time}&cluster=lab")).await;
    asker.post("/api/v1/filter", json!({"filter": "verdict=deny count=x"})).await;
    asker.post("/api/v1/filter", json!({"filter": "verdikt=deny"})).await;
    let question = json!({"from": "shop/web", "to": "shop/redis", "port": 6379});
    asker.post("/api/v1/policies/explain", question).await;
    asker.post("/api/v1/policies/explain", json!({"from": "shop/web"})).await;

    let page = asker
        .post("/api/v1/sql", json!({"sql": "select packets from flows", "page_size": 7}))
        .await;
    let next = json!({"page_token": page["next_page_token"], "page_size": 7});
    assert_eq!(asker.post("/api/v1/sql", next).await["row_count"], 7);
    asker.post("/api/v1/sql", json!({"page_token": "1-1-1"})).await;
    asker.post("/api/v1/sql", json!({"sql": "selekt"})).await;

    asker.post("/api/v1/session", json!({"token": "any"})).await;
    asker.ask("DELETE", "/api/v1/session", "/api/v1/session", None).await;
    let endless =
        "select count(*) from generate_series(1, 9000000) a, generate_series(1, 9000000) b";
    let running =
        asker.stand.http.post(format!("{}/sql", asker.stand.url)).json(&json!({"sql": endless}));
    let running = tokio::spawn(running.send());
    let id = loop {
        let list = asker.get("/api/v1/queries", "").await;
        if let Some(query) = list["queries"].as_array().unwrap().first() {
            break query["id"].clone();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let one = "/api/v1/queries/{id}";
    asker.ask("DELETE", one, &format!("/api/v1/queries/{id}"), None).await;
    asker.ask("DELETE", one, "/api/v1/queries/987654", None).await;
    assert_eq!(running.await.unwrap().unwrap().status(), 409);

    asker
        .post("/v2/entries:list", json!({"resourceNames": ["projects/demo"], "pageSize": 3}))
        .await;
    for path in ["/v2/entries:write", "/v2/entries:tail"] {
        asker.post(path, json!({})).await;
    }
    for what in ["logs", "sinks"] {
        asker
            .ask(
                "GET",
                &format!("/v2/{{kind}}/{{id}}/{what}"),
                &format!("/v2/projects/demo/{what}"),
                None,
            )
            .await;
    }
    let log = "/v2/projects/demo/logs/policy-action";
    asker.ask("DELETE", "/v2/{kind}/{id}/logs/{log}", log, None).await;
    let (all, one) = ("/v2/projects/{project}/metrics", "/v2/projects/{project}/metrics/{metric}");
    let metric = json!({"name": "denies", "filter": "verdict=\"deny\""});
    asker.ask("POST", all, "/v2/projects/demo/metrics", Some(metric.clone())).await;
    asker.ask("POST", all, "/v2/projects/demo/metrics", Some(metric.clone())).await;
    asker.ask("GET", all, "/v2/projects/demo/metrics", None).await;
    asker.ask("PUT", one, "/v2/projects/demo/metrics/denies", Some(metric)).await;
    asker.ask("GET", one, "/v2/projects/demo/metrics/denies", None).await;
    asker.ask("DELETE", one, "/v2/projects/demo/metrics/denies", None).await;
    asker.ask("GET", one, "/v2/projects/demo/metrics/denies", None).await;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("answers.json");
    let given = json!({"document": *DOCUMENT, "samples": asker.samples});
    std::fs::write(&path, given.to_string()).unwrap();
    let wrong = python(include_str!("answers.py"), &[path.to_str().unwrap()]).await;
    assert_eq!(wrong.trim(), "");
}
