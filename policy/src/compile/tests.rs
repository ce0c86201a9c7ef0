use super::*;
use crate::model::{Peer, Rule, Selector};

fn pod(name: &str, address: &str, app: &str) -> Pod {
    Pod {
        namespace: "x".into(),
        name: name.into(),
        labels: [("app".to_owned(), app.to_owned())].into(),
        addresses: vec![address.parse().unwrap()],
        node: Some("n1".into()),
        ..Pod::default()
    }
}

fn cluster() -> Cluster {
    let app = |app: &str| Selector {
        labels: [("app".to_owned(), app.to_owned())].into(),
        expressions: Vec::new(),
    };
    Cluster {
        pods: vec![
            pod("web-0", "10.0.0.1", "web"),
            pod("web-1", "10.0.0.2", "web"),
            pod("db-0", "10.0.0.3", "db"),
            Pod { node: Some("n2".into()), ..pod("web-2", "10.0.1.1", "web") },
        ],
        policies: vec![NetworkPolicy {
            namespace: "x".into(),
            name: "db".into(),
            pod_selector: app("db"),
            isolates_ingress: true,
            ingress: vec![Rule {
                peers: vec![Peer::Pods { namespaces: None, pods: Some(app("web")) }],
                ports: Vec::new(),
            }],
            ..NetworkPolicy::default()
        }],
        ..Cluster::default()
    }
}

#[test]
fn equal_pods_share_their_numbers_and_only_local_ones_are_endpoints() {
    let mut compiler = Compiler::new();
    let compiled = compiler.compile(&cluster(), Some("n1"));
    let subject = |pod: &str| compiled.endpoint("x", pod).unwrap().subject;
    assert_eq!(compiled.endpoints.len(), 3);
    assert_eq!(subject("web-0"), subject("web-1"));
    assert_ne!(subject("web-0"), subject("db-0"));
    let identity = |address: &str| compiled.identities[&address.parse::<IpAddr>().unwrap()];
    assert_eq!(identity("10.0.0.1"), identity("10.0.1.1"));
    assert_ne!(identity("10.0.0.1"), identity("10.0.0.3"));
    // One rule, one identity: one entry.
    assert_eq!(compiled.policies.len(), 1);
    let (key, rule_set) = compiled.policies.iter().next().unwrap();
    assert_eq!((key.subject, key.peer), (subject("db-0"), identity("10.0.0.1")));
    let rules = compiler.rule_set(*rule_set).unwrap();
    assert_eq!(crate::explain::rule_text(&rules[0]), "x/db[0]");
    assert_eq!(compiler.rule_set(0).unwrap().len(), 0);
    assert_eq!(compiler.rule_set(u32::MAX), None);
}

#[test]
fn the_same_cluster_compiles_to_the_same_entries() {
    let mut compiler = Compiler::new();
    let first = compiler.compile(&cluster(), Some("n1"));
    let second = compiler.compile(&cluster(), Some("n1"));
    assert_eq!((first.revision, second.revision), (1, 2));
    assert_eq!(first.endpoints, second.endpoints);
    assert_eq!(first.identities, second.identities);
    assert_eq!(first.policies, second.policies);
}

#[test]
fn numbers_of_forgotten_content_are_not_used_again() {
    let mut compiler = Compiler::new();
    let mut seen = std::collections::HashSet::new();
    for round in 0..50 {
        let mut cluster = cluster();
        cluster.pods.push(pod("job", "10.0.0.9", &format!("job-{round}")));
        let compiled = compiler.compile(&cluster, Some("n1"));
        let job: IpAddr = "10.0.0.9".parse().unwrap();
        assert!(seen.insert(compiled.identities[&job]));
    }
    // Web and db are left; no job is remembered.
    let compiled = compiler.compile(&cluster(), Some("n1"));
    assert_eq!(compiler.identities.len(), 2);
    assert_eq!(compiler.subjects.len(), 2);
    drop(compiled);
}

#[test]
fn an_exception_without_rules_is_a_block_without_entries() {
    let mut cluster = cluster();
    cluster.policies[0].ingress[0].peers = vec![Peer::Block(crate::model::IpBlock {
        cidr: "10.0.0.0/8".parse().unwrap(),
        except: vec!["10.1.0.0/16".parse().unwrap()],
    })];
    let compiled = Compiler::new().compile(&cluster, Some("n1"));
    assert_eq!(compiled.cidrs.len(), 2);
    let peer_of = |net: &str| {
        let (_, peer) = compiled.cidrs.iter().find(|(key, _)| key.net.to_string() == net).unwrap();
        *peer
    };
    let entries = |peer: u32| compiled.policies.keys().filter(|key| key.peer == peer).count();
    assert_eq!(entries(peer_of("10.0.0.0/8")), 1);
    assert_eq!(entries(peer_of("10.1.0.0/16")), 0);
    assert!(peer_of("10.1.0.0/16") & PEER_CIDR != 0);
}
