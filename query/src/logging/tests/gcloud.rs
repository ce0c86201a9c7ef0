//! `gcloud logging`, unmodified: what it reads, lists, makes and is refused.

use serde_json::{Value, json};
use weir_flow::Flow;
use weir_flow::schema::TimestampNs;

use super::now_ns;
use crate::testing::{Ran, Stand, batch, flow, gcloud};

/// More than a page of gcloud's has: it asks for 1,000 at once.
const RECENT: u64 = 2_400;

/// Flows of the last minutes, since gcloud asks for those of a day; every third is a deny.
fn recent(number: u64) -> Flow {
    let mut row = flow(number);
    let age_ns = i64::try_from(RECENT - number).unwrap() * 10_000_000;
    row.time = TimestampNs(now_ns() - age_ns);
    row.end_time = row.time;
    row
}

/// A service with recent flows, and gcloud in front of it.
struct Desk {
    stand: Stand,
    directory: tempfile::TempDir,
}

impl Desk {
    async fn new() -> Self {
        let stand = Stand::new().await;
        stand.relay.push(batch((0..RECENT).map(recent)));
        Self { stand, directory: tempfile::tempdir().unwrap() }
    }

    async fn run(&self, command: &str) -> Ran {
        let settings = [
            ("CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING", format!("{}/", self.stand.url)),
            ("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "true".to_owned()),
            ("CLOUDSDK_CORE_PROJECT", "demo".to_owned()),
        ];
        gcloud(self.directory.path(), &settings, command).await
    }

    /// What a command prints that must succeed.
    async fn printed(&self, command: &str) -> String {
        let ran = self.run(command).await;
        assert!(ran.succeeded, "{command}: {}", ran.complaint);
        ran.printed
    }

    /// The entries of a `gcloud logging read` that must succeed.
    async fn entries(&self, more: &str) -> Vec<Value> {
        let text = self.printed(&format!("gcloud logging read --format=json {more}")).await;
        serde_json::from_str::<Value>(&text).unwrap().as_array().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gcloud_reads_entries() {
    let desk = Desk::new().await;
    // The filter of GKE's tutorial on network policy logging, put together by a shell as there.
    let tutorial = r#"projectId=demo clusterLocation=europe-west1 clusterName=test
filter="resource.type=\"k8s_node\" "\
"jsonPayload.disposition=\"deny\" "\
"resource.labels.location=\"${clusterLocation}\" "\
"resource.labels.cluster_name=\"${clusterName}\" "\
"logName=\"projects/${projectId}/logs/policy-action\""
gcloud logging read --project $projectId "$filter""#;
    let printed = desk.printed(tutorial).await;
    assert_eq!(printed.matches("disposition: deny").count() as u64, RECENT / 3);
    assert!(printed.contains("location: europe-west1"), "{printed}");

    let denies = desk.entries("'jsonPayload.disposition=\"deny\"'").await;
    assert_eq!(denies.len() as u64, RECENT / 3);
    let all = desk.entries("").await;
    assert_eq!(all.len() as u64, RECENT);
    let times: Vec<&str> = all.iter().map(|entry| entry["timestamp"].as_str().unwrap()).collect();
    assert!(times.windows(2).all(|pair| pair[0] >= pair[1]), "latest first");
    let oldest = desk.entries("--order=asc --limit=3 --freshness=1h").await;
    assert_eq!(oldest, all.iter().rev().take(3).cloned().collect::<Vec<_>>());
    let none = desk.entries("--freshness=1s 'verdict=deny AND verdict=allow'").await;
    assert!(none.is_empty(), "{none:?}");
    let view = "--bucket=_Default --location=global --view=_AllLogs --limit=2";
    assert_eq!(desk.entries(view).await.len(), 2);
    let cell = "--format='value(jsonPayload.dest.workload_name)' --limit=1";
    assert_eq!(desk.printed(&format!("gcloud logging read verdict=deny {cell}")).await, "redis\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gcloud_lists_and_keeps_metrics() {
    let desk = Desk::new().await;
    assert!(
        desk.printed("gcloud logging logs list").await.contains("projects/demo/logs/policy-action")
    );
    assert!(desk.printed("gcloud logging resource-descriptors list").await.contains("k8s_node"));
    assert_eq!(desk.printed("gcloud logging sinks list").await, "");
    let made =
        "gcloud logging metrics create denies --description=all --log-filter='verdict=\"deny\"'";
    desk.printed(made).await;
    let again = desk.run(made).await;
    assert!(!again.succeeded && again.complaint.contains("denies"), "{again:?}");
    let listed = desk.printed("gcloud logging metrics list").await;
    assert!(listed.contains("denies"), "{listed}");
    desk.printed("gcloud logging metrics update denies --log-filter='verdict=\"allow\"'").await;
    let kept = desk.printed("gcloud logging metrics describe denies --format=json").await;
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(
        (&kept["filter"], &kept["description"]),
        (&json!("verdict=\"allow\""), &json!("all"))
    );
    desk.printed("gcloud logging metrics delete denies --quiet").await;
    assert!(!desk.printed("gcloud logging metrics list").await.contains("denies"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gcloud_tells_what_is_refused() {
    let desk = Desk::new().await;
    for (command, part) in [
        ("read 'thud=1'", "line 1, column "),
        ("read 'verdict='", "line 1, column "),
        ("write policy-action hello", "read-only"),
        ("logs delete policy-action --quiet", "read-only"),
        ("metrics describe nothing", "nothing"),
        ("metrics create odd --description=d --log-filter=thud=1", "line 1, column 1"),
    ] {
        let ran = desk.run(&format!("gcloud logging {command}")).await;
        assert!(!ran.succeeded && ran.complaint.contains(part), "{command}: {ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_of_the_page_works() {
    let desk = Desk::new().await;
    let page = include_str!("../../../../docs/CLOUD-LOGGING.md");
    let command = page.split("```\n").find(|part| part.contains("\ngcloud logging read")).unwrap();
    let command = command.replace("http://127.0.0.1:8080", &desk.stand.url);
    let ran = gcloud(desk.directory.path(), &[], &command).await;
    assert!(ran.succeeded, "{}", ran.complaint);
    let entries: Value = serde_json::from_str(&ran.printed).unwrap();
    assert_eq!(entries.as_array().unwrap().len(), 2);
    assert_eq!(entries[0]["jsonPayload"]["disposition"], "deny");
}
