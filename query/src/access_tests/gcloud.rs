//! `gcloud logging` by TLS, with a token in a file: each principal reads and tails its entries only.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use weir_flow::schema::TimestampNs;

use super::certificates::{certificates, tls};
use super::{ALICE, ROOT, grant, token};
use crate::testing::{Stand, batch, flow, gcloud, gcloud_shell};
use crate::{AccessSettings, QueryConfig};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gcloud_comes_with_a_token() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    certificates(place);
    for (name, secret) in [("alice", ALICE), ("root", ROOT), ("stranger", "guessed-by-somebody")] {
        std::fs::write(place.join(name), secret).unwrap();
    }
    let access = AccessSettings {
        tokens: vec![token("alice", ALICE), token("root", ROOT)],
        grants: vec![grant("alice", &["ns-1"], false), grant("root", &["*"], true)],
        ..AccessSettings::default()
    };
    let config =
        QueryConfig { access: Some(access), tls: Some(tls(place)), ..QueryConfig::default() };
    let stand = Stand::with(config).await;
    let recent = |number: u64| {
        let mut row = flow(number);
        row.time = TimestampNs(i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap());
        row
    };
    stand.relay.push(batch((0..60).map(recent)));
    let endpoint = |url: &str| format!("https://localhost:{}/", url.rsplit(':').next().unwrap());
    let settings = |endpoint: &str, who: &str| {
        [
            ("CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING", endpoint.to_owned()),
            ("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", place.join("root.pem").display().to_string()),
            ("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", place.join(who).display().to_string()),
            ("CLOUDSDK_CORE_PROJECT", "demo".to_owned()),
        ]
    };
    let pods = "--format='value(jsonPayload.src.pod_namespace)'";

    let http = endpoint(&stand.url);
    for (who, expected) in [("alice", 16), ("root", 60)] {
        let ran =
            gcloud(place, &settings(&http, who), &format!("gcloud logging read '' {pods}")).await;
        assert!(ran.succeeded, "{}", ran.complaint);
        let lines: Vec<&str> = ran.printed.lines().collect();
        assert_eq!(lines.len(), expected, "{who}: {}", ran.printed);
        assert_eq!(lines.iter().all(|line| *line == "ns-1"), who == "alice");
    }
    let ran = gcloud(place, &settings(&http, "stranger"), "gcloud logging read ''").await;
    assert!(!ran.succeeded && ran.complaint.contains("UNAUTHENTICATED"), "{ran:?}");

    let grpc = endpoint(&stand.grpc);
    let command =
        format!("exec gcloud beta logging tail 'verdict=allow' --buffer-window=1s {pods}");
    let mut tail = gcloud_shell(place, &settings(&grpc, "alice"))
        .args(["-c", &command])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut number = 60;
    let mut seen = 0;
    let tailed = async {
        while seen < 5 {
            tokio::select! {
                line = lines.next_line() => {
                    assert_eq!(line.unwrap().expect("the tail goes on"), "ns-1");
                    seen += 1;
                }
                () = tokio::time::sleep(Duration::from_millis(200)) => {
                    stand.relay.push(batch((number..number + 15).map(recent)));
                    number += 15;
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), tailed).await.expect("new entries are tailed");
    tail.kill().await.unwrap();
}
