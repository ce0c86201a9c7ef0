//! The tiers before and after NetworkPolicy, and the annotations of all policies.

use super::*;
use crate::model::{Action, Tier, TierKind, TierPeer, TierPods, TierRule};

fn tier_policy(text: &str) -> TierPolicy {
    match parse(text).remove(0) {
        Ok(Object::TierPolicy(policy)) => policy,
        other => panic!("{other:?}"),
    }
}

fn selector(key: &str, value: &str) -> Selector {
    Selector { labels: [(key.to_owned(), value.to_owned())].into(), ..Selector::default() }
}

fn port(protocol: Protocol, port: Port) -> PortRule {
    PortRule { protocol, port }
}

fn named(name: &str) -> Vec<PortRule> {
    let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    protocols.map(|protocol| port(protocol, Port::Named(name.into()))).into()
}

#[test]
fn a_whole_admin_network_policy() {
    let policy = tier_policy(
        "\
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: guard, annotations: {weir.io/audit: 'true', other: x}, uid: u}
spec:
  priority: 10
  subject: {namespaces: {matchLabels: {team: a}}}
  ingress:
  - name: from-b
    action: Allow
    from:
    - namespaces: {matchLabels: {team: b}}
    - pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: db}}}
    ports:
    - portNumber: {protocol: UDP, port: 53}
    - portNumber: {port: 80}
    - portRange: {start: 1, end: 9}
    - namedPort: web
  egress:
  - action: Pass
    to:
    - nodes: {matchLabels: {zone: z}}
    - networks: [10.1.2.3/8, 'fd00::/8']
  - action: Deny
    to: [{namespaces: {}}]
status: {conditions: []}
",
    );
    let pods = |namespaces, pods| TierPeer::Pods(TierPods { namespaces, pods });
    let mut ports = vec![
        port(Protocol::Udp, Port::Range(53, 53)),
        port(Protocol::Tcp, Port::Range(80, 80)),
        port(Protocol::Tcp, Port::Range(1, 9)),
    ];
    ports.extend(named("web"));
    let rule = |action, peers| TierRule { name: None, action, peers, ports: Vec::new() };
    let expected = TierPolicy {
        kind: TierKind::AdminNetworkPolicy,
        name: "guard".into(),
        tier: Tier::Admin,
        priority: 10,
        subject: TierPods { namespaces: selector("team", "a"), pods: None },
        audit: true,
        ingress: vec![TierRule {
            name: Some("from-b".into()),
            ports,
            ..rule(
                Action::Allow,
                vec![
                    pods(selector("team", "b"), None),
                    pods(Selector::default(), Some(selector("app", "db"))),
                ],
            )
        }],
        egress: vec![
            rule(
                Action::Pass,
                vec![
                    TierPeer::Nodes(selector("zone", "z")),
                    TierPeer::Network("10.0.0.0/8".parse().unwrap()),
                    TierPeer::Network("fd00::/8".parse().unwrap()),
                ],
            ),
            rule(Action::Deny, vec![pods(Selector::default(), None)]),
        ],
    };
    assert_eq!(policy, expected);
}

#[test]
fn the_baseline_policy_comes_last() {
    let policy = tier_policy(
        "\
apiVersion: policy.networking.k8s.io/v1alpha1
kind: BaselineAdminNetworkPolicy
metadata: {name: default}
spec:
  subject: {pods: {namespaceSelector: {}, podSelector: {}}}
  ingress: [{action: Deny, from: [{namespaces: {}}]}]
",
    );
    assert_eq!((policy.tier, policy.priority), (Tier::Baseline, 1001));
    assert_eq!(policy.subject.pods, Some(Selector::default()));
    assert_eq!((policy.ingress.len(), policy.egress.len()), (1, 0));
    assert!(!policy.audit);
}

#[test]
fn a_whole_cluster_network_policy() {
    let policy = tier_policy(
        "\
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: cnp}
spec:
  tier: Baseline
  priority: 0
  subject: {pods: {podSelector: {matchLabels: {app: web}}}}
  egress:
  - action: Accept
    to: [{networks: [0.0.0.0/0]}]
    protocols:
    - tcp: {destinationPort: {number: 443}}
    - udp: {destinationPort: {range: {start: 1000, end: 2000}}}
    - sctp: {destinationPort: {number: 9}}
  - action: Accept
    to: [{namespaces: {}}]
    protocols: [{destinationNamedPort: dns}]
",
    );
    assert_eq!((policy.tier, policy.priority), (Tier::Baseline, 0));
    assert_eq!(policy.subject.namespaces, Selector::default());
    assert_eq!(policy.egress[0].action, Action::Allow);
    assert_eq!(
        policy.egress[0].ports,
        [
            port(Protocol::Tcp, Port::Range(443, 443)),
            port(Protocol::Udp, Port::Range(1000, 2000)),
            port(Protocol::Sctp, Port::Range(9, 9)),
        ]
    );
    assert_eq!(policy.egress[1].ports, named("dns"));
}

const ADMIN: (&str, &str) = ("AdminNetworkPolicy", "v1alpha1");
const BASELINE: (&str, &str) = ("BaselineAdminNetworkPolicy", "v1alpha1");
const CLUSTER: (&str, &str) = ("ClusterNetworkPolicy", "v1alpha2");

fn with_spec((kind, version): (&str, &str), spec: &str) -> String {
    format!(
        "apiVersion: policy.networking.k8s.io/{version}\nkind: {kind}\n\
         metadata: {{name: default}}\nspec: {{{spec}}}"
    )
}

#[test]
fn bad_specs_are_refused_with_the_field() {
    // What comes before is fine.
    let admin = "priority: 1, subject: {namespaces: {}}";
    let baseline = "subject: {namespaces: {}}";
    let cluster = "tier: Admin, priority: 1, subject: {namespaces: {}}";
    let cases = [
        (ADMIN, "", "subject: {namespaces: {}}", "spec.priority", "is missing: add it"),
        (ADMIN, "", "priority: 1", "spec.subject", "is missing"),
        (ADMIN, "", "priority: 1001, subject: {namespaces: {}}", "spec.priority", "0, first, to"),
        (ADMIN, "", "priority: -1, subject: {namespaces: {}}", "spec.priority", "priorities go"),
        (ADMIN, "", "priority: '1', subject: {namespaces: {}}", "spec.priority", "expected i64"),
        (ADMIN, "", "priority: 1, subject: {}", "spec.subject", "one of namespaces and pods"),
        (
            ADMIN,
            "",
            "priority: 1, subject: {namespaces: {}, pods: {namespaceSelector: {}, podSelector: {}}}",
            "spec.subject",
            "more than one",
        ),
        (
            ADMIN,
            "",
            "priority: 1, subject: {pods: {podSelector: {}}}",
            "spec.subject.pods.namespaceSelector",
            "is missing",
        ),
        (
            CLUSTER,
            "",
            "tier: Admin, priority: 1, subject: {pods: {namespaceSelector: {}}}",
            "spec.subject.pods.podSelector",
            "is missing",
        ),
        (BASELINE, "", "priority: 1, subject: {namespaces: {}}", "spec.priority", "not known here"),
        (
            CLUSTER,
            "",
            "tier: admin, priority: 1, subject: {namespaces: {}}",
            "spec.tier",
            "Baseline",
        ),
        (ADMIN, admin, "tier: Admin", "spec.tier", "not known here"),
        (
            ADMIN,
            admin,
            "ingress: [{from: [{namespaces: {}}]}]",
            "spec.ingress[0].action",
            "missing",
        ),
        (ADMIN, admin, "ingress: [{action: Deny}]", "spec.ingress[0].from", "is missing"),
        (
            ADMIN,
            admin,
            "ingress: [{action: Deny, from: []}]",
            "spec.ingress[0].from",
            "at least one",
        ),
        (
            ADMIN,
            admin,
            "ingress: [{action: Accept, from: [{namespaces: {}}]}]",
            "spec.ingress[0].action",
            "write Allow, Deny or Pass",
        ),
        (
            BASELINE,
            baseline,
            "ingress: [{action: Pass, from: [{namespaces: {}}]}]",
            "spec.ingress[0].action",
            "write Allow or Deny",
        ),
        (
            CLUSTER,
            cluster,
            "ingress: [{action: Allow, from: [{namespaces: {}}]}]",
            "spec.ingress[0].action",
            "write Accept, Deny or Pass",
        ),
        (
            ADMIN,
            admin,
            "ingress: [{action: Deny, from: [{networks: [10.0.0.0/8]}]}]",
            "spec.ingress[0].from[0].networks",
            "not known here",
        ),
        (ADMIN, admin, "egress: [{action: Deny, to: [{}]}]", "spec.egress[0].to[0]", "is empty"),
        (
            ADMIN,
            admin,
            "egress: [{action: Deny, to: [{nodes: {}, networks: [10.0.0.0/8]}]}]",
            "spec.egress[0].to[0]",
            "more than one",
        ),
        (
            ADMIN,
            admin,
            "egress: [{action: Deny, to: [{networks: []}]}]",
            "spec.egress[0].to[0].networks",
            "at least one block",
        ),
        (
            ADMIN,
            admin,
            "egress: [{action: Deny, to: [{networks: [10.0.0.1]}]}]",
            "spec.egress[0].to[0].networks[0]",
            "not a block",
        ),
        (
            CLUSTER,
            cluster,
            "egress: [{action: Accept, to: [{domainNames: [example.org]}]}]",
            "spec.egress[0].to[0].domainNames",
            "is not supported",
        ),
        (
            ADMIN,
            admin,
            "egress: [{action: Deny, to: [{namespaces: {matchExpressions: [{key: a, operator: In}]}}]}]",
            "spec.egress[0].to[0].namespaces.matchExpressions[0].values",
            "at least one value",
        ),
        (
            ADMIN,
            admin,
            "egress: [{action: Deny, to: [{namespaces: {}}], ports: []}]",
            "spec.egress[0].ports",
            "leave it out",
        ),
        (
            ADMIN,
            admin,
            "egress: [{action: Deny, to: [{namespaces: {}}], protocols: []}]",
            "spec.egress[0].protocols",
            "not known here",
        ),
        (
            ADMIN,
            admin,
            "egress: [{action: Deny, to: [{namespaces: {}}], ports: [{}]}]",
            "spec.egress[0].ports[0]",
            "is empty",
        ),
        (
            ADMIN,
            admin,
            "egress: [{action: Deny, to: [{namespaces: {}}], ports: [{portNumber: {port: 0}}]}]",
            "spec.egress[0].ports[0].portNumber.port",
            "1 to 65535",
        ),
        (
            ADMIN,
            admin,
            "egress: [{action: Deny, to: [{namespaces: {}}], ports: [{portNumber: {port: 1, protocol: tcp}}]}]",
            "spec.egress[0].ports[0].portNumber.protocol",
            "capitals",
        ),
        (
            ADMIN,
            admin,
            "egress: [{action: Deny, to: [{namespaces: {}}], ports: [{portRange: {start: 9, end: 1}}]}]",
            "spec.egress[0].ports[0].portRange.end",
            "below start 9",
        ),
        (
            ADMIN,
            admin,
            "egress: [{action: Deny, to: [{namespaces: {}}], ports: [{namedPort: '80'}]}]",
            "spec.egress[0].ports[0].namedPort",
            "port name",
        ),
        (
            ADMIN,
            admin,
            "egress: [{action: Deny, to: [{networks: [10.0.0.0/8]}], ports: [{namedPort: web}]}]",
            "spec.egress[0].ports[0]",
            "a rule of its own",
        ),
        (
            CLUSTER,
            cluster,
            "egress: [{action: Deny, to: [{namespaces: {}}], protocols: [{tcp: {}}]}]",
            "spec.egress[0].protocols[0].tcp.destinationPort",
            "is missing",
        ),
        (
            CLUSTER,
            cluster,
            "egress: [{action: Deny, to: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {}}}]}]",
            "spec.egress[0].protocols[0].tcp.destinationPort",
            "is empty",
        ),
        (
            CLUSTER,
            cluster,
            "egress: [{action: Deny, to: [{namespaces: {}}], protocols: [{udp: {destinationPort: {range: {start: 5, end: 5}}}}]}]",
            "spec.egress[0].protocols[0].udp.destinationPort.range.end",
            "write number",
        ),
        (
            CLUSTER,
            cluster,
            "egress: [{action: Deny, to: [{namespaces: {}}], protocols: [{icmp: {}}]}]",
            "spec.egress[0].protocols[0].icmp",
            "not known here",
        ),
    ];
    for (kind, before, spec, path, message) in cases {
        let comma = if before.is_empty() { "" } else { ", " };
        let error = error(&with_spec(kind, &format!("{before}{comma}{spec}")));
        assert_eq!(error.path.to_string(), path, "{spec}: {error}");
        assert!(error.message.contains(message), "{spec}: {error}");
        assert!(error.line.is_some_and(|line| line >= 4), "{spec}: {error}");
    }
}

#[test]
fn lists_are_bounded() {
    let repeated = |text: &str, count: usize| vec![text; count].join(", ");
    let rule = |action: &str| format!("{{action: {action}, from: [{{namespaces: {{}}}}]}}");
    let rules = |action: &str, count| format!("ingress: [{}]", repeated(&rule(action), count));
    let peers = |action: &str, count| {
        format!("ingress: [{{action: {action}, from: [{}]}}]", repeated("{namespaces: {}}", count))
    };
    let networks = |count| {
        let blocks = repeated("10.0.0.0/8", count);
        format!("egress: [{{action: Deny, to: [{{networks: [{blocks}]}}]}}]")
    };
    let name = |length| {
        let name = "n".repeat(length);
        format!("ingress: [{{name: {name}, action: Deny, from: [{{namespaces: {{}}}}]}}]")
    };
    let admin = "priority: 1, subject: {namespaces: {}}, ";
    let cluster = "tier: Admin, priority: 1, subject: {namespaces: {}}, ";
    let cases = [
        (ADMIN, admin, rules("Allow", 100), rules("Allow", 101), "spec.ingress"),
        (CLUSTER, cluster, rules("Accept", 25), rules("Accept", 26), "spec.ingress"),
        (ADMIN, admin, peers("Allow", 100), peers("Allow", 101), "spec.ingress[0].from"),
        (CLUSTER, cluster, peers("Accept", 25), peers("Accept", 26), "spec.ingress[0].from"),
        (CLUSTER, cluster, networks(25), networks(26), "spec.egress[0].to[0].networks"),
        (ADMIN, admin, name(100), name(101), "spec.ingress[0].name"),
    ];
    for (kind, before, fine, too_long, path) in cases {
        tier_policy(&with_spec(kind, &format!("{before}{fine}")));
        let error = error(&with_spec(kind, &format!("{before}{too_long}")));
        assert_eq!(error.path.to_string(), path, "{error}");
    }
}

#[test]
fn bad_names_and_versions_of_tiers_are_refused() {
    let text = |kind: &str, version: &str, metadata: &str| {
        let spec = match kind {
            "BaselineAdminNetworkPolicy" => "subject: {namespaces: {}}",
            _ => "priority: 1, subject: {namespaces: {}}",
        };
        format!(
            "{{apiVersion: policy.networking.k8s.io/{version}, kind: {kind}, \
             metadata: {metadata}, spec: {{{spec}}}}}"
        )
    };
    let baseline = error(&text("BaselineAdminNetworkPolicy", "v1alpha1", "{name: other}"));
    assert_eq!(baseline.path.to_string(), "metadata.name");
    assert!(baseline.message.contains("rename it"), "{baseline}");
    let scoped = error(&text("AdminNetworkPolicy", "v1alpha1", "{name: a, namespace: b}"));
    assert_eq!(scoped.path.to_string(), "metadata.namespace");
    for (kind, version, expected) in [
        ("AdminNetworkPolicy", "v1alpha2", "v1alpha1"),
        ("ClusterNetworkPolicy", "v1alpha1", "v1alpha2"),
        ("ClusterNetworkPolicy", "v9", "v1alpha2"),
    ] {
        let error = error(&text(kind, version, "{name: a}"));
        assert_eq!(error.path.to_string(), "apiVersion");
        assert!(error.message.contains(&format!("k8s.io/{expected}: change it")), "{error}");
    }
    let bare = "{apiVersion: policy.networking.k8s.io/v1alpha1, kind: AdminNetworkPolicy, \
                metadata: {name: a}}";
    assert_eq!(error(bare).path.to_string(), "spec");
}

#[test]
fn annotations_are_read_where_they_count() {
    let network = |annotations: &str| {
        let text = format!(
            "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, \
             metadata: {{name: p, annotations: {annotations}}}}}"
        );
        let policy = policies(&text).remove(0);
        (policy.audit, policy.log_allows)
    };
    assert_eq!(network("{}"), (false, false));
    assert_eq!(network("null"), (false, false));
    assert_eq!(network("{weir.io/audit: 'true'}"), (true, false));
    assert_eq!(network("{weir.io/audit: 'false'}"), (false, false));
    assert_eq!(network("{policy.network.gke.io/enable-logging: 'true'}"), (false, true));
    assert_eq!(network("{policy.network.gke.io/enable-logging: 'TRUE'}"), (false, false));
    assert_eq!(network("{policy.network.gke.io/enable-deny-logging: 'true'}"), (false, false));
    let namespace = |annotations: &str| {
        let text = format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: ns, annotations: {annotations}}}}}"
        );
        match parse(&text).remove(0) {
            Ok(Object::Namespace(namespace)) => (namespace.audit, namespace.log_denies),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(namespace("{other: x}"), (false, false));
    assert_eq!(namespace("{weir.io/audit: 'true'}"), (true, false));
    assert_eq!(namespace("{policy.network.gke.io/enable-deny-logging: 'true'}"), (false, true));

    let bad = |kind: &str, annotations: &str| {
        error(&format!("{{{kind}, metadata: {{name: ns, annotations: {annotations}}}}}"))
    };
    for kind in [
        "apiVersion: v1, kind: Namespace",
        "apiVersion: networking.k8s.io/v1, kind: NetworkPolicy",
        "apiVersion: policy.networking.k8s.io/v1alpha1, kind: AdminNetworkPolicy, \
         spec: {priority: 1, subject: {namespaces: {}}}",
    ] {
        for word in ["'True'", "'yes'", "''", "true", "1"] {
            let error = bad(kind, &format!("{{weir.io/audit: {word}}}"));
            assert_eq!(error.path.to_string(), "metadata.annotations.weir.io/audit", "{error}");
            assert!(error.message.contains("\"true\" or \"false\""), "{error}");
        }
        let misspelt = bad(kind, "{weir.io/Audit: 'true'}");
        assert!(misspelt.message.contains("(weir.io/audit "), "{misspelt}");
    }
}
