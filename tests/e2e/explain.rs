//! A deny is explained over HTTP by what collectors told: now, and after the policy has changed and
//! the collectors are gone.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use weir_lab::LabSpec;

use crate::cluster::{Cluster, address};
use crate::weir::wait_for;

fn policy(from: &str) -> String {
    format!(
        "# owned by the shop\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata:\n  namespace: default\n  name: server\nspec:\n  podSelector:\n    matchLabels:\n      \
         app: server\n  ingress:\n    - from:\n        - podSelector:\n            matchLabels:\n              \
         app: {from}\n"
    )
}

fn explain(cluster: &Cluster, question: Value) -> Value {
    let (status, body) = cluster.query.request("POST", "/api/v1/policies/explain", Some(question));
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn a_deny_is_explained_by_the_policy_of_then() {
    let directory = tempfile::tempdir().unwrap();
    let spec = LabSpec::default()
        .node("node-1", &["192.168.93.1".parse().unwrap()])
        .pod("node-1", "default/client", &["10.93.1.1".parse().unwrap()])
        .pod("node-1", "default/server", &["10.93.1.2".parse().unwrap()]);
    let mut cluster = Cluster::start(directory.path(), &spec);
    let to = SocketAddr::new(address(&spec, "default/server"), 9000);
    let listener = cluster.pod("default/server").enter(|| TcpListener::bind(to).unwrap()).unwrap();
    cluster.write_manifest("policy.yaml", &policy("nobody"));
    cluster.wait_until_policies(1);
    let client = cluster.pod("default/client").clone();
    let connects = || {
        let connect = || TcpStream::connect_timeout(&to, Duration::from_millis(300)).is_ok();
        client.enter(connect).unwrap()
    };
    assert!(!connects());
    let denied = wait_for("the deny to be recorded", || {
        let (_, body) = cluster.query.request("GET", "/api/v1/flows?filter=verdict%3Ddeny", None);
        let body: Value = serde_json::from_str(&body).unwrap();
        body["rows"].as_array()?.last().cloned()
    });

    let question = json!({"from": "default/client", "to": "default/server", "port": 9000});
    let now = explain(&cluster, question.clone());
    let explanation = &now["explanation"];
    assert_eq!(explanation["verdict"], "deny", "{now}");
    let isolating = &explanation["answers"][0]["ingress"]["isolated_by"][0];
    assert_eq!(
        (&isolating["namespace"], &isolating["name"]),
        (&json!("default"), &json!("server"))
    );
    assert!(explanation["sentence"].as_str().unwrap().contains("default/server"), "{now}");
    let diff = explanation["diff"].as_str().unwrap();
    assert!(diff.contains("default/server.yaml") && diff.contains("client"), "{diff}");
    let row = explain(&cluster, json!({ "flow": denied }));
    assert_eq!(
        (&row["agrees"], &row["recorded"]["verdict"]),
        (&json!(true), &json!("deny")),
        "{row}"
    );

    cluster.write_manifest("policy.yaml", &policy("client"));
    wait_for("the client to be let in", || connects().then_some(()));
    wait_for("the relay to know", || {
        let now = explain(&cluster, question.clone());
        (now["explanation"]["verdict"] == "allow").then_some(())
    });
    cluster.stop_collectors();
    drop(listener);

    // The row is explained with the policy of then, also without a collector.
    let row = explain(&cluster, json!({ "flow": denied }));
    assert_eq!(row["agrees"], true, "{row}");
    assert_eq!(row["explanation"]["verdict"], "deny", "{row}");
    let allowed = cluster.query.sql(
        "select * from flows where verdict = 'allow' and direction = 'ingress' \
         and destination_pod = 'server' order by time desc limit 1",
    );
    let row = explain(&cluster, json!({ "flow": allowed[0] }));
    assert_eq!(
        (&row["agrees"], &row["explanation"]["verdict"]),
        (&json!(true), &json!("allow")),
        "{row}"
    );
    let versions = cluster.query.sql(
        "select valid_to is null as now, manifest from policies where name = 'server' \
         order by valid_from",
    );
    let expected = [
        json!({"now": false, "manifest": policy("nobody")}),
        json!({"now": true, "manifest": policy("client")}),
    ];
    assert_eq!(versions, expected);
    let pods = cluster.query.sql("select name from endpoints where valid_to is null order by name");
    assert_eq!(pods, [json!({"name": "client"}), json!({"name": "server"})]);
}
