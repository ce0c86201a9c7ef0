//! Would-be denies pass and are recorded with the names that would have denied them: for the
//! cluster, a namespace and a policy.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use weir_lab::LabSpec;

use crate::cluster::{Cluster, address};
use crate::weir::wait_for;

const PORT: u16 = 9000;

fn spec() -> LabSpec {
    LabSpec::default()
        .node("node-1", &["192.168.92.1".parse().unwrap()])
        .pod("node-1", "default/client", &["10.92.1.1".parse().unwrap()])
        .pod("node-1", "shop/server", &["10.92.1.2".parse().unwrap()])
}

fn policy(annotations: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: closed\n  \
         namespace: shop\n  annotations: {{{annotations}}}\n\
         spec: {{podSelector: {{}}, policyTypes: [Ingress]}}\n"
    )
}

fn namespace(annotations: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  \
         annotations: {{{annotations}}}\n"
    )
}

const AUDIT: &str = "weir.io/audit: 'true'";

/// Runs with these settings and manifests; whether a connection is made, and what is said of it.
fn check(settings: &[&str], policy: &str, namespace: &str, expect: bool, mode: (&str, u64)) {
    let directory = tempfile::tempdir().unwrap();
    let spec = spec();
    let mut cluster = Cluster::start_with(directory.path(), &spec, settings);
    cluster.write_manifest("namespace.yaml", namespace);
    cluster.write_manifest("policy.yaml", policy);
    cluster.wait_until_policies(1);
    wait_for("the policy to be in force", || {
        let status = &cluster.collectors()[0];
        let in_force = status["behind_ms"].is_null() && status["modes"][mode.0] == mode.1;
        (in_force || mode.0 == "audit" && status["modes"]["audit"] == true).then_some(())
    });
    let to = SocketAddr::new(address(&spec, "shop/server"), PORT);
    let listener = cluster.pod("shop/server").enter(|| TcpListener::bind(to).unwrap()).unwrap();
    let connected = cluster
        .pod("default/client")
        .enter(|| TcpStream::connect_timeout(&to, Duration::from_millis(1_500)).is_ok())
        .unwrap();
    drop(listener);
    cluster.stop_collectors();
    assert_eq!(connected, expect);
    let verdict = if expect { "audit" } else { "deny" };
    let rows = cluster.query.sql(
        "select verdict, reason, policy, source_pod, destination_pod, sum(count) as n from flows \
         where direction = 'ingress' and destination_port = 9000 group by all",
    );
    let rows = serde_json::Value::from(rows);
    assert_eq!(rows.as_array().map(Vec::len), Some(1), "{rows}");
    let row = &rows[0];
    assert_eq!(
        (&row["verdict"], &row["reason"], &row["policy"]),
        (&verdict.into(), &"default_deny".into(), &"shop/closed".into()),
        "{rows}"
    );
    assert_eq!((&row["source_pod"], &row["destination_pod"]), (&"client".into(), &"server".into()));
    if expect {
        assert_eq!(row["n"], 1, "{rows}");
    }
}

#[test]
fn the_whole_cluster() {
    check(&["--audit"], &policy(""), &namespace(""), true, ("audit", 1));
}

#[test]
fn a_namespace() {
    check(&[], &policy(""), &namespace(AUDIT), true, ("audited_namespaces", 1));
}

#[test]
fn a_policy() {
    check(&[], &policy(AUDIT), &namespace(""), true, ("audited_policies", 1));
}

#[test]
fn without_audit_it_is_denied() {
    check(&[], &policy(""), &namespace(""), false, ("audited_policies", 0));
}
