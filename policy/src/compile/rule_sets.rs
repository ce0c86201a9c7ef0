//! Numbers for sets of rules. Never dropped: a conntrack entry may name one for as long as its
//! connection lives, and there are no more than the policies' rules combine to.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use weir_flow::values::PolicyRule;

/// A rule, or a policy as a whole where there is no index.
pub(super) type RuleName = (u32, Option<u32>);
/// Kind, namespace, name.
type PolicyName = (String, String, String);

#[derive(Debug)]
pub(super) struct RuleSets {
    policies: Vec<PolicyName>,
    policy_ids: FxHashMap<PolicyName, u32>,
    ids: FxHashMap<Box<[RuleName]>, u32>,
    sets: Vec<Arc<[PolicyRule]>>,
    /// How many of them were told already.
    told: usize,
}

impl Default for RuleSets {
    fn default() -> Self {
        Self {
            policies: Vec::new(),
            policy_ids: FxHashMap::default(),
            ids: FxHashMap::from_iter([(Box::from([]), 0)]),
            sets: vec![Arc::from([])],
            told: 1,
        }
    }
}

impl RuleSets {
    /// Those that were given out before, from number 1 on.
    pub(super) fn resume(known: impl IntoIterator<Item = Arc<[PolicyRule]>>) -> Self {
        let mut resumed = Self::default();
        for set in known {
            let mut rules: Vec<RuleName> = set
                .iter()
                .map(|rule| (resumed.policy(&rule.kind, &rule.namespace, &rule.name), rule.rule))
                .collect();
            rules.sort_unstable();
            resumed.ids.insert(rules.into(), resumed.sets.len() as u32);
            resumed.sets.push(set);
        }
        resumed.told = resumed.sets.len();
        resumed
    }

    /// The number of a policy's name.
    pub(super) fn policy(&mut self, kind: &str, namespace: &str, name: &str) -> u32 {
        let key = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        if let Some(&id) = self.policy_ids.get(&key) {
            return id;
        }
        let id = self.policies.len() as u32;
        self.policies.push(key.clone());
        self.policy_ids.insert(key, id);
        id
    }

    /// The number of a set, in whatever order it is given.
    pub(super) fn intern(&mut self, mut rules: Vec<RuleName>) -> u32 {
        rules.sort_unstable();
        rules.dedup();
        if let Some(&id) = self.ids.get(rules.as_slice()) {
            return id;
        }
        let mut set: Vec<PolicyRule> = rules
            .iter()
            .map(|&(policy, rule)| {
                let (kind, namespace, name) = self.policies[policy as usize].clone();
                PolicyRule { kind, namespace, name, rule }
            })
            .collect();
        set.sort();
        let id = self.sets.len() as u32;
        self.sets.push(set.into());
        self.ids.insert(rules.into(), id);
        id
    }

    /// All sets, by number.
    pub(super) fn all(&self) -> &[Arc<[PolicyRule]>] {
        &self.sets
    }

    /// Those that are new since the last call, with their numbers.
    pub(super) fn take_new(&mut self) -> Vec<(u32, Arc<[PolicyRule]>)> {
        let from = std::mem::replace(&mut self.told, self.sets.len());
        (from as u32..).zip(&self.sets[from..]).map(|(id, set)| (id, set.clone())).collect()
    }
}
