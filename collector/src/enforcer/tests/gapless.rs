//! At every single change of the maps each lookup gives the old answer or the new one, whatever
//! changes and wherever an update fails.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

use ipnet::IpNet;
use proptest::prelude::*;
use weir_abi::endpoint::{
    ANY_EGRESS, ANY_INGRESS, AUDIT, CIDR_EGRESS, CIDR_INGRESS, ISOLATED_EGRESS, ISOLATED_INGRESS,
    SubjectView, TIERS_EGRESS, TIERS_INGRESS,
};
use weir_abi::policy::{
    ACTION_ALLOW, ACTION_DENY, ACTION_MASK, ANY_PROTOCOL_BIT, CidrV4, IDENTITY_LOCAL_NODE,
    IDENTITY_WORLD, PEER_ANY, PolicyKey, PolicyValue, port_bit,
};
use weir_abi::{DIRECTION_EGRESS, DIRECTION_INGRESS};
use weir_flow::values::{Direction, Reason, Verdict};
use weir_policy::Cluster;
use weir_policy::compile::{Compiled, Compiler};
use weir_policy::lookup::lookup;
use weir_policy::model::{
    Action, ContainerPort, IpBlock, Labels, Namespace, NetworkPolicy, Node, Peer, Pod, Port,
    PortRule, Protocol, Rule, Selector, Tier, TierKind, TierPeer, TierPods, TierPolicy, TierRule,
};

use super::fake::Fake;
use crate::directory::to_kernel;
use crate::enforcer::Options;
use crate::enforcer::state::{self, Contents, MapState};
use crate::enforcer::update::Applier;

const PORTS: [u16; 3] = [80, 81, 8080];

/// Interface, direction, remote address, port.
type Question = (u32, u8, IpAddr, u16);
/// Verdict, reason, and the rule sets that say so.
type Answer = (Verdict, Reason, [u32; 2]);

/// The programs' lookup, over the maps.
fn ask(maps: &MapState, question: Question) -> Option<Answer> {
    let endpoint = maps.endpoints.get(&question.0)?;
    let audit = |answer: Answer| match answer.0 {
        Verdict::Deny => (Verdict::Audit, answer.1, answer.2),
        Verdict::Allow | Verdict::Audit => answer,
    };
    let enforced = judge(maps, &endpoint.enforced, question);
    let answer = if enforced.0 == Verdict::Deny || endpoint.audited.subject == 0 {
        enforced
    } else {
        audit(judge(maps, &endpoint.audited, question))
    };
    Some(if endpoint.flags & AUDIT != 0 { audit(answer) } else { answer })
}

fn judge(maps: &MapState, view: &SubjectView, (_, direction, remote, port): Question) -> Answer {
    let (isolated, tiers, has_blocks, has_any, isolated_by) = if direction == DIRECTION_INGRESS {
        (ISOLATED_INGRESS, TIERS_INGRESS, CIDR_INGRESS, ANY_INGRESS, view.isolated_by_ingress)
    } else {
        (ISOLATED_EGRESS, TIERS_EGRESS, CIDR_EGRESS, ANY_EGRESS, view.isolated_by_egress)
    };
    let (prefixes, ports) = if direction == DIRECTION_INGRESS {
        (view.port_prefixes_ingress, view.ports_ingress)
    } else {
        (view.port_prefixes_egress, view.ports_egress)
    };
    let prefixes = if ports & port_bit(port) == 0 { prefixes & !(1 << 16) } else { prefixes };
    let identity = maps.identities.get(&to_kernel(remote)).copied().unwrap_or(IDENTITY_WORLD);
    if identity == IDENTITY_LOCAL_NODE {
        return (Verdict::Allow, Reason::NodeTraffic, [0, 0]);
    }
    if view.flags & (isolated | tiers) == 0 {
        return (Verdict::Allow, Reason::NoPolicy, [0, 0]);
    }
    let IpAddr::V4(remote) = remote else { unreachable!("the test has IPv4 only") };
    let block = (0..=32u32).rev().find_map(|length| {
        let bits = u32::from(remote) & u32::MAX.checked_shl(32 - length).unwrap_or(0);
        let block = CidrV4 {
            subject: view.subject,
            direction: u32::from(direction),
            address: bits.to_be_bytes(),
        };
        maps.cidrs_v4.get(&(64 + length, block)).copied()
    });
    let block = if view.flags & has_blocks == 0 { None } else { block };
    let entry = |peer: u32| {
        let exact = (0..=16u8).rev().filter(|length| prefixes & (1 << length) != 0);
        let exact = exact.map(|length| {
            let mask = u16::MAX.checked_shl(16 - u32::from(length)).unwrap_or(0);
            (6u8, port & mask, length)
        });
        let any = (prefixes & (1 << ANY_PROTOCOL_BIT) != 0).then_some((0, 0, 0));
        let found = exact.chain(any).find_map(|(protocol, port, port_prefix)| {
            let subject = view.subject;
            let reserved = [0; 3];
            let key = PolicyKey { subject, peer, port, direction, protocol, port_prefix, reserved };
            maps.policies.get(&key).copied()
        });
        found.unwrap_or(PolicyValue::NONE)
    };
    let by_address = match block {
        None if view.flags & has_any == 0 => PolicyValue::NONE,
        _ => entry(block.unwrap_or(PEER_ANY)),
    };
    let both = [entry(identity), by_address];
    let by_tier = |decisions: [(u32, u32); 2]| {
        let (decision, rule_set) = decisions.into_iter().min()?;
        match decision & ACTION_MASK {
            ACTION_ALLOW => Some((Verdict::Allow, Reason::Policy, [rule_set, 0])),
            ACTION_DENY => Some((Verdict::Deny, Reason::ExplicitDeny, [rule_set, 0])),
            _ => None,
        }
    };
    if let Some(answer) = by_tier(both.map(|entry| (entry.admin, entry.admin_rule_set))) {
        return answer;
    }
    if view.flags & isolated != 0 {
        return match both.map(|entry| entry.rule_set) {
            [0, 0] => (Verdict::Deny, Reason::DefaultDeny, [isolated_by, 0]),
            rule_sets => (Verdict::Allow, Reason::Policy, rule_sets),
        };
    }
    by_tier(both.map(|entry| (entry.baseline, entry.baseline_rule_set))).unwrap_or((
        Verdict::Allow,
        Reason::NoPolicy,
        [0, 0],
    ))
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

fn labels(app: u8) -> Labels {
    Labels::from([("app".to_owned(), ["x", "y", "z"][usize::from(app % 3)].to_owned())])
}

fn selector() -> impl Strategy<Value = Selector> {
    prop::option::of(0u8..3).prop_map(|app| Selector {
        labels: app.map(labels).unwrap_or_default(),
        expressions: Vec::new(),
    })
}

fn block() -> impl Strategy<Value = IpNet> {
    (0u8..9, prop::sample::select(vec![0u8, 29, 30, 32])).prop_map(|(last, length)| {
        IpNet::new(IpAddr::from([10, 0, 0, last]), length).unwrap().trunc()
    })
}

fn ports() -> impl Strategy<Value = Vec<PortRule>> {
    let port = prop_oneof![
        Just(Port::All),
        Just(Port::Range(80, 80)),
        Just(Port::Range(80, 81)),
        Just(Port::Range(8000, 9000)),
        Just(Port::Named("web".into())),
    ];
    let port = port.prop_map(|port| PortRule { protocol: Protocol::Tcp, port });
    prop::collection::vec(port, 0..3)
}

fn rule() -> impl Strategy<Value = Rule> {
    let pods = (prop::option::of(selector()), prop::option::of(selector()))
        .prop_map(|(namespaces, pods)| Peer::Pods { namespaces, pods });
    let block = block().prop_map(|cidr| Peer::Block(IpBlock { cidr, except: Vec::new() }));
    (prop::collection::vec(prop_oneof![pods, block], 0..3), ports())
        .prop_map(|(peers, ports)| Rule { peers, ports })
}

fn tier_rule() -> impl Strategy<Value = TierRule> {
    let pods = (selector(), prop::option::of(selector()))
        .prop_map(|(namespaces, pods)| TierPeer::Pods(TierPods { namespaces, pods }));
    let nodes = selector().prop_map(TierPeer::Nodes);
    let peer = prop_oneof![2 => pods, 1 => block().prop_map(TierPeer::Network), 1 => nodes];
    let action = prop::sample::select(vec![Action::Allow, Action::Deny, Action::Pass]);
    (action, prop::collection::vec(peer, 1..3), ports())
        .prop_map(|(action, peers, ports)| TierRule { name: None, action, peers, ports })
}

fn tier_policy() -> impl Strategy<Value = TierPolicy> {
    let rules = || prop::collection::vec(tier_rule(), 0..3);
    let tier = prop::sample::select(vec![Tier::Admin, Tier::Baseline]);
    (0u8..4, tier, 0u32..3, selector(), any::<bool>(), rules(), rules()).prop_map(
        |(name, tier, priority, pods, audit, ingress, egress)| TierPolicy {
            kind: TierKind::ClusterNetworkPolicy,
            name: format!("tier{name}"),
            tier,
            priority,
            subject: TierPods { namespaces: Selector::default(), pods: Some(pods) },
            audit,
            ingress,
            egress,
        },
    )
}

fn policy() -> impl Strategy<Value = NetworkPolicy> {
    let rules = || prop::collection::vec(rule(), 0..3);
    let isolates = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.3));
    (0u8..2, 0u8..4, selector(), isolates, rules(), rules()).prop_map(
        |(namespace, name, pod_selector, isolates, ingress, egress)| {
            let (isolates_ingress, isolates_egress, audit) = isolates;
            NetworkPolicy {
                audit,
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
    let tiers = prop::collection::vec(tier_policy(), 0..4).prop_map(|mut tiers| {
        tiers.sort_by(|a, b| a.name.cmp(&b.name));
        tiers.dedup_by(|a, b| a.name == b.name);
        tiers
    });
    let audit = prop::bool::weighted(0.2);
    let node = |name: &str, app, last: u8| Node {
        name: name.into(),
        labels: labels(app),
        addresses: vec![IpAddr::from([10, 0, 0, last])],
    };
    (pods(), policies, tiers, 0u8..3, audit, 7u8..9).prop_map(
        move |(pods, policies, tier_policies, app, audit, other)| Cluster {
            namespaces: vec![
                Namespace { audit, ..Namespace::new("ns0", labels(app)) },
                Namespace::new("ns1", labels(1)),
            ],
            pods,
            policies,
            tier_policies,
            nodes: vec![node("n1", 0, 9), node("n2", app, other)],
            ..Cluster::default()
        },
    )
}

fn interface(pod: &str) -> u32 {
    pod.trim_start_matches("pod").parse().unwrap()
}

fn contents(compiled: &Compiled) -> Contents {
    let mut contents = Contents::of(compiled);
    for endpoint in &compiled.endpoints {
        let interface = interface(&endpoint.pod);
        let options = Options::default();
        let entry = state::endpoint(interface, compiled.revision, endpoint, &options, false);
        contents.endpoints.insert(interface, entry);
    }
    contents
}

fn maps(compiled: &Compiled) -> MapState {
    MapState::from(&contents(compiled))
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
        mut second in cluster(),
        same_policies in any::<bool>(),
        fail_after in prop::option::weighted(0.3, 0usize..200),
        other_process in any::<bool>(),
    ) {
        if same_policies {
            // Pods that change sides between subjects that are there before and after.
            second.policies = first.policies.clone();
            second.tier_policies = first.tier_policies.clone();
        }
        let mut compiler = Compiler::new();
        let (mut kernel, mut applier) = (Fake::default(), Applier::default());
        let old = compiler.compile(&first, Some("n1"));
        let old_maps = maps(&old);
        prop_assert!(applier.update(&mut kernel, contents(&old)).is_ok());
        prop_assert_eq!(&kernel.state, &old_maps);

        let new = compiler.compile(&second, Some("n1"));
        let new_maps = maps(&new);
        let wrong = Rc::default();
        kernel.observer = Some(observe(&old_maps, &new_maps, &wrong));
        kernel.fail_after = fail_after;
        let result = applier.update(&mut kernel, contents(&new));
        prop_assert_eq!(wrong.borrow().clone(), None);
        match result {
            Ok(updated) if updated.leftovers.is_none() && updated.refused.is_empty() => {
                prop_assert_eq!(&kernel.state, &new_maps);
            }
            Ok(_) => {}
            Err(_) => prop_assert_eq!(&kernel.state, &old_maps),
        }
        // What one update left behind the next one puts right, of another process as well.
        kernel.fail_after = None;
        if other_process {
            applier = Applier::resume(kernel.state.clone());
        }
        prop_assert!(applier.update(&mut kernel, contents(&new)).is_ok());
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
                (answer.verdict, answer.reason, answer.rule_sets)
            });
            prop_assert_eq!(ask(&maps, (interface_of, direction, remote, port)), expected);
        }
    }
}
