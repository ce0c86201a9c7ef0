//! The compiled form against the naive evaluator, on small clusters made to be nasty.

mod random;

use proptest::prelude::*;
use proptest::test_runner::Config;

use self::random::{Source, attempt, change, cluster};
use super::*;
use crate::compile::PolicyKey;
use crate::evaluate::decide;

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
        // Kept, so that their numbers are not forgotten.
        let mut revisions = Vec::new();
        for _ in 0..5 {
            let compiled = compiler.compile(&cluster, Some("n1"));
            check_facts(&mut facts, &compiled.policies)?;
            revisions.push(compiled);
            for _ in 0..=source.below(3) {
                change(&mut source, &mut cluster);
            }
            forget_names_in_blocks(&mut cluster);
        }
    }
}

/// No entry may ever change its meaning, whichever revision it comes from.
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
