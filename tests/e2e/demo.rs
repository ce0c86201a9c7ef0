//! The founding tutorial, as a newcomer sees it.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::weir::{Service, binary, wait_for};

const DOORS: [&str; 8] = [
    "--http",
    "127.0.0.1:0",
    "--grpc",
    "127.0.0.1:0",
    "--postgres",
    "127.0.0.1:0",
    "--ingest",
    "127.0.0.1:0",
];

pub(crate) fn start(directory: &std::path::Path, name: &str) -> Service {
    let data = directory.join(format!("{name}-data"));
    let mut arguments = vec!["demo", "--data-dir", data.to_str().unwrap(), "--exit-after", "20m"];
    arguments.extend(DOORS);
    Service::start(directory, name, &arguments)
}

fn wait_for_the_rogue(demo: &Service) {
    let denied = wait_for("the rogue's deny", || {
        let rows = demo.sql(
            "select distinct source_pod, destination_workload, policy from flows \
             where verdict = 'deny' and source_pod = 'rogue' and destination_port = 6379",
        );
        (!rows.is_empty()).then_some(rows)
    });
    assert_eq!(
        denied,
        [json!({
            "source_pod": "rogue",
            "destination_workload": "redis-cluster",
            "policy": "default/redis-allow-from-backend",
        })]
    );
}

#[test]
fn the_rogue_is_allowed_then_denied_with_the_policy_that_did_it() {
    let directory = tempfile::tempdir().unwrap();
    let demo = start(directory.path(), "demo");
    wait_for_the_rogue(&demo);
    let before = demo.sql(
        "select distinct verdict, reason, policy from flows where source_pod = 'rogue' \
         and destination_workload = 'redis-cluster' and destination_port = 6379 \
         and direction = 'ingress' and verdict = 'allow' and count > 0",
    );
    assert_eq!(before, [json!({ "verdict": "allow", "reason": "no_policy", "policy": "" })]);
    let backend = wait_for("the backend's allow", || {
        let rows = demo.sql(
            "select distinct source_workload, policy, reason from flows where verdict = 'allow' \
             and destination_workload = 'redis-cluster' and direction = 'ingress' \
             and source_pod = 'backend' and policy <> '' and count > 0",
        );
        (!rows.is_empty()).then_some(rows)
    });
    assert_eq!(
        backend,
        [json!({
            "source_workload": "backend",
            "policy": "default/redis-allow-from-backend",
            "reason": "policy",
        })]
    );
    // The traffic that goes on afterwards: every part of it is there.
    for (what, condition) in [
        ("web to api", "source_workload = 'web' and destination_workload = 'api'"),
        ("api to db", "source_workload = 'api' and destination_workload = 'postgres'"),
        ("dns", "destination_port = 53 and protocol = 'UDP'"),
        ("from the internet", "source_kind = 'world' and destination_workload = 'web'"),
        ("to the internet", "destination_kind = 'world' and destination_port = 443"),
        ("the port scan", "source_pod = 'rogue' and destination_port < 1024 and verdict = 'deny'"),
    ] {
        wait_for(what, || {
            let count = format!("select count(*) as n from flows where {condition}");
            (demo.number(&count) > 0).then_some(())
        });
    }
    let follower = follow(&demo);
    assert_eq!(follower["verdict"], "deny");
    assert!(follower["policy"].as_str().is_some_and(|policy| !policy.is_empty()), "{follower}");
    gcloud_reads_denies(&demo);
    let log = demo.log();
    assert!(log.contains("PONG"), "{log}");
    assert!(demo.stop().success());
}

/// `gcloud logging read` with the filter of GKE's tutorial on network policy logging.
fn gcloud_reads_denies(demo: &Service) {
    let filter = "resource.type=\"k8s_node\" jsonPayload.disposition=\"deny\" \
                  resource.labels.location=\"europe-west1\" resource.labels.cluster_name=\"demo\" \
                  logName=\"projects/demo/logs/policy-action\"";
    let settings = tempfile::tempdir().unwrap();
    let output = Command::new("gcloud")
        .args(["logging", "read", filter, "--project=demo", "--limit=2", "--format=json"])
        .env("CLOUDSDK_CONFIG", settings.path())
        .env("CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING", format!("http://{}/", demo.door("http")))
        .env("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "true")
        .env("CLOUDSDK_CORE_DISABLE_USAGE_REPORTING", "true")
        .output()
        .expect("there is no gcloud: please install Google's package google-cloud-cli");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let entries: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(entries.as_array().unwrap().len(), 2, "{entries}");
    for entry in entries.as_array().unwrap() {
        assert_eq!(entry["jsonPayload"]["disposition"], "deny", "{entry}");
        assert_eq!(entry["resource"]["labels"]["location"], "europe-west1", "{entry}");
        assert!(entry["jsonPayload"]["count"].as_u64().unwrap() > 0, "{entry}");
    }
}

/// The first new denied flow that `weir observe --follow` prints.
fn follow(demo: &Service) -> Value {
    let url = format!("http://{}", demo.door("http"));
    let mut observing = Command::new(binary())
        .args(["observe", "--url", &url, "--verdict", "deny", "--last", "0", "--follow"])
        .args(["--output", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(observing.stdout.take().unwrap()).read_line(&mut line).unwrap();
    observing.kill().unwrap();
    observing.wait().unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn what_a_killed_demo_left_is_removed_by_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let first = start(directory.path(), "first");
    let prefix = format!("weir-{}-", first.pid());
    let left_behind = || {
        let entries = std::fs::read_dir("/run/netns").unwrap();
        entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
            .count()
    };
    assert!(left_behind() > 0);
    first.kill();
    let second = start(directory.path(), "second");
    wait_for_the_rogue(&second);
    assert_eq!(left_behind(), 0);
    assert!(second.stop().success());
}
