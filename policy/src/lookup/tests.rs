//! The compiled form against the naive evaluator, on small clusters made to be nasty.

use std::fmt::Debug;
use std::hash::Hash;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::compile::{CidrKey, PolicyEntry, PolicyKey};
use crate::evaluate::decide;
use crate::random::{Source, attempt, change, cluster};

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 200..1200)
}

/// Half of the clusters on each of two threads, each cluster in two states.
#[test]
fn compiled_and_naive_agree_on_10_000_random_clusters() {
    let half = || {
        TestRunner::new(config(5_000)).run(&(bytes(), any::<u64>()), |(bytes, seed)| {
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
                        "{:?} in {:#?}",
                        attempt,
                        cluster
                    );
                }
                change(&mut source, &mut cluster);
            }
            Ok(())
        })
    };
    let results = std::thread::scope(|scope| {
        let other = scope.spawn(half);
        [half(), other.join().unwrap()]
    });
    for result in results {
        if let Err(error) = result {
            panic!("{error}");
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
        let mut facts: FxHashMap<PolicyKey, PolicyEntry> = FxHashMap::default();
        let mut blocks: FxHashMap<CidrKey, u32> = FxHashMap::default();
        // Kept, so that their numbers are not forgotten.
        let mut revisions = Vec::new();
        for _ in 0..5 {
            let compiled = compiler.compile(&cluster, Some("n1"));
            check_facts(&mut facts, compiled.policies().map(|(key, entry)| (*key, *entry)))?;
            check_facts(&mut blocks, compiled.cidrs().map(|(key, peer)| (*key, peer)))?;
            revisions.push(compiled);
            for _ in 0..=source.below(3) {
                change(&mut source, &mut cluster);
            }
        }
    }
}

/// No entry may ever change its meaning, whichever revision it comes from.
fn check_facts<K: Copy + Debug + Eq + Hash, V: Copy + Debug + PartialEq>(
    facts: &mut FxHashMap<K, V>,
    entries: impl Iterator<Item = (K, V)>,
) -> Result<(), TestCaseError> {
    for (key, value) in entries {
        let known = *facts.entry(key).or_insert(value);
        prop_assert_eq!(known, value, "{:?}", key);
    }
    Ok(())
}
