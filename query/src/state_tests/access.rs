//! Objects and explanations for somebody who sees one namespace.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use weir_flow::schema::objects::ObjectVersion;

use super::{Stand, cluster, flow, version};
use crate::{AccessSettings, GrantSettings, TokenSettings};

const ALICE: &str = "alice-has-a-long-secret";

fn access() -> AccessSettings {
    let sha256 =
        Sha256::digest(ALICE.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    AccessSettings {
        tokens: vec![TokenSettings { name: "alice".into(), sha256: Some(sha256), file: None }],
        grants: vec![GrantSettings {
            principals: vec!["alice".into()],
            namespaces: vec!["shop".into()],
            ..GrantSettings::default()
        }],
        ..AccessSettings::default()
    }
}

/// What `secret` has: a pod, a Service in front of it and one in front of nothing, and a policy.
fn hidden() -> Vec<ObjectVersion> {
    let of = |kind: &str, name: &str, rest: Value| {
        let mut object = json!({"kind": kind, "metadata": {"namespace": "secret", "name": name, "labels": {"app": "db"}}});
        object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let manifest = Some(object.to_string());
        ObjectVersion { namespace: "secret".into(), ..version(0, kind, name, manifest) }
    };
    let service = |name: &str, ip: &str, app: &str| {
        let spec = json!({"clusterIP": ip, "clusterIPs": [ip], "selector": {"app": app}, "ports": [{"port": 5432, "protocol": "TCP"}]});
        of("Service", name, json!({"apiVersion": "v1", "spec": spec}))
    };
    vec![
        of(
            "Pod",
            "db",
            json!({
                "apiVersion": "v1", "spec": {"nodeName": "n1"},
                "status": {"phase": "Running", "podIPs": [{"ip": "10.0.9.1"}]},
            }),
        ),
        service("db", "10.9.0.1", "db"),
        service("empty", "10.9.0.2", "nothing"),
        of(
            "NetworkPolicy",
            "db",
            json!({
                "apiVersion": "networking.k8s.io/v1", "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
            }),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_namespace_shows_nothing_of_another() {
    let stand = Stand::start_for(Duration::from_millis(20), Some(access()), ALICE).await;
    stand.tell(&cluster()).await;
    stand.tell(&hidden()).await;
    for (path, expected) in [("policies", 1), ("endpoints", 2)] {
        let rows = stand.get(path).await;
        assert_eq!(rows.as_array().unwrap().len(), expected, "{rows}");
        assert!(!rows.to_string().contains("secret"), "{rows}");
    }
    for sql in [
        "select count(*) as n from policies where namespace = 'secret' or manifest like '%secret%'",
        "select count(*) as n from endpoints where namespace <> 'shop'",
    ] {
        assert_eq!(stand.rows(sql).await, json!([{"n": 0}]), "{sql}");
    }
    let question = |from: &str, to: &str| json!({"from": from, "to": to, "port": 5432});
    for (from, to) in
        [("shop/web", "shop/redis"), ("pod/shop/web", "10.0.0.1"), ("shop/web", "192.0.2.1")]
    {
        let answer = stand.explain(question(from, to)).await;
        assert!(!answer.to_string().contains("secret"), "{answer}");
    }
    // By its name, whether it exists or not, by its address, and by a row that alice made up.
    let mut made_up = flow(1, "deny", "default_deny", None);
    made_up["destination_ip"] = json!("10.0.9.1");
    let refused = [
        question("shop/web", "secret/db"),
        question("shop/web", "secret/nobody"),
        question("secret/db", "shop/web"),
        question("shop/web", "service/secret/db"),
        question("pod/secret/db", "192.0.2.1"),
        question("shop/web", "10.0.9.1"),
        question("shop/web", "10.9.0.1"),
        question("shop/web", "10.9.0.2"),
        json!({ "flow": made_up }),
    ];
    let mut told = Vec::new();
    for body in refused {
        let shown = body.to_string();
        let (status, answer) = stand.post("policies/explain", body).await;
        assert_eq!(status, 403, "{shown}: {answer}");
        told.push(answer.to_string());
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    // A name that is nearly one of the others.
    for (from, to) in [
        ("shop/secret-db", "shop/web"),
        ("shop/web", "shop/db"),
        ("db", "shop/web"),
        ("10.9.0.1", "shop/web"),
    ] {
        let (status, answer) = stand.post("policies/explain", question(from, to)).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert_eq!(status, 400, "{from} to {to}: {answer}");
        assert!(!message.contains("secret") && message.contains("namespace/name"), "{message}");
    }
}
