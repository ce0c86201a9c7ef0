//! Connectivity tables in real namespaces under the real programs.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, Instant};

use weir_lab::Network;
use weir_lab::case::{CaseOptions, run_case, run_cases};
use weir_lab::probe::ProbeOptions;
use weir_policy::case::Case;

const JOBS: NonZeroUsize = NonZeroUsize::new(4).unwrap();

/// Runs every case of a folder below the repository; nothing if there is no such folder.
fn run_folder(folder: &str, at_least: usize, network: Network) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("skipped: {} is absent", folder.display());
        return;
    };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    assert!(files.len() >= at_least, "{} cases", files.len());
    let cases: Vec<Case> = files
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            Case::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        })
        .collect();
    let begun = Instant::now();
    let options = CaseOptions { network, ..CaseOptions::default() };
    let results = run_cases(&cases, &options, JOBS, |_, _| ());
    let (mut passed, mut retried, mut faults) = (0, 0, Vec::new());
    for (file, result) in files.iter().zip(results) {
        let file = file.file_name().unwrap().to_string_lossy();
        match result {
            Ok(report) => {
                passed += report.passed;
                retried += report.retried;
                faults.extend(report.wrong.iter().map(|wrong| format!("{file}: {wrong}")));
            }
            Err(error) => faults.push(format!("{file}: {error}")),
        }
    }
    println!(
        "{} cases, {passed} probes passed, {retried} at the second try, in {:?}",
        files.len(),
        begun.elapsed()
    );
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn public_conformance_cases() {
    run_folder("../shared/netpol-cases/k8s-e2e", 48, Network::Routed);
}

#[test]
fn own_cases() {
    run_folder("tests/cases", 0, Network::Routed);
}

#[test]
fn own_cases_on_bridges() {
    run_folder("tests/cases", 0, Network::Bridge);
}

/// Pods of both families on two nodes, one of the host network, hosts outside, all protocols; then
/// an address moves to another pod and node.
const MOVING: &str = r#"{
  "name": "moving",
  "namespaces": [{"name": "x", "labels": {}}, {"name": "y", "labels": {}}],
  "pods": [
    {"ns": "x", "name": "a", "labels": {"app": "a"}, "ips": ["10.1.0.1", "fd01::1"], "node": "n1"},
    {"ns": "x", "name": "b", "labels": {"app": "b"}, "ips": ["10.1.0.2", "fd01::2"], "node": "n1"},
    {"ns": "y", "name": "c", "labels": {"app": "c"}, "ips": ["fd02::3", "10.2.0.3"], "node": "n2"},
    {"ns": "y", "name": "host", "labels": {}, "ip": "192.168.5.2", "hostNetwork": true, "node": "n2"}
  ],
  "steps": [
    {"policies": [], "probes": [
      {"from": "x/a", "to": "y/c", "port": 80, "protocol": "TCP", "expect": true},
      {"from": "x/a", "to": "y/c", "port": 80, "protocol": "UDP", "expect": true},
      {"from": "x/a", "to": "y/c", "port": 80, "protocol": "SCTP", "expect": true},
      {"from": "y/host", "to": "x/a", "port": 80, "protocol": "TCP", "expect": true},
      {"from": "x/a", "to": "y/host", "port": 9, "protocol": "UDP", "expect": true},
      {"from": "ip:203.0.113.9", "to": "x/a", "port": 80, "protocol": "TCP", "expect": true},
      {"from": "y/c", "to": "ip:2001:db8::9", "port": 443, "protocol": "TCP", "expect": true},
      {"from": "x/a", "to": "x/a", "port": 80, "protocol": "TCP", "expect": true}
    ]},
    {"policies": [
      {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
       "metadata": {"name": "only-b", "namespace": "x"},
       "spec": {"podSelector": {"matchLabels": {"app": "a"}},
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "b"}}}]}]}}
     ], "probes": [
      {"from": "x/b", "to": "x/a", "port": 80, "protocol": "TCP", "expect": true},
      {"from": "x/b", "to": "x/a", "port": 80, "protocol": "SCTP", "expect": true},
      {"from": "y/c", "to": "x/a", "port": 80, "protocol": "TCP", "expect": false},
      {"from": "y/c", "to": "x/a", "port": 80, "protocol": "UDP", "expect": false},
      {"from": "y/c", "to": "x/a", "port": 80, "protocol": "SCTP", "expect": false},
      {"from": "y/host", "to": "x/a", "port": 80, "protocol": "TCP", "expect": false},
      {"from": "ip:2001:db8::9", "to": "x/a", "port": 80, "protocol": "TCP", "expect": false},
      {"from": "x/a", "to": "y/c", "port": 80, "protocol": "TCP", "expect": true}
    ]},
    {"pods": [
      {"ns": "x", "name": "a", "labels": {"app": "a"}, "ips": ["10.1.0.1", "fd01::1"], "node": "n1"},
      {"ns": "x", "name": "late", "labels": {}, "ips": ["10.1.0.2", "fd01::2"], "node": "n2"},
      {"ns": "x", "name": "b", "labels": {"app": "b"}, "ips": ["10.2.0.3", "fd02::3"], "node": "n2"},
      {"ns": "y", "name": "host", "labels": {}, "ip": "192.168.5.2", "hostNetwork": true, "node": "n2"}
     ],
     "policies": [
      {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
       "metadata": {"name": "only-b", "namespace": "x"},
       "spec": {"podSelector": {"matchLabels": {"app": "a"}},
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "b"}}}]}]}}
     ], "probes": [
      {"from": "x/late", "to": "x/a", "port": 80, "protocol": "TCP", "expect": false},
      {"from": "x/late", "to": "x/a", "port": 80, "protocol": "UDP", "expect": false},
      {"from": "x/b", "to": "x/a", "port": 80, "protocol": "TCP", "expect": true},
      {"from": "x/b", "to": "x/a", "port": 80, "protocol": "UDP", "expect": true}
    ]}
  ]
}"#;

#[test]
fn a_moving_cluster() {
    let case = Case::parse(MOVING).unwrap();
    let report = run_case(&case, &CaseOptions::default()).unwrap();
    let wrong: Vec<String> = report.wrong.iter().map(ToString::to_string).collect();
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!((report.passed, report.failed, report.skipped), (19, 0, 1));
    let report =
        run_case(&case, &CaseOptions { loopback: true, ..CaseOptions::default() }).unwrap();
    assert_eq!((report.passed, report.failed, report.skipped), (20, 0, 0));
}

#[test]
fn without_enforcement_everything_connects() {
    let case = Case::parse(MOVING).unwrap();
    let options = CaseOptions { enforce: false, ..CaseOptions::default() };
    let report = run_case(&case, &options).unwrap();
    assert_eq!((report.passed, report.failed), (12, 7));
    assert_eq!(
        report.wrong[0].to_string().split(';').next().unwrap(),
        "step 2: y/c -> x/a TCP 80 (10.2.0.3 to 10.1.0.1): expected no connection, observed: connected"
    );
    assert!(report.wrong.iter().all(|wrong| !wrong.allowed));
    // Both families of each probe between dual-stack pods.
    assert_eq!(report.wrong.len(), 3 * 2 + 1 + 1 + 2 * 2);
}

/// A table that is wrong in both directions.
#[test]
fn wrong_tables_are_found_out() {
    let case = Case::parse(
        r#"{
      "namespaces": [{"name": "x", "labels": {}}],
      "pods": [
        {"ns": "x", "name": "a", "labels": {"app": "a"}, "ip": "10.1.0.1"},
        {"ns": "x", "name": "b", "labels": {"app": "b"}, "ip": "10.1.0.2"}
      ],
      "steps": [{"policies": [
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
         "metadata": {"name": "closed", "namespace": "x"},
         "spec": {"podSelector": {"matchLabels": {"app": "a"}}}}
      ], "probes": [
        {"from": "x/b", "to": "x/a", "port": 80, "protocol": "TCP", "expect": true},
        {"from": "x/a", "to": "x/b", "port": 80, "protocol": "UDP", "expect": false}
      ]}]
    }"#,
    )
    .unwrap();
    let probes = ProbeOptions {
        deadline: Duration::from_millis(700),
        retry_deadline: Duration::from_millis(900),
        ..ProbeOptions::default()
    };
    let report = run_case(&case, &CaseOptions { probes, ..CaseOptions::default() }).unwrap();
    assert_eq!((report.passed, report.failed, report.retried), (0, 2, 0));
    let texts: Vec<String> = report.wrong.iter().map(ToString::to_string).collect();
    assert!(
        texts[0].starts_with(
            "step 1: x/b -> x/a TCP 80 (10.1.0.2 to 10.1.0.1): expected connected, \
             observed: no answer (first try: no answer); the policies deny it: "
        ),
        "{}",
        texts[0]
    );
    assert!(texts[0].contains("x/closed"), "{}", texts[0]);
    assert!(
        texts[1].starts_with(
            "step 1: x/a -> x/b UDP 80 (10.1.0.1 to 10.1.0.2): expected no connection, \
             observed: connected; the policies allow it: "
        ),
        "{}",
        texts[1]
    );
}

/// The size of the largest upstream tables: every pod to every other, at two ports.
#[test]
fn nine_pods_take_seconds() {
    let names = ["x/a", "x/b", "x/c", "y/a", "y/b", "y/c", "z/a", "z/b", "z/c"];
    let pods: Vec<serde_json::Value> = names
        .iter()
        .zip(1..)
        .map(|(name, n)| {
            let (ns, name) = name.split_once('/').unwrap();
            serde_json::json!({"ns": ns, "name": name, "labels": {"pod": name},
                "ip": format!("10.1.0.{n}"), "node": if n % 2 == 0 { "n1" } else { "n2" }})
        })
        .collect();
    let mut probes = Vec::new();
    for from in names {
        for to in names {
            for (port, protocol) in [(80, "TCP"), (81, "UDP")] {
                let expect = !to.starts_with("x/") || from.starts_with("y/");
                probes.push(serde_json::json!({"from": from, "to": to, "port": port,
                    "protocol": protocol, "expect": expect}));
            }
        }
    }
    let policy = serde_json::json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "from-y", "namespace": "x"},
        "spec": {"podSelector": {}, "ingress": [{"from": [{"namespaceSelector":
            {"matchLabels": {"kubernetes.io/metadata.name": "y"}}}]}]}
    });
    let case = serde_json::json!({
        "namespaces": [{"name": "x"}, {"name": "y"}, {"name": "z"}], "pods": pods,
        "steps": [{"policies": [policy], "probes": probes}]
    });
    let case = Case::parse(&case.to_string()).unwrap();
    let report = run_case(&case, &CaseOptions::default()).unwrap();
    assert_eq!(report.wrong.first().map(ToString::to_string), None);
    assert_eq!((report.passed, report.skipped), (144, 18));
    println!("9 pods, 162 probes, 2 nodes: {:?}", report.elapsed);
}
