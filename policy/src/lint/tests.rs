use super::*;
use crate::manifest::{self, Object};

/// The findings of manifests as `id field: sentence`.
fn found(text: &str) -> Vec<String> {
    let mut cluster = Cluster::default();
    let mut lints = Vec::new();
    for result in manifest::parse_with_texts(text) {
        let (object, text) = result.unwrap();
        lints.extend(text.iter().flat_map(|text| lint_text(text)));
        match object {
            Object::Namespace(namespace) => cluster.namespaces.push(namespace),
            Object::Pod(pod) => cluster.pods.push(pod),
            Object::Service(service) => cluster.services.push(service),
            Object::NetworkPolicy(policy) => cluster.policies.push(policy),
            Object::TierPolicy(policy) => cluster.tier_policies.push(policy),
            _ => {}
        }
    }
    lints.extend(lint(&cluster));
    lints.iter().map(|lint| format!("{} {}: {}", lint.id, lint.field, lint.sentence)).collect()
}

fn policy(spec: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{name: p, namespace: x}}\nspec: {spec}\n"
    )
}

const PODS: &str = "---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: x, labels: {app: web}}
spec: {containers: [{ports: [{name: http, containerPort: 8080}]}]}
status: {podIP: 10.0.0.1, phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: far, namespace: z, labels: {app: far}}
status: {podIP: 10.0.0.2, phase: Running}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: x}
spec: {clusterIP: 10.9.0.1, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
";

#[test]
fn good_policies_have_no_findings() {
    let good = policy(
        "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress],
          ingress: [{from: [{podSelector: {}}], ports: [{port: http}, {port: 8080}]}],
          egress: [{ports: [{protocol: UDP, port: 53}, {port: 53}]}]}",
    );
    assert_eq!(found(&format!("{PODS}{good}")), [""; 0]);
    // Without pods nothing is said about pods.
    assert_eq!(found(&good), [""; 0]);
}

#[test]
fn selectors_that_match_nothing() {
    let text = policy(
        "{podSelector: {matchLabels: {app: wep}},
          ingress: [{from: [{podSelector: {matchLabels: {app: far}}},
                            {namespaceSelector: {matchLabels: {a: b}}}]}]}",
    );
    assert_eq!(
        found(&format!("{PODS}{text}")),
        [
            "selects_nothing spec.podSelector: it selects no pod of namespace x",
            "peer_matches_nothing spec.ingress[0].from[0]: this peer matches no pod: without a \
             namespaceSelector it means namespace x only, and z/far is elsewhere",
            "peer_matches_nothing spec.ingress[0].from[1]: this peer matches no pod",
        ]
    );
}

#[test]
fn directions_and_names() {
    assert_eq!(
        found(&policy("{podSelector: {}, egress: []}")),
        [
            "types_left_out spec.policyTypes: policyTypes is left out and egress is empty: egress is \
          not isolated, everything may leave"
        ]
    );
    let text = policy("{podSelector: {}, policyTypes: [Ingress], egress: [{}]}");
    assert_eq!(
        found(&text),
        [
            "rules_ignored spec.egress: its egress rules count for nothing: policyTypes does not list \
          Egress"
        ]
    );
    let text = policy("{podSelector: {}, policyTypes: [Egress]}");
    assert_eq!(
        found(&format!("{PODS}{text}")),
        [
            "egress_without_dns spec.egress: egress of x/web is isolated and no rule covers UDP 53 or \
          TCP 53: names cannot be resolved"
        ]
    );
    let udp = "{podSelector: {}, policyTypes: [Egress],
                egress: [{ports: [{protocol: UDP, port: 53}]}]}";
    assert_eq!(
        found(&policy(udp)),
        [
            "dns_without_tcp spec.egress: egress of its pods is isolated and no rule covers TCP 53: answers \
          that are too long for UDP cannot be had"
        ]
    );
    let lints = found(&policy(&udp.replace("UDP", "TCP")));
    assert!(
        lints[0].starts_with("egress_without_dns spec.egress: egress of its pods"),
        "{lints:?}"
    );
    assert!(lints[0].contains("no rule covers UDP 53: "), "{lints:?}");
}

#[test]
fn ports_blocks_and_audit() {
    let text = policy(
        "{podSelector: {}, ingress: [{ports: [{port: 80}, {port: https}, {port: 9}],
          from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/9, 10.128.0.0/9]}}]}]}",
    );
    let text = text.replace("namespace: x}", "namespace: x, annotations: {weir.io/audit: 'true'}}");
    assert_eq!(
        found(&format!("{PODS}{text}")),
        [
            "except_leaves_nothing spec.ingress[0].from[0].ipBlock.except: the exceptions cover all \
             of 10.0.0.0/8, so that this peer matches nobody",
            "port_nobody_has spec.ingress[0].ports[0].port: no selected pod declares TCP 80: it is \
             the port of Service x/web, and policies see what it is replaced by, 8080",
            "port_nobody_has spec.ingress[0].ports[1].port: no selected pod declares TCP https",
            "port_nobody_has spec.ingress[0].ports[2].port: no selected pod declares TCP 9",
            "audited metadata.annotations: its denies are only reported, nothing is dropped \
             because of it",
        ]
    );
}

#[test]
fn tiers_shadow_each_other() {
    let admin = |name: &str, priority: u32, subject: &str, ports: &str| {
        format!(
            "---\napiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\n\
             metadata: {{name: {name}}}\nspec:\n  priority: {priority}\n  subject: {subject}\n  \
             ingress:\n  - {{action: Deny, from: [{{namespaces: {{}}}}]{ports}}}\n"
        )
    };
    let all = admin("wide", 1, "{namespaces: {}}", "");
    let narrow = admin(
        "narrow",
        2,
        "{namespaces: {matchLabels: {a: b}}}",
        ", ports: [{portNumber: {protocol: TCP, port: 80}}]",
    );
    assert_eq!(
        found(&format!("{all}{narrow}")),
        ["rule_shadowed spec.ingress[0]: this rule is never asked: spec.ingress[0] of \
          AdminNetworkPolicy wide comes before it and covers all of it"]
    );
    // The other way round both are asked.
    let all = all.replace("priority: 1", "priority: 3");
    assert_eq!(found(&format!("{all}{narrow}")), [""; 0]);
}
