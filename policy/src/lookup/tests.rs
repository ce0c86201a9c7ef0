//! The compiled form against the naive evaluator, on small clusters made to be nasty.

mod random;

use proptest::prelude::*;
use proptest::test_runner::Config;

use self::random::{Source, attempt, change, cluster};
use super::*;
use crate::compile::PolicyKey;
use crate::evaluate::{decide, decide_for};
use crate::model::Pod;

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 200..1200)
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn compiled_and_naive_agree_on_random_clusters(bytes in bytes(), seed in any::<u64>()) {
        let mut source = Source::new(&bytes, seed);
        let mut nodes = SimulatedNodes::default();
        let mut cluster = cluster(&mut source);
        for _ in 0..2 {
            nodes.update(&cluster);
            for _ in 0..60 {
                let attempt = attempt(&mut source, &cluster);
                prop_assert_eq!(
                    nodes.decide(&cluster, &attempt),
                    decide(&cluster, &attempt),
                    "{:?} in {:#?}", attempt, cluster
                );
            }
            change(&mut source, &mut cluster);
        }
    }
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn revisions_never_contradict_each_other(bytes in bytes(), seed in any::<u64>()) {
        let mut source = Source::new(&bytes, seed);
        let mut compiler = Compiler::new();
        let mut cluster = cluster(&mut source);
        forget_names_in_blocks(&mut cluster);
        let mut facts: FxHashMap<PolicyKey, u32> = FxHashMap::default();
        let mut old = (cluster.clone(), compiler.compile(&cluster, Some("n1")));
        check_facts(&mut facts, &old.1.policies)?;
        for _ in 0..4 {
            for _ in 0..=source.below(3) {
                change(&mut source, &mut cluster);
            }
            forget_names_in_blocks(&mut cluster);
            let new = (cluster.clone(), compiler.compile(&cluster, Some("n1")));
            let transition = compiler.compile_transition(&old.1, &new.1);
            check_facts(&mut facts, &new.1.policies)?;
            check_facts(&mut facts, &transition)?;
            for (subjects, identities) in [(&old, &new), (&new, &old)] {
                let mut mixed = subjects.1.clone();
                mixed.identities = identities.1.identities.clone();
                mixed.policies.extend(&identities.1.policies);
                mixed.policies.extend(&transition);
                check_mix(&compiler, &mixed, &subjects.0, &identities.0)?;
            }
            old = new;
        }
    }
}

/// No entry may ever change its meaning, whichever revision or transition it comes from.
fn check_facts(
    facts: &mut FxHashMap<PolicyKey, u32>,
    entries: &FxHashMap<PolicyKey, u32>,
) -> Result<(), TestCaseError> {
    for (key, rule_set) in entries {
        let known = *facts.entry(*key).or_insert(*rule_set);
        prop_assert_eq!(known, *rule_set, "{:?}", key);
    }
    Ok(())
}

/// Pods of one revision, with its policies, meet the addresses of another.
fn check_mix(
    compiler: &Compiler,
    mixed: &Compiled,
    own: &Cluster,
    others: &Cluster,
) -> Result<(), TestCaseError> {
    for endpoint in &mixed.endpoints {
        let pod = own.pod(&endpoint.namespace, &endpoint.pod).unwrap();
        let seen = as_seen_by(pod, own, others);
        for &remote in mixed.identities.keys().chain(&random::outside()) {
            let undecided = pod.addresses.contains(&remote)
                || seen.pod_at(remote) != others.pod_at(remote)
                || seen.node_has("n1", remote) != others.node_has("n1", remote);
            if undecided {
                continue;
            }
            for (protocol, port) in [(6, 80), (6, 81), (17, 80), (132, 65535), (1, 0)] {
                for direction in [Direction::Ingress, Direction::Egress] {
                    let Some(&local) =
                        pod.addresses.iter().find(|local| local.is_ipv4() == remote.is_ipv4())
                    else {
                        continue;
                    };
                    let (from, to) = match direction {
                        Direction::Ingress => (remote, local),
                        Direction::Egress => (local, remote),
                    };
                    let attempt =
                        Attempt { source: from, destination: to, protocol, destination_port: port };
                    let expected = decide_for(&seen, pod, direction, &attempt);
                    let answer = lookup(mixed, endpoint, direction, remote, protocol, port);
                    prop_assert_eq!(
                        (answer.verdict, answer.reason, answer.rules(compiler)),
                        (expected.verdict, expected.reason, expected.rules),
                        "{:?} {:?} at {:#?} in {:#?}",
                        attempt,
                        direction,
                        pod,
                        seen
                    );
                }
            }
        }
    }
    Ok(())
}

/// The cluster of `others`, but with the policies of `own` and with `pod` as it is there.
fn as_seen_by(pod: &Pod, own: &Cluster, others: &Cluster) -> Cluster {
    let mut seen = Cluster { policies: own.policies.clone(), ..others.clone() };
    seen.pods.retain(|other| {
        (&other.namespace, &other.name) != (&pod.namespace, &pod.name)
            && !other.addresses.iter().any(|address| pod.addresses.contains(address))
    });
    seen.pods.push(pod.clone());
    seen
}

/// Rules with both blocks and named ports depend on who is there, so that they are facts of one
/// revision only.
fn forget_names_in_blocks(cluster: &mut Cluster) {
    use crate::model::{Peer, Port};
    for rule in cluster.policies.iter_mut().flat_map(|policy| &mut policy.egress) {
        if rule.ports.iter().any(|port| matches!(port.port, Port::Named(_))) {
            rule.peers.retain(|peer| !matches!(peer, Peer::Block(_)));
        }
    }
}
