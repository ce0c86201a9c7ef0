use std::path::{Path, PathBuf};

use super::simulate::misattributed;
use super::*;
use crate::evaluate::decide;

/// Runs every case of a folder; `None` if there is no such folder.
fn run_folder(folder: &Path) -> Option<(usize, usize)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    let (mut probes, mut faults) = (0, Vec::new());
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let case = Case::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for (number, step) in case.steps.iter().enumerate() {
            for probe in &step.probes {
                for attempt in &probe.attempts {
                    let outcome = decide(&step.cluster, attempt);
                    let place = format!("{} step {number}: {probe}", file.display());
                    if outcome.is_allowed() != probe.expect {
                        faults.push(format!("{place}: the naive evaluator differs: {outcome:?}"));
                    }
                    let faulty = misattributed(probe, &outcome);
                    faults.extend(faulty.iter().map(|fault| format!("{place}, naive: {fault}")));
                }
            }
        }
        for result in simulate(&case, SimulateOptions { loopback: true }) {
            probes += 1;
            let probe = &case.steps[result.step].probes[result.probe];
            let place = format!("{} step {}: {probe}", file.display(), result.step);
            for wrong in result.wrong {
                faults.push(format!("{place}: expected {}: {}", probe.expect, wrong.explanation));
            }
            faults.extend(result.misattributed.iter().map(|fault| format!("{place}: {fault}")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    Some((files.len(), probes))
}

#[test]
fn public_conformance_cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/netpol-cases/k8s-e2e");
    match run_folder(&folder) {
        Some((files, probes)) => {
            println!("{files} conformance cases, {probes} probes");
            assert!(files >= 48 && probes >= 711);
        }
        None => println!("skipped: {} is absent", folder.display()),
    }
}

#[test]
fn cases_of_our_own() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases");
    let (files, probes) = run_folder(&folder).unwrap();
    println!("{files} cases of our own, {probes} probes");
    assert!(files >= 15);
}

fn error(text: &str) -> String {
    Case::parse(text).unwrap_err().to_string()
}

#[test]
fn faults_name_the_field_and_what_to_do() {
    let with = |probe: &str, policy: &str| {
        format!(
            r#"{{"namespaces": [{{"name": "x"}}], "note": 1,
                "pods": [{{"ns": "x", "name": "a", "ip": "10.0.0.1"}},
                         {{"ns": "x", "name": "b", "ip": "fd00::1"}},
                         {{"ns": "x", "name": "c"}}],
                "steps": [{{"policies": [{policy}], "probes": [{probe}]}}]}}"#
        )
    };
    let probe = |from: &str, to: &str| {
        with(&format!(r#"{{"from": "{from}", "to": "{to}", "port": 1, "expect": true}}"#), "")
    };
    assert_eq!(
        error(&probe("x/a", "x/nobody")),
        "steps[0].probes[0].to: pod x/nobody is not in this case: add it to pods; \
         known are x/a, x/b, x/c"
    );
    assert!(error(&probe("a", "x/a")).contains("write namespace/pod or ip:ADDRESS"));
    assert!(error(&probe("ip:10.0.0.300", "x/a")).contains("is not an IP address"));
    assert!(error(&probe("ip:10.9.9.9", "ip:10.9.9.8")).contains("one end must be a pod"));
    assert!(error(&probe("x/a", "x/b")).contains("no address of one family"));
    assert!(error(&probe("x/a", "x/c")).contains("give it an ip"));
    let spec = r#"{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                   "metadata": {"name": "p", "namespace": "x"}, "spec": {"ingres": []}}"#;
    assert!(error(&with("", spec)).starts_with("steps[0].policies[0].spec.ingres: is not known"));
    let pod = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}"#;
    assert!(error(&with("", pod)).contains("only policies belong here"));
    assert!(error("{").contains("EOF"));
    assert!(error(r#"{"steps": []}"#).contains("at least one step"));
    assert!(
        error(r#"{"steps": [{"probes": [{"from": 1}]}]}"#).starts_with("steps[0].probes[0].from")
    );
    assert!(error(r#"{"steps": [{}]} {}"#).contains("more than one JSON value"));
}

#[test]
fn a_wrong_probe_is_explained() {
    let case = Case::parse(
        r#"{"pods": [{"ns": "x", "name": "a", "labels": {"app": "a"}, "ip": "10.0.0.1"},
                     {"ns": "x", "name": "b", "ip": "10.0.0.2"}],
            "steps": [{"policies": [{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"name": "p", "namespace": "x"},
                "spec": {"podSelector": {"matchLabels": {"app": "a"}},
                         "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": 80}]}]}}],
              "probes": [
                {"from": "x/b", "to": "x/a", "port": 81, "expect": true},
                {"from": "ip:192.0.2.1", "to": "x/a", "port": 80, "expect": true},
                {"from": "x/b", "to": "x/a", "port": 80, "expect": false},
                {"from": "x/a", "to": "x/b", "port": 80, "expect": true,
                 "why": {"egress_isolated_by": ["x/p"]}},
                {"from": "x/a", "to": "x/a", "port": 80, "expect": false}]}]}"#,
    )
    .unwrap();
    let results = simulate(&case, SimulateOptions::default());
    assert_eq!(results.len(), 4, "loopback is skipped");
    let explanation = |index: usize| results[index].wrong[0].explanation.as_str();
    assert_eq!(
        explanation(0),
        "Denied: ingress of x/a is isolated by x/p, whose nearest rule (1st) covers x/b but not \
         TCP 81"
    );
    assert_eq!(
        explanation(1),
        "Denied: ingress of x/a is isolated by x/p, whose nearest rule (1st) covers TCP 80 but not \
         192.0.2.1"
    );
    assert_eq!(
        explanation(2),
        "Allowed: egress of x/b is not isolated by any policy; ingress of x/a is allowed by the 1st rule of x/p"
    );
    assert!(results[3].is_right());
    assert_eq!(results[3].misattributed, ["egress isolated by [], expected [x/p]"]);
    assert_eq!(simulate(&case, SimulateOptions { loopback: true }).len(), 5);
}
