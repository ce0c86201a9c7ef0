mod flow_logging;
mod logging;
mod tier;

use super::*;
use crate::model::{
    IpBlock, Operator, Peer, Phase, Port, PortRule, Protocol, Requirement, Rule, Selector,
};

fn policies(text: &str) -> Vec<NetworkPolicy> {
    parse(text)
        .into_iter()
        .map(|result| match result {
            Ok(Object::NetworkPolicy(policy)) => policy,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// The error of the only bad object.
fn error(text: &str) -> ManifestError {
    let mut errors: Vec<ManifestError> = parse(text).into_iter().filter_map(Result::err).collect();
    assert_eq!(errors.len(), 1, "{errors:?}\n{text}");
    errors.remove(0)
}

fn with_spec(spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{name: p, namespace: x}}\nspec:\n{spec}"
    )
}

#[test]
fn a_whole_policy() {
    let text = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: test
  namespace: shop
  creationTimestamp: null
spec:
  podSelector:
    matchLabels: {role: db}
    matchExpressions:
    - {key: tier, operator: NotIn, values: [web, api]}
    - {key: old, operator: DoesNotExist}
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - ipBlock: {cidr: 172.17.1.2/16, except: [172.17.1.0/24]}
    - namespaceSelector: {}
      podSelector: {matchLabels: {role: front}}
    ports:
    - {protocol: TCP, port: 6379}
    - {port: metrics}
    - {protocol: UDP, port: 32000, endPort: 32768}
    - {protocol: SCTP}
  egress: [{}]
";
    let selector = |labels: &[(&str, &str)]| Selector {
        labels: labels.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect(),
        expressions: Vec::new(),
    };
    let port = |protocol, port| PortRule { protocol, port };
    let mut pod_selector = selector(&[("role", "db")]);
    pod_selector.expressions = vec![
        Requirement {
            key: "tier".into(),
            operator: Operator::NotIn(vec!["web".into(), "api".into()]),
        },
        Requirement { key: "old".into(), operator: Operator::DoesNotExist },
    ];
    let expected = NetworkPolicy {
        namespace: "shop".into(),
        name: "test".into(),
        pod_selector,
        isolates_ingress: true,
        isolates_egress: true,
        ingress: vec![Rule {
            peers: vec![
                Peer::Block(IpBlock {
                    cidr: "172.17.0.0/16".parse().unwrap(),
                    except: vec!["172.17.1.0/24".parse().unwrap()],
                }),
                Peer::Pods {
                    namespaces: Some(Selector::default()),
                    pods: Some(selector(&[("role", "front")])),
                },
            ],
            ports: vec![
                port(Protocol::Tcp, Port::Range(6379, 6379)),
                port(Protocol::Tcp, Port::Named("metrics".into())),
                port(Protocol::Udp, Port::Range(32000, 32768)),
                port(Protocol::Sctp, Port::All),
            ],
        }],
        egress: vec![Rule::default()],
        ..NetworkPolicy::default()
    };
    assert_eq!(policies(text), [expected]);
}

#[test]
fn policy_types_are_defaulted_like_the_api_server_does() {
    let isolation = |spec: &str| {
        let policy = policies(&with_spec(spec)).remove(0);
        (policy.isolates_ingress, policy.isolates_egress)
    };
    assert_eq!(isolation("podSelector: {}"), (true, false));
    assert_eq!(isolation("{}"), (true, false));
    assert_eq!(isolation("policyTypes: []\negress: []"), (true, false));
    assert_eq!(isolation("egress: [{}]"), (true, true));
    assert_eq!(isolation("policyTypes: [Egress]\ningress: [{}]"), (false, true));
    assert_eq!(isolation("policyTypes: [Ingress, Ingress]\negress: [{}]"), (true, false));
    let bare = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: a.b}}";
    assert_eq!(policies(bare)[0].namespace, "default");
}

#[test]
fn bad_policies_are_refused_with_the_field() {
    let cases = [
        ("podselector: {}", "spec.podselector", "correct its spelling"),
        ("policyTypes: [ingress]", "spec.policyTypes[0]", "write Ingress or Egress"),
        ("policyTypes: [Ingress, Egress, Egress]", "spec.policyTypes", "more than two"),
        ("podSelector: {matchLabels: {a: 1}}", "spec.podSelector.matchLabels.a", "in quotes"),
        ("podSelector: {matchLabels: {a b: x}}", "spec.podSelector.matchLabels", "label key"),
        ("podSelector: {matchLabels: {a: '-'}}", "spec.podSelector.matchLabels.a", "label value"),
        (
            "podSelector: {matchExpressions: [{key: a, operator: In}]}",
            "spec.podSelector.matchExpressions[0].values",
            "at least one value",
        ),
        (
            "podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}",
            "spec.podSelector.matchExpressions[0].values",
            "left out",
        ),
        (
            "podSelector: {matchExpressions: [{key: a, operator: in, values: [b]}]}",
            "spec.podSelector.matchExpressions[0].operator",
            "write In, NotIn",
        ),
        ("ingress: [{to: []}]", "spec.ingress[0].to", "not known here"),
        ("ingress: {}", "spec.ingress", "expected a sequence"),
        ("ingress: [{from: [{}]}]", "spec.ingress[0].from[0]", "is empty"),
        (
            "egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}]",
            "spec.egress[0].to[0]",
            "two peers",
        ),
        ("egress: [{to: [{ipBlock: {}}]}]", "spec.egress[0].to[0].ipBlock.cidr", "is missing"),
        (
            "egress: [{to: [{ipBlock: {cidr: 10.0.0.256/8}}]}]",
            "spec.egress[0].to[0].ipBlock.cidr",
            "not a block",
        ),
        (
            "egress: [{to: [{ipBlock: {cidr: 10.0.0.1}}]}]",
            "spec.egress[0].to[0].ipBlock.cidr",
            "not a block",
        ),
        (
            "egress: [{to: [{ipBlock: {cidr: '::ffff:10.0.0.0/104'}}]}]",
            "spec.egress[0].to[0].ipBlock.cidr",
            "write the IPv4 block",
        ),
        (
            "egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}]",
            "spec.egress[0].to[0].ipBlock.except[0]",
            "inside the cidr",
        ),
        (
            "egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]}]",
            "spec.egress[0].to[0].ipBlock.except[0]",
            "smaller",
        ),
        (
            "egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: ['fd00::/64']}}]}]",
            "spec.egress[0].to[0].ipBlock.except[0]",
            "inside the cidr",
        ),
        ("ingress: [{ports: [{protocol: tcp}]}]", "spec.ingress[0].ports[0].protocol", "capitals"),
        ("ingress: [{ports: [{protocol: ICMP}]}]", "spec.ingress[0].ports[0].protocol", "SCTP"),
        ("ingress: [{ports: [{port: 0}]}]", "spec.ingress[0].ports[0].port", "1 to 65535"),
        ("ingress: [{ports: [{port: 65536}]}]", "spec.ingress[0].ports[0].port", "1 to 65535"),
        ("ingress: [{ports: [{port: '80'}]}]", "spec.ingress[0].ports[0].port", "quotes"),
        ("ingress: [{ports: [{port: Web}]}]", "spec.ingress[0].ports[0].port", "port name"),
        ("ingress: [{ports: [{port: 1.5}]}]", "spec.ingress[0].ports[0].port", "a port number"),
        (
            "ingress: [{ports: [{port: 90, endPort: 80}]}]",
            "spec.ingress[0].ports[0].endPort",
            "below port 90",
        ),
        (
            "ingress: [{ports: [{port: web, endPort: 80}]}]",
            "spec.ingress[0].ports[0].endPort",
            "port name",
        ),
        ("ingress: [{ports: [{endPort: 80}]}]", "spec.ingress[0].ports[0].endPort", "add port"),
    ];
    for (spec, path, message) in cases {
        let error = error(&with_spec(spec));
        assert_eq!(error.path.to_string(), path, "{spec}: {error}");
        assert!(error.message.contains(message), "{spec}: {error}");
        assert!(error.line.is_some_and(|line| line >= 4), "{spec}: {error}");
        assert_eq!(error.object.unwrap().to_string(), "NetworkPolicy x/p");
    }
}

#[test]
fn bad_names_and_versions_are_refused() {
    let head = |api: &str, metadata: &str| {
        format!("apiVersion: {api}\nkind: NetworkPolicy\nmetadata: {metadata}\n")
    };
    let v1 = "networking.k8s.io/v1";
    assert_eq!(error(&head(v1, "{}")).path.to_string(), "metadata.name");
    assert_eq!(error(&head(v1, "{name: Upper}")).path.to_string(), "metadata.name");
    let bad_namespace = error(&head(v1, "{name: a, namespace: a.b}"));
    assert_eq!(bad_namespace.path.to_string(), "metadata.namespace");
    let old = error(&head("extensions/v1beta1", "{name: a}"));
    assert!(old.message.contains("networking.k8s.io/v1: change it"), "{old}");
    let foreign = parse(&head("projectcalico.org/v3", "{name: a}")).remove(0).unwrap();
    assert_eq!(foreign, Object::Ignored { kind: "NetworkPolicy.projectcalico.org".into() });
    assert_eq!(error("kind: Pod\nmetadata: {name: a}").path.to_string(), "apiVersion");
    assert_eq!(error("- 1\n").object, None);
}

#[test]
fn one_bad_document_leaves_the_others() {
    let text = "\
# a comment
---
apiVersion: v1
kind: Namespace
metadata: {name: a}
---
apiVersion: v1
kind: Namespace
  metadata: [
---

---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: broken
spec:
  podSelector: {}
  ingress:
  - from:
    - ipBlock:
        cidr: nonsense
...
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
";
    let results = parse(text);
    assert_eq!(results.len(), 4, "{results:?}");
    assert!(matches!(&results[0], Ok(Object::Namespace(namespace)) if namespace.name == "a"));
    let syntax = results[1].as_ref().unwrap_err();
    assert_eq!(syntax.document, 2);
    assert!((6..=9).contains(&syntax.line.unwrap()), "{syntax}");
    assert!(syntax.message.contains("not valid YAML"), "{syntax}");
    let field = results[2].as_ref().unwrap_err();
    assert_eq!((field.document, field.line), (3, Some(22)), "{field}");
    assert_eq!(
        field.to_string(),
        "document 3, line 22, NetworkPolicy broken: spec.ingress[0].from[0].ipBlock.cidr \
         \"nonsense\" is not a block of addresses: write it as 10.0.0.0/8 or 2001:db8::/32"
    );
    assert_eq!(results[3], Ok(Object::Ignored { kind: "ConfigMap".into() }));
}

#[test]
fn lists_stand_for_their_items() {
    let list = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}},
        {"apiVersion": "v1", "kind": "Pod",
         "metadata": {"name": 5}}
    ]}
    {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicyList", "metadata": {},
     "items": [{"metadata": {"name": "p"}, "spec": {}}]}"#;
    let results = parse(list);
    assert_eq!(results.len(), 3, "{results:?}");
    let error = results[1].as_ref().unwrap_err();
    assert_eq!(error.path.to_string(), "items[1].metadata.name");
    assert_eq!(error.line, Some(4), "{error}");
    assert!(matches!(&results[2], Ok(Object::NetworkPolicy(policy)) if policy.name == "p"));
    let broken = parse(r#"{"kind": "List", "items": 3}"#).remove(0).unwrap_err();
    assert_eq!(broken.path.to_string(), "items");
}

#[test]
fn other_objects_are_read_for_what_policies_need() {
    let text = "\
apiVersion: v1
kind: Pod
metadata:
  name: web-7d4b9c-xyz
  namespace: shop
  labels: {app: web, pod-template-hash: 7d4b9c}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-7d4b9c, uid: u, controller: true}]
spec:
  nodeName: n1
  containers:
  - {name: c, image: i, ports: [{containerPort: 80, name: http}, {containerPort: 53, protocol: UDP}]}
  initContainers:
  - {name: once, ports: [{containerPort: 1}]}
  - {name: sidecar, restartPolicy: Always, ports: [{containerPort: 9, name: m}]}
status: {phase: Succeeded, podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}
---
apiVersion: v1
kind: Service
metadata: {name: s}
spec: {clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1], selector: {app: web}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}, {type: Hostname, address: n1}]}
";
    let objects: Vec<Object> = parse(text).into_iter().map(Result::unwrap).collect();
    let Object::Pod(pod) = &objects[0] else { panic!("{objects:?}") };
    assert_eq!(pod.addresses.len(), 2);
    assert_eq!((pod.node.as_deref(), pod.phase), (Some("n1"), Phase::Succeeded));
    let workload = pod.workload.as_ref().unwrap();
    assert_eq!((workload.kind.as_str(), workload.name.as_str()), ("Deployment", "web"));
    let ports: Vec<u16> = pod.ports.iter().map(|port| port.port).collect();
    assert_eq!(ports, [80, 53, 9]);
    let Object::Service(service) = &objects[1] else { panic!("{objects:?}") };
    assert_eq!(service.cluster_ips, ["10.96.0.1".parse::<std::net::IpAddr>().unwrap()]);
    let Object::Service(headless) = &objects[2] else { panic!("{objects:?}") };
    assert!(headless.cluster_ips.is_empty());
    let Object::Node(node) = &objects[3] else { panic!("{objects:?}") };
    assert_eq!(node.addresses.len(), 1);

    let bad = "{apiVersion: v1, kind: Pod, metadata: {name: a}, status: {podIP: 10.0.0.300}}";
    assert_eq!(error(bad).path.to_string(), "status.podIP");
}

#[test]
fn jobs_of_cron_jobs_are_known_by_their_names() {
    let workload = |owner: &str| {
        let text = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: a, ownerReferences: [{owner}]}}}}"
        );
        match parse(&text).remove(0) {
            Ok(Object::Pod(pod)) => pod.workload.map(|w| format!("{}/{}", w.kind, w.name)),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(workload("{kind: Job, name: backup-29345670}").unwrap(), "CronJob/backup");
    assert_eq!(workload("{kind: Job, name: migrate-2}").unwrap(), "Job/migrate-2");
    assert_eq!(workload("{kind: StatefulSet, name: db}").unwrap(), "StatefulSet/db");
    assert_eq!(workload("{kind: ReplicaSet, name: rs-abc}").unwrap(), "ReplicaSet/rs-abc");
    assert_eq!(workload(""), None);
}

#[test]
fn hostile_texts_are_refused_in_bounded_time() {
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
                c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n\
                e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
    assert!(error(bomb).message.contains("not valid YAML"));
    for deep in ["[".repeat(100_000), "{\"a\":".repeat(100_000), "- ".repeat(100_000)] {
        assert!(error(&deep).message.contains("not valid YAML"));
    }
    let twice = "{apiVersion: v1, kind: Namespace, kind: Pod, metadata: {name: a}}";
    assert!(error(twice).message.contains("not valid YAML"));
    for text in ["", "\n\n", "---\n---\n", "# only a comment\n", "%YAML 1.2\n---\n", "null\n", "~"]
    {
        assert_eq!(parse(text), [], "{text:?}");
    }
}

#[test]
fn windows_line_ends_and_byte_order_marks_are_fine() {
    let text = "\u{feff}apiVersion: v1\r\nkind: Namespace\r\nmetadata:\r\n  name: a\r\n---\r\n\
                apiVersion: v1\r\nkind: Namespace\r\nmetadata:\r\n  name: b\r\n";
    assert_eq!(parse(text).into_iter().filter(Result::is_ok).count(), 2);
}

#[test]
fn policies_come_with_the_text_that_describes_them() {
    let policy = "# why\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
                  metadata: {name: p, namespace: x}\nspec: {podSelector: {}}\n";
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n";
    let text = format!("{policy}---\n{namespace}");
    let found: Vec<_> = parse_with_texts(&text).into_iter().map(Result::unwrap).collect();
    assert_eq!(found[0].1.as_deref(), Some(policy));
    assert_eq!(found[1].1, None);
    let list = r#"{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicyList","items":[
        {"metadata":{"name":"p","namespace":"x"},"spec":{"podSelector":{}}}]}"#;
    let item = parse_with_texts(list).remove(0).unwrap();
    assert_eq!(item.0, found[0].0);
    assert_eq!(parse(item.1.as_deref().unwrap()), [Ok(item.0)]);
}

#[test]
fn what_yaml_itself_forbids_is_said_plainly() {
    for (spec, expected) in [
        ("podSelector: {}\npodSelector: {}", "is not valid YAML: podSelector stands there twice"),
        ("podSelector: &a [*a]", "is not valid YAML: an alias stands inside"),
    ] {
        let error = error(&with_spec(spec));
        assert!(error.message.starts_with(expected), "{error}");
        assert!(error.line.is_some(), "{error}");
    }
}
