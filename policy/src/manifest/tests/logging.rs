//! NetworkLogging.

use super::*;
use crate::model::LogRule;

fn text(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.gke.io/v1alpha1\nkind: NetworkLogging\n\
         metadata: {{name: {name}}}\nspec: {{{spec}}}"
    )
}

fn logging(spec: &str) -> NetworkLogging {
    match parse(&text("default", spec)).remove(0) {
        Ok(Object::NetworkLogging(logging)) => logging,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_logged() {
    let rule = |log, delegate| LogRule { log, delegate };
    assert_eq!(logging(""), NetworkLogging::default());
    assert_eq!(
        logging("cluster: {allow: {log: true, delegate: true}, deny: {log: true}}"),
        NetworkLogging { allow: rule(true, true), deny: rule(true, false) }
    );
    let all_off = "{log: false, delegate: false}";
    assert_eq!(
        logging(&format!(
            "cluster: {{allow: {all_off}, deny: {all_off}, flow: {all_off}}}, \
             node: {{allow: {all_off}, deny: {all_off}, flow: {{}}, flowAggregationSeconds: 0}}"
        )),
        NetworkLogging::default()
    );
}

#[test]
fn what_cannot_be_done_is_refused() {
    let cases = [
        ("cluster: {allow: {delegate: true}}", "spec.cluster.allow.delegate", "set log to true"),
        (
            "cluster: {deny: {log: false, delegate: true}}",
            "spec.cluster.deny.delegate",
            "set log to true",
        ),
        ("cluster: {allow: {log: 'true'}}", "spec.cluster.allow.log", "expected a boolean"),
        ("cluster: {alow: {}}", "spec.cluster.alow", "not known here"),
        ("clusters: {}", "spec.clusters", "not known here"),
        ("node: {deny: {log: true}}", "spec.node.deny", "no policies for nodes"),
        ("cluster: {flow: {log: true}}", "spec.cluster.flow", "keeps every flow"),
        (
            "cluster: {flowAggregationSeconds: 30}",
            "spec.cluster.flowAggregationSeconds",
            "exports no flows",
        ),
    ];
    for (spec, path, message) in cases {
        let error = error(&text("default", spec));
        assert_eq!(error.path.to_string(), path, "{error}");
        assert!(error.message.contains(message), "{error}");
    }
    let other = error(&text("mine", ""));
    assert_eq!(other.path.to_string(), "metadata.name");
    assert!(other.message.contains("only the NetworkLogging named \"default\""), "{other}");
    let old = text("default", "").replace("v1alpha1", "v1");
    assert_eq!(error(&old).path.to_string(), "apiVersion");
}
