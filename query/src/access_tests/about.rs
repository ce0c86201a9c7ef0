//! What is told about the service and the clusters: of names, those in granted namespaces.

use serde_json::{Value, json};
use weir_flow::wire::{CollectorSeen, CollectorStatus, IntervalStatus, PodStatus, RelayStatus};

use super::{ALICE, ROOT, stand};
use crate::testing::Stand;

async fn get(stand: &Stand, token: &str, path: &str) -> Value {
    let request = stand.client.get(format!("{}{path}", stand.url)).bearer_auth(token);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    response.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_names_what_is_granted_and_counts_everything() {
    let directory = tempfile::tempdir().unwrap();
    let stand = stand(directory.path()).await;
    let pod = |namespace: &str| PodStatus {
        namespace: namespace.into(),
        name: format!("pod-of-{namespace}"),
        ..PodStatus::default()
    };
    let interval = |namespace: &str| IntervalStatus {
        namespace: namespace.into(),
        ..IntervalStatus::default()
    };
    let status = CollectorStatus {
        cluster: "test".into(),
        node: "node-0".into(),
        pods: vec![pod("ns-1"), pod("ns-2")],
        intervals: vec![interval(""), interval("ns-1"), interval("ns-2")],
        unenforced_pods: vec!["ns-1/a: no veth".into(), "ns-2/b: no veth".into()],
        problems: vec!["ns-2.yaml: policy ns-2/c cannot be read".into()],
        ..CollectorStatus::default()
    };
    let collectors = vec![CollectorSeen {
        collector: "test/node-0".into(),
        epoch: 1,
        sequence: 1,
        last_seen_ns: u64::MAX / 2,
        status: Some(status),
    }];
    stand.relay.set_status(RelayStatus { collectors, ..RelayStatus::default() });
    let all = get(&stand, ROOT, "/api/v1/status").await;
    assert!(all.to_string().matches("ns-2").count() > 5, "{all}");
    let own = get(&stand, ALICE, "/api/v1/status").await;
    assert!(!own.to_string().contains("ns-2"), "{own}");
    let collector = &own["relay"]["status"]["collectors"][0]["status"];
    assert_eq!(collector["pods"][0]["name"], "pod-of-ns-1", "{own}");
    assert_eq!(own["enforcing"]["unenforced_pods"], json!(["ns-1/a: no veth"]), "{own}");
    for key in ["unenforced_count", "problem_count", "summary"] {
        assert_eq!(own["enforcing"][key], all["enforcing"][key], "{own}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_intervals_would_make_is_counted_of_granted_rows() {
    let directory = tempfile::tempdir().unwrap();
    let stand = stand(directory.path()).await;
    let path = |namespace: &str| {
        format!(
            "/api/v1/intervals/preview?namespace={namespace}&since=2026-01-01T00:00:00Z&until=2026-01-02T00:00:00Z"
        )
    };
    for (namespace, token, some) in
        [("ns-2", ROOT, true), ("ns-2", ALICE, false), ("ns-1", ALICE, true), ("", ALICE, true)]
    {
        let preview = get(&stand, token, &path(namespace)).await;
        assert_eq!(preview["rows"].as_u64().unwrap() > 0, some, "{namespace}: {preview}");
        assert!(preview["rows"].as_u64().unwrap() < 40, "{preview}");
        let made = preview["intervals"].as_array().unwrap().iter();
        assert!(some || made.clone().all(|interval| interval["rows"] == 0), "{preview}");
    }
}
