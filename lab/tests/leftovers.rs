//! Nothing stays of labs that nobody holds. One test, alone in its process, as every namespace of
//! the process counts.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod common;

use common::{ips, namespaces_of, two_nodes};
use weir_lab::Lab;
use weir_lab::case::{CaseOptions, run_case};
use weir_policy::case::Case;

const CASE: &str = r#"{
  "namespaces": [{"name": "x"}],
  "pods": [
    {"ns": "x", "name": "a", "ip": "10.1.0.1"},
    {"ns": "x", "name": "b", "ip": "10.1.0.2", "node": "n2"}
  ],
  "steps": [{"probes": [{"from": "x/a", "to": "x/b", "port": 80, "expect": true}]}]
}"#;

#[test]
fn what_nobody_holds_is_gone() {
    let own = || namespaces_of(std::process::id());
    let spec = two_nodes().pod("n1", "x/twin", &ips(&["10.244.1.11"]));
    assert!(Lab::create(&spec).is_err());
    assert_eq!(own(), Vec::<String>::new(), "of a lab that could not be built");
    let report = run_case(&Case::parse(CASE).unwrap(), &CaseOptions::default()).unwrap();
    assert_eq!((report.passed, report.failed), (1, 0));
    assert_eq!(own(), Vec::<String>::new(), "of a case");
}
