//! At every single change of the maps each lookup gives the old answer or the new one, whatever
//! changes and wherever an update fails.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use ipnet::IpNet;
use proptest::prelude::*;
use weir_abi::endpoint::{CIDR_EGRESS, CIDR_INGRESS, ISOLATED_EGRESS, ISOLATED_INGRESS};
use weir_abi::policy::{
    ANY_PROTOCOL_BIT, CidrV4, IDENTITY_LOCAL_NODE, IDENTITY_WORLD, PEER_ANY, PolicyKey,
};
use weir_abi::{DIRECTION_EGRESS, DIRECTION_INGRESS};
use weir_flow::values::{Direction, Verdict};
use weir_policy::Cluster;
use weir_policy::compile::{Compiled, Compiler};
use weir_policy::lookup::lookup;
use weir_policy::model::{
    ContainerPort, IpBlock, Namespace, NetworkPolicy, Node, Peer, Pod, Port, PortRule, Protocol,
    Rule, Selector,
};

use super::fake::Fake;
use crate::directory::to_kernel;
use crate::enforcer::Options;
use crate::enforcer::state::{self, MapState};
use crate::enforcer::update::Applier;

const PORTS: [u16; 3] = [80, 81, 8080];

/// Interface, direction, remote address, port.
type Question = (u32, u8, IpAddr, u16);
/// Allowed, and the rule sets that say so.
type Answer = (bool, u32, u32);

/// The programs' lookup, over the maps.
fn ask(maps: &MapState, (interface, direction, remote, port): Question) -> Option<Answer> {
    let endpoint = maps.endpoints.get(&interface)?.enforced;
    let (isolated, has_blocks, isolated_by, prefixes) = if direction == DIRECTION_INGRESS {
        (
            ISOLATED_INGRESS,
            CIDR_INGRESS,
            endpoint.isolated_by_ingress,
            endpoint.port_prefixes_ingress,
        )
    } else {
        (ISOLATED_EGRESS, CIDR_EGRESS, endpoint.isolated_by_egress, endpoint.port_prefixes_egress)
    };
    if endpoint.flags & isolated == 0 {
        return Some((true, 0, 0));
    }
    let identity = maps.identities.get(&to_kernel(remote)).copied().unwrap_or(IDENTITY_WORLD);
    if identity == IDENTITY_LOCAL_NODE {
        return Some((true, 0, 0));
    }
    let IpAddr::V4(remote) = remote else { unreachable!("the test has IPv4 only") };
    let block = (0..=32u32).rev().find_map(|length| {
        let bits = u32::from(remote) & u32::MAX.checked_shl(32 - length).unwrap_or(0);
        let block = CidrV4 {
            subject: endpoint.subject,
            direction: u32::from(direction),
            address: bits.to_be_bytes(),
        };
        maps.cidrs_v4.get(&(64 + length, block)).copied()
    });
    let block = if endpoint.flags & has_blocks == 0 { None } else { block };
    let rules_of = |peer: u32| {
        let exact = (0..=16u8).rev().filter(|length| prefixes & (1 << length) != 0);
        let exact = exact.map(|length| {
            let mask = u16::MAX.checked_shl(16 - u32::from(length)).unwrap_or(0);
            (6u8, port & mask, length)
        });
        let any = (prefixes & (1 << ANY_PROTOCOL_BIT) != 0).then_some((0, 0, 0));
        exact.chain(any).find_map(|(protocol, port, port_prefix)| {
            let subject = endpoint.subject;
            let reserved = [0; 3];
            let key = PolicyKey { subject, peer, port, direction, protocol, port_prefix, reserved };
            maps.policies.get(&key).copied()
        })
    };
    Some(match (rules_of(identity), rules_of(block.unwrap_or(PEER_ANY))) {
        (None, None) => (false, isolated_by, 0),
        (by_identity, by_block) => (true, by_identity.unwrap_or(0), by_block.unwrap_or(0)),
    })
}

fn questions() -> impl Iterator<Item = Question> {
    (1..=6u32).flat_map(|interface| {
        [DIRECTION_INGRESS, DIRECTION_EGRESS].into_iter().flat_map(move |direction| {
            (1..=9u8).flat_map(move |last| {
                let remote = IpAddr::from([10, 0, 0, last]);
                PORTS.into_iter().map(move |port| (interface, direction, remote, port))
            })
        })
    })
}

fn labels(app: u8) -> BTreeMap<String, String> {
    BTreeMap::from([("app".to_owned(), ["x", "y", "z"][usize::from(app % 3)].to_owned())])
}

fn selector() -> impl Strategy<Value = Selector> {
    prop::option::of(0u8..3).prop_map(|app| Selector {
        labels: app.map(labels).unwrap_or_default(),
        expressions: Vec::new(),
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    let pods = prop::collection::vec(
        (prop::option::of(selector()), prop::option::of(selector()))
            .prop_map(|(namespaces, pods)| Peer::Pods { namespaces, pods }),
        0..3,
    );
    let block = (0u8..9, prop::sample::select(vec![0u8, 29, 30, 32])).prop_map(|(last, length)| {
        let net = IpNet::new(IpAddr::from([10, 0, 0, last]), length).unwrap().trunc();
        Peer::Block(IpBlock { cidr: net, except: Vec::new() })
    });
    let port = prop_oneof![
        Just(Port::All),
        Just(Port::Range(80, 80)),
        Just(Port::Range(80, 81)),
        Just(Port::Range(8000, 9000)),
    ];
    let named = prop_oneof![port.clone(), Just(Port::Named("web".into()))];
    let as_ports = |ports: Vec<Port>| -> Vec<PortRule> {
        ports.into_iter().map(|port| PortRule { protocol: Protocol::Tcp, port }).collect()
    };
    prop_oneof![
        (pods, prop::collection::vec(named, 0..3))
            .prop_map(move |(peers, ports)| Rule { peers, ports: as_ports(ports) }),
        // Blocks with port names would make a subject's blocks depend on pods.
        (prop::collection::vec(block, 1..3), prop::collection::vec(port, 0..3))
            .prop_map(move |(peers, ports)| Rule { peers, ports: as_ports(ports) }),
    ]
}

fn policy() -> impl Strategy<Value = NetworkPolicy> {
    let rules = || prop::collection::vec(rule(), 0..3);
    (0u8..2, 0u8..4, selector(), any::<bool>(), any::<bool>(), rules(), rules()).prop_map(
        |(namespace, name, pod_selector, isolates_ingress, isolates_egress, ingress, egress)| {
            NetworkPolicy {
                namespace: format!("ns{namespace}"),
                name: format!("policy{name}"),
                pod_selector,
                isolates_ingress,
                isolates_egress,
                ingress,
                egress,
                ..NetworkPolicy::default()
            }
        },
    )
}

/// Pods have their number as interface; which address, labels and ports they have varies.
fn pods() -> impl Strategy<Value = Vec<Pod>> {
    let pod = (prop::option::weighted(0.9, 0u8..3), 0u8..3, any::<bool>());
    let order = Just((1..=6u8).collect::<Vec<_>>()).prop_shuffle();
    (prop::collection::vec(pod, 6), order, any::<bool>()).prop_map(|(pods, order, shuffled)| {
        let pods = pods.into_iter().enumerate().filter_map(|(index, (app, port, in_second))| {
            let own = u8::try_from(index).unwrap() + 1;
            let last = if shuffled { order[index] } else { own };
            Some(Pod {
                namespace: format!("ns{}", u8::from(in_second && index > 2)),
                name: format!("pod{own}"),
                labels: labels(app?),
                addresses: vec![IpAddr::from([10, 0, 0, last])],
                node: Some("n1".into()),
                ports: vec![ContainerPort {
                    name: Some("web".into()),
                    port: PORTS[usize::from(port)],
                    protocol: Protocol::Tcp,
                }],
                ..Pod::default()
            })
        });
        pods.collect()
    })
}

fn cluster() -> impl Strategy<Value = Cluster> {
    let policies = prop::collection::vec(policy(), 0..5).prop_map(|mut policies| {
        policies.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        policies.dedup_by(|a, b| (&a.namespace, &a.name) == (&b.namespace, &b.name));
        policies
    });
    (pods(), policies, 0u8..3).prop_map(|(pods, policies, app)| Cluster {
        namespaces: vec![Namespace::new("ns0", labels(app)), Namespace::new("ns1", labels(1))],
        pods,
        policies,
        nodes: vec![Node {
            name: "n1".into(),
            addresses: vec![IpAddr::from([10, 0, 0, 8])],
            ..Node::default()
        }],
        ..Cluster::default()
    })
}

fn interface(pod: &str) -> u32 {
    pod.trim_start_matches("pod").parse().unwrap()
}

fn maps(compiled: &Compiled) -> MapState {
    let mut maps = MapState::of(compiled);
    for endpoint in &compiled.endpoints {
        let interface = interface(&endpoint.pod);
        let options = Options::default();
        let entry = state::endpoint(interface, compiled.revision, endpoint, &options);
        maps.endpoints.insert(interface, entry);
    }
    maps
}

/// Watches that every answer is one of the two.
fn observe(
    old: &MapState,
    new: &MapState,
    wrong: &Rc<RefCell<Option<String>>>,
) -> Box<dyn FnMut(&MapState)> {
    let answers: Vec<_> =
        questions().map(|question| (question, ask(old, question), ask(new, question))).collect();
    let wrong = wrong.clone();
    Box::new(move |present| {
        for (question, old, new) in &answers {
            let answer = ask(present, *question);
            // Before its endpoint is there and after it is gone, a pod is not judged.
            let unjudged = answer.is_none() && (old.is_none() || new.is_none());
            if !unjudged && answer != *old && answer != *new {
                wrong.borrow_mut().get_or_insert_with(|| {
                    format!("{question:?}: {old:?}, then {answer:?}, then {new:?}")
                });
            }
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_is_the_old_or_the_new_one(
        first in cluster(),
        second in cluster(),
        fail_after in prop::option::weighted(0.3, 0usize..200),
    ) {
        let mut compiler = Compiler::new();
        let (mut kernel, mut applier) = (Fake::default(), Applier::default());
        let old = compiler.compile(&first, Some("n1"));
        let old_maps = maps(&old);
        prop_assert!(applier.update(&mut kernel, &old_maps).is_ok());
        prop_assert_eq!(&kernel.state, &old_maps);

        let new = compiler.compile(&second, Some("n1"));
        let new_maps = maps(&new);
        let wrong = Rc::default();
        kernel.observer = Some(observe(&old_maps, &new_maps, &wrong));
        kernel.fail_after = fail_after;
        let result = applier.update(&mut kernel, &new_maps);
        prop_assert_eq!(wrong.borrow().clone(), None);
        match result {
            Ok(updated) if updated.leftovers.is_none() && updated.refused.is_empty() => {
                prop_assert_eq!(&kernel.state, &new_maps);
            }
            Ok(_) => {}
            Err(_) => prop_assert_eq!(&kernel.state, &old_maps),
        }
        // What one update left behind the next one puts right.
        kernel.fail_after = None;
        prop_assert!(applier.update(&mut kernel, &new_maps).is_ok());
        prop_assert_eq!(&kernel.state, &new_maps);
        prop_assert_eq!(wrong.borrow().clone(), None);
    }

    /// The conversion to the ABI keeps the meaning.
    #[test]
    fn maps_answer_as_the_compiler_does(cluster in cluster()) {
        let compiled = Compiler::new().compile(&cluster, Some("n1"));
        let maps = maps(&compiled);
        for (interface_of, direction, remote, port) in questions() {
            let found = compiled.endpoints.iter().find(|e| interface(&e.pod) == interface_of);
            let expected = found.map(|endpoint| {
                let side = if direction == DIRECTION_INGRESS {
                    Direction::Ingress
                } else {
                    Direction::Egress
                };
                let answer = lookup(&compiled, endpoint, side, remote, 6, port);
                (answer.verdict == Verdict::Allow, answer.rule_sets[0], answer.rule_sets[1])
            });
            prop_assert_eq!(ask(&maps, (interface_of, direction, remote, port)), expected);
        }
    }
}
