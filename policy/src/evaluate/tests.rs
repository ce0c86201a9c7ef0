//! The order of tiers and the meaning of audit, each in the smallest cluster that shows it. What
//! policies cover is tested by the case files.

use super::*;
use crate::manifest::{self, Object};
use crate::model::{Namespace, Pod};

const WEB: &str = "10.0.0.1";
const CLIENT: &str = "10.0.0.2";

/// Pods `x/web` and `x/client`, and these policies as manifests' JSON.
fn cluster(namespace_is_audited: bool, policies: &[String]) -> Cluster {
    let pod = |name: &str, address: &str| Pod {
        namespace: "x".into(),
        name: name.into(),
        labels: [("app".to_owned(), name.to_owned())].into(),
        addresses: vec![address.parse().unwrap()],
        ..Pod::default()
    };
    let mut cluster = Cluster {
        namespaces: vec![Namespace {
            audit: namespace_is_audited,
            ..Namespace::new("x", Default::default())
        }],
        pods: vec![pod("web", WEB), pod("client", CLIENT)],
        ..Cluster::default()
    };
    for text in policies {
        match manifest::parse(text).remove(0).unwrap() {
            Object::NetworkPolicy(policy) => cluster.policies.push(policy),
            Object::TierPolicy(policy) => cluster.tier_policies.push(policy),
            other => panic!("{other:?}"),
        }
    }
    cluster
}

/// A NetworkPolicy for the ingress of `web`.
fn network(name: &str, audit: bool, allows: bool) -> String {
    let ingress = if allows { "[{}]" } else { "[]" };
    format!(
        "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: {name}, \
         namespace: x, annotations: {{weir.io/audit: '{audit}'}}}}, \
         spec: {{podSelector: {{matchLabels: {{app: web}}}}, ingress: {ingress}}}}}"
    )
}

/// A ClusterNetworkPolicy for the ingress of all pods from all pods.
fn tier(name: &str, tier: &str, priority: u32, action: &str, audit: bool) -> String {
    format!(
        "{{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, \
         metadata: {{name: {name}, annotations: {{weir.io/audit: '{audit}'}}}}, \
         spec: {{tier: {tier}, priority: {priority}, subject: {{namespaces: {{}}}}, \
         ingress: [{{action: {action}, from: [{{namespaces: {{}}}}]}}]}}}}"
    )
}

/// Verdict, reason and rules of the ingress of `web`, as one line.
fn ingress(namespace_is_audited: bool, policies: &[String]) -> String {
    let attempt = Attempt {
        source: CLIENT.parse().unwrap(),
        destination: WEB.parse().unwrap(),
        protocol: 6,
        destination_port: 80,
    };
    let outcome = decide(&cluster(namespace_is_audited, policies), &attempt);
    let decision = outcome.ingress.as_ref().unwrap();
    assert_eq!(outcome.is_allowed(), decision.verdict != Verdict::Deny);
    let rules: Vec<String> = decision
        .rules
        .iter()
        .map(|rule| match rule.rule {
            Some(index) => format!("{}[{index}]", rule.qualified_name()),
            None => rule.qualified_name(),
        })
        .collect();
    format!("{} {} {}", decision.verdict, decision.reason, rules.join(" ")).trim().to_owned()
}

#[test]
fn tiers_are_asked_in_order() {
    let admin = |action: &str| tier("admin", "Admin", 5, action, false);
    let base = |action: &str| tier("base", "Baseline", 5, action, false);
    let allowing = || network("open", false, true);
    let isolating = || network("shut", false, false);
    for (policies, expected) in [
        (vec![], "allow no_policy"),
        (vec![admin("Accept"), isolating()], "allow policy admin[0]"),
        (vec![admin("Deny"), allowing()], "deny explicit_deny admin[0]"),
        (vec![admin("Pass"), allowing()], "allow policy x/open[0]"),
        (vec![admin("Pass"), isolating()], "deny default_deny x/shut"),
        (vec![admin("Pass")], "allow no_policy"),
        (vec![admin("Pass"), base("Deny")], "deny explicit_deny base[0]"),
        (vec![base("Deny")], "deny explicit_deny base[0]"),
        (vec![base("Deny"), allowing()], "allow policy x/open[0]"),
        (vec![base("Accept"), isolating()], "deny default_deny x/shut"),
        (vec![base("Accept")], "allow policy base[0]"),
        (vec![base("Pass")], "allow no_policy"),
        // Lower numbers first, then names.
        (vec![admin("Deny"), tier("first", "Admin", 4, "Accept", false)], "allow policy first[0]"),
        (vec![admin("Accept"), tier("later", "Admin", 5, "Deny", false)], "allow policy admin[0]"),
        // Pass ends its tier.
        (
            vec![admin("Deny"), tier("first", "Admin", 4, "Pass", false), allowing()],
            "allow policy x/open[0]",
        ),
    ] {
        assert_eq!(ingress(false, &policies), expected, "{policies:?}");
    }
}

#[test]
fn what_only_audited_policies_deny_passes_as_audit() {
    for (policies, expected) in [
        (vec![network("watch", true, false)], "audit default_deny x/watch"),
        (vec![network("watch", true, true)], "allow policy x/watch[0]"),
        // What is enforced is not softened.
        (
            vec![network("shut", false, false), network("watch", true, true)],
            "deny default_deny x/shut",
        ),
        // Isolation by the audited one alone would deny, the enforced one allows.
        (
            vec![network("open", false, true), network("watch", true, false)],
            "allow policy x/open[0]",
        ),
        (vec![tier("watch", "Admin", 1, "Deny", true)], "audit explicit_deny watch[0]"),
        (
            vec![tier("watch", "Admin", 1, "Deny", true), network("open", false, true)],
            "audit explicit_deny watch[0]",
        ),
        (
            vec![tier("watch", "Admin", 1, "Accept", true), network("shut", false, false)],
            "deny default_deny x/shut",
        ),
        // An audited NetworkPolicy takes the pod from the baseline tier only in the audit.
        (
            vec![tier("base", "Baseline", 1, "Deny", false), network("watch", true, true)],
            "deny explicit_deny base[0]",
        ),
        (
            vec![tier("base", "Baseline", 1, "Accept", false), network("watch", true, false)],
            "audit default_deny x/watch",
        ),
    ] {
        assert_eq!(ingress(false, &policies), expected, "{policies:?}");
    }
}

#[test]
fn an_audited_namespace_only_reports_denies() {
    for (policies, expected) in [
        (vec![network("shut", false, false)], "audit default_deny x/shut"),
        (vec![tier("admin", "Admin", 1, "Deny", false)], "audit explicit_deny admin[0]"),
        (vec![network("open", false, true)], "allow policy x/open[0]"),
        // The enforced deny is the one that is reported.
        (
            vec![network("shut", false, false), network("watch", true, false)],
            "audit default_deny x/shut",
        ),
        (vec![network("watch", true, false)], "audit default_deny x/watch"),
    ] {
        assert_eq!(ingress(true, &policies), expected, "{policies:?}");
    }
}
