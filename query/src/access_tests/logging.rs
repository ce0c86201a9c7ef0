//! The Cloud Logging API, by REST and by gRPC: the entries of a principal are of its rows.

use serde_json::{Value, json};

use super::{ALICE, ROOT, ask, stand};
use crate::testing::{Stand, batch, flow, python};

/// All entries that a filter gives, page by page.
async fn entries(stand: &Stand, token: &str, filter: &str) -> Vec<Value> {
    let (mut entries, mut page) = (Vec::new(), String::new());
    loop {
        let body = json!({"resourceNames": ["projects/p"], "filter": filter, "pageSize": 7, "pageToken": page});
        let request =
            stand.client.post(format!("{}/v2/entries:list", stand.url)).bearer_auth(token);
        let response = request.json(&body).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let answer: Value = response.json().await.unwrap();
        entries.extend(answer["entries"].as_array().cloned().unwrap_or_default());
        match answer["nextPageToken"].as_str() {
            Some(next) if !next.is_empty() => next.clone_into(&mut page),
            _ => return entries,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rest_lists_a_principal_its_entries_only() {
    let directory = tempfile::tempdir().unwrap();
    let stand = stand(directory.path()).await;
    let own = "select count(*) as n from flows where source_namespace = 'ns-1'";
    let own = ask(&stand, ROOT, own).await.1["rows"][0]["n"].as_u64().unwrap();
    assert_eq!(entries(&stand, ROOT, "").await.len(), 60);
    let seen = entries(&stand, ALICE, "").await;
    assert_eq!(seen.len() as u64, own);
    for entry in &seen {
        assert_eq!(entry["jsonPayload"]["src"]["pod_namespace"], "ns-1", "{entry}");
    }
    for filter in [
        "source_namespace=\"ns-2\"",
        "NOT source_namespace=\"ns-1\"",
        "source_pod=\"Pod-2\" OR source_namespace=NULL_VALUE",
        "\"ns-2\"",
        "source_pod=~\"^Pod-2$\"",
    ] {
        assert_eq!(entries(&stand, ALICE, filter).await, [] as [Value; 0], "{filter}");
        assert!(!entries(&stand, ROOT, filter).await.is_empty(), "{filter}");
    }
    // A token that root was given shows alice no row of root's.
    let list = json!({"resourceNames": ["projects/p"], "pageSize": 3});
    let url = format!("{}/v2/entries:list", stand.url);
    let first = stand.client.post(&url).bearer_auth(ROOT).json(&list).send().await.unwrap();
    let first: Value = first.json().await.unwrap();
    let mut next = list.clone();
    next["pageToken"] = first["nextPageToken"].clone();
    next["pageSize"] = json!(100);
    let next = stand.client.post(&url).bearer_auth(ALICE).json(&next).send().await.unwrap();
    let next: Value = next.json().await.unwrap();
    for entry in next["entries"].as_array().unwrap() {
        assert_eq!(entry["jsonPayload"]["src"]["pod_namespace"], "ns-1", "{entry}");
    }
    // What a metric counts everybody reads, so it is for those who see everything.
    let metrics = format!("{}/v2/projects/p/metrics", stand.url);
    let metric = json!({"name": "m", "filter": "source_namespace=\"ns-2\""});
    for (token, code) in [(ALICE, 403), (ROOT, 200)] {
        let made = stand.client.post(&metrics).bearer_auth(token).json(&metric).send().await;
        assert_eq!(made.unwrap().status(), code);
    }
    for path in ["/v2/projects/p/metrics", "/v2/projects/p/logs", "/api/v1/library"] {
        assert_eq!(stand.get(path).await.0, 401, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_lists_and_tails_a_principal_its_entries_only() {
    let directory = tempfile::tempdir().unwrap();
    let stand = stand(directory.path()).await;
    let feeder = async {
        for number in (100..).step_by(9) {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            stand.relay.push(batch((number..number + 9).map(flow)));
        }
    };
    let arguments = [stand.grpc.as_str(), ALICE, ROOT];
    let printed = tokio::select! {
        printed = python(include_str!("logging.py"), &arguments) => printed,
        () = feeder => unreachable!("it feeds for ever"),
    };
    assert_eq!(printed.trim(), "passed");
}
