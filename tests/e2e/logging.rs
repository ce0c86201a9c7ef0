//! Log records of decisions, from a real allow and a real deny to the file.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use weir_lab::LabSpec;

use crate::cluster::{Cluster, address};
use crate::weir::wait_for;

const OPEN: u16 = 9000;
const CLOSED: u16 = 9001;
/// Attempts that are denied, each with one SYN.
const DENIED: usize = 30;

const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: open-port, namespace: default}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress]
  ingress: [{ports: [{port: 9000}]}]
";

fn logging(spec: &str) -> String {
    format!(
        "apiVersion: networking.gke.io/v1alpha1\nkind: NetworkLogging\n\
         metadata: {{name: default}}\nspec: {spec}\n"
    )
}

fn spec() -> LabSpec {
    LabSpec::default()
        .node("node-1", &["192.168.91.1".parse().unwrap()])
        .pod("node-1", "default/client", &["10.91.1.1".parse().unwrap()])
        .pod("node-1", "default/server", &["10.91.1.2".parse().unwrap()])
}

fn records(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn count(records: &[Value], disposition: &str) -> u64 {
    let of = records.iter().filter(|record| record["disposition"] == disposition);
    of.map(|record| record["count"].as_u64().unwrap()).sum()
}

#[test]
fn an_allow_and_denies_are_in_the_file_with_exact_counts() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("policy_action.log");
    let spec = spec();
    let settings = ["--log-file", file.to_str().unwrap()];
    let mut cluster = Cluster::start_with(directory.path(), &spec, &settings);
    cluster.write_manifest("policy.yaml", POLICY);
    cluster.write_manifest(
        "logging.yaml",
        &logging("{cluster: {allow: {log: true}, deny: {log: true}}}"),
    );
    cluster.wait_until_policies(1);
    let server = address(&spec, "default/server");
    let listener = cluster
        .pod("default/server")
        .enter(|| TcpListener::bind(SocketAddr::new(server, OPEN)).unwrap())
        .unwrap();
    let connect = |port| {
        let to = SocketAddr::new(server, port);
        cluster
            .pod("default/client")
            .enter(|| TcpStream::connect_timeout(&to, Duration::from_millis(700)).is_ok())
    };
    // Until the object is in force, too.
    wait_for("a record of an allow", || {
        assert!(connect(OPEN).unwrap());
        records(&file).first().cloned()
    });
    let already = records(&file).len();
    cluster
        .pod("default/client")
        .enter(|| {
            std::thread::scope(|scope| {
                for _ in 0..DENIED {
                    scope.spawn(|| {
                        let to = SocketAddr::new(server, CLOSED);
                        let attempt = TcpStream::connect_timeout(&to, Duration::from_millis(700));
                        assert!(attempt.is_err());
                    });
                }
            });
        })
        .unwrap();
    assert!(already >= 1);
    // A wrong object leaves the last good one in force and is shown.
    cluster.write_manifest("logging.yaml", &logging("{cluster: {deny: {delegate: true}}}"));
    wait_for("the wrong object to be a problem", || {
        let problems = cluster.collectors()[0]["problems"].to_string();
        problems.contains("logging.yaml").then_some(())
    });
    assert!(connect(OPEN).unwrap());
    drop(listener);
    cluster.stop_collectors();

    let records = records(&file);
    let denies: Vec<&Value> =
        records.iter().filter(|record| record["disposition"] == "deny").collect();
    let stored = cluster.query.number(
        "select sum(count) as n from flows where verdict = 'deny' and destination_port = 9001",
    );
    assert!(stored >= DENIED as u64, "{stored}");
    assert_eq!(count(&records, "deny"), stored);
    assert_eq!(denies[0]["count"], 1, "the first attempt is told at once");
    let allowed = cluster.query.number(
        "select sum(count) as n from flows where verdict = 'allow' and reason = 'policy' \
         and time >= (select min(time) from flows where reason = 'policy')",
    );
    let logged = count(&records, "allow");
    assert!(logged <= allowed && logged > already as u64, "{logged} of {allowed}");

    let deny = denies[0];
    assert_eq!(deny["connection"]["src_ip"], "10.91.1.1");
    assert_eq!(deny["connection"]["dest_ip"], "10.91.1.2");
    assert_eq!(deny["connection"]["dest_port"], 9001);
    assert_eq!(deny["connection"]["protocol"], "tcp");
    assert_eq!(deny["connection"]["direction"], "ingress");
    assert_eq!(deny["src"]["pod_name"], "client");
    assert_eq!(deny["dest"]["pod_namespace"], "default");
    assert_eq!(deny["node_name"], "node-1");
    assert!(deny.get("policies").is_none());
    assert!(deny["timestamp"].as_str().unwrap().ends_with('Z'));
    let allow = records.iter().find(|record| record["disposition"] == "allow").unwrap();
    assert_eq!(
        allow["policies"],
        serde_json::json!([
            {"kind": "NetworkPolicy", "name": "open-port", "namespace": "default"}
        ])
    );
    assert_eq!(allow["count"], 1);
}
