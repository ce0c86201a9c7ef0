use rustc_hash::FxHashSet;

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
    let subject = |pod: &str| compiled.endpoint("x", pod).unwrap().enforced.subject;
    assert_eq!(compiled.endpoints.len(), 3);
    assert_eq!(subject("web-0"), subject("web-1"));
    assert_ne!(subject("web-0"), subject("db-0"));
    let identity = |address: &str| compiled.identities[&address.parse::<IpAddr>().unwrap()];
    assert_eq!(identity("10.0.0.1"), identity("10.0.1.1"));
    assert_ne!(identity("10.0.0.1"), identity("10.0.0.3"));
    // One rule, one identity: one entry.
    assert_eq!(compiled.policies().count(), 1);
    let (key, entry) = compiled.policies().next().unwrap();
    assert_eq!((key.subject, key.peer), (subject("db-0"), identity("10.0.0.1")));
    let rules = compiler.rule_set(entry.rule_set).unwrap();
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
    assert_eq!(first.subjects, second.subjects);
    for (id, entries) in &first.subjects {
        assert!(Arc::ptr_eq(entries, &second.subjects[id]), "what did not change is shared");
    }
}

/// Pods of another app may talk to db, in each round of another one.
fn with_job(round: u32) -> Cluster {
    let mut cluster = cluster();
    cluster.pods.push(pod("job", "10.0.0.9", &format!("job-{round}")));
    let job = Selector {
        labels: [("app".to_owned(), format!("job-{round}"))].into(),
        expressions: Vec::new(),
    };
    let peer = Peer::Pods { namespaces: None, pods: Some(job) };
    cluster.policies[0].ingress[0].peers.push(peer);
    cluster
}

#[test]
fn numbers_of_forgotten_content_are_not_used_again() {
    let mut compiler = Compiler::new();
    let mut seen = std::collections::HashSet::new();
    for round in 0..50 {
        let compiled = compiler.compile(&with_job(round), Some("n1"));
        let job: IpAddr = "10.0.0.9".parse().unwrap();
        assert!(seen.insert(compiled.identities[&job]));
    }
    // Web and those that no rule means are left; no job is remembered.
    let compiled = compiler.compile(&cluster(), Some("n1"));
    assert_eq!(compiler.identities.known().count(), 2);
    assert_eq!(compiler.subjects.known().count(), 2);
    assert_eq!(compiler.entries.len(), 2);
    drop(compiled);
}

#[test]
fn labels_that_no_rule_asks_about_make_no_identity() {
    let mut cluster = cluster();
    for number in 0..20 {
        let pod =
            pod(&format!("other-{number}"), &format!("10.0.2.{number}"), &format!("{number}"));
        cluster.pods.push(pod);
    }
    let compiled = Compiler::new().compile(&cluster, Some("n1"));
    let numbers: FxHashSet<u32> = compiled.identities.values().copied().collect();
    assert_eq!(numbers.len(), 2, "web, which a rule means, and all others");
}

#[test]
fn another_process_goes_on_with_the_numbers() {
    let mut compiler = Compiler::new();
    let mut written = Numbers::default();
    for round in 0..5 {
        compiler.compile(&with_job(round), Some("n1"));
        written.extend(compiler.take_new_numbers());
        assert!(compiler.take_new_numbers().is_empty());
    }
    let text = serde_json::to_string(&written).unwrap();
    let before = compiler.compile(&with_job(4), Some("n1"));
    assert!(compiler.take_new_numbers().is_empty());

    for numbers in [serde_json::from_str(&text).unwrap(), compiler.numbers()] {
        let mut resumed = Compiler::resume(numbers).unwrap();
        assert_eq!(resumed.rule_sets(), compiler.rule_sets());
        let after = resumed.compile(&with_job(4), Some("n1"));
        assert!(resumed.take_new_numbers().is_empty());
        assert!(after.revision >= before.revision);
        assert_eq!(after.endpoints, before.endpoints);
        assert_eq!(after.identities, before.identities);
        assert_eq!(after.subjects, before.subjects);

        let other = resumed.compile(&with_job(5), Some("n1"));
        let job: IpAddr = "10.0.0.9".parse().unwrap();
        assert!(!before.identities.values().any(|id| *id == other.identities[&job]));
        assert!(other.endpoint("x", "db-0").unwrap().enforced.subject >= written.next_subject);
    }
}

#[test]
fn numbers_that_contradict_themselves_are_refused() {
    let mut compiler = Compiler::new();
    compiler.compile(&with_job(0), Some("n1"));
    let numbers = compiler.numbers();
    let wrong: [fn(&mut Numbers); 4] = [
        |numbers| numbers.next_identity = 17,
        |numbers| numbers.next_subject = 0,
        |numbers| numbers.subjects[0].1 = numbers.subjects[1].1,
        |numbers| drop(numbers.rule_sets.remove(0)),
    ];
    for spoil in wrong {
        let mut numbers = numbers.clone();
        spoil(&mut numbers);
        assert!(Compiler::resume(numbers).is_err());
    }
}

#[test]
fn an_exception_without_rules_is_a_block_without_entries() {
    let mut cluster = cluster();
    cluster.policies[0].ingress[0].peers = vec![Peer::Block(crate::model::IpBlock {
        cidr: "10.0.0.0/8".parse().unwrap(),
        except: vec!["10.1.0.0/16".parse().unwrap()],
    })];
    let compiled = Compiler::new().compile(&cluster, Some("n1"));
    assert_eq!(compiled.cidrs().count(), 2);
    let peer_of = |net: &str| {
        let (_, peer) = compiled.cidrs().find(|(key, _)| key.net.to_string() == net).unwrap();
        peer
    };
    let entries = |peer: u32| compiled.policies().filter(|(key, _)| key.peer == peer).count();
    assert_eq!(entries(peer_of("10.0.0.0/8")), 1);
    assert_eq!(entries(peer_of("10.1.0.0/16")), 0);
    assert!(peer_of("10.1.0.0/16") & PEER_CIDR != 0);
}
