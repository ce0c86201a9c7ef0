//! Numbers for sets of rules. Never dropped: a conntrack entry may name one for as long as its
//! connection lives, and there are no more than the policies' rules combine to.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use weir_flow::values::PolicyRule;

use crate::evaluate::NETWORK_POLICY;

/// A rule, or a policy as a whole where there is no index.
pub(super) type RuleName = (u32, Option<u32>);

#[derive(Debug)]
pub(super) struct RuleSets {
    policies: Vec<(String, String)>,
    policy_ids: FxHashMap<(String, String), u32>,
    ids: FxHashMap<Box<[RuleName]>, u32>,
    sets: Vec<Arc<[PolicyRule]>>,
}

impl Default for RuleSets {
    fn default() -> Self {
        Self {
            policies: Vec::new(),
            policy_ids: FxHashMap::default(),
            ids: FxHashMap::from_iter([(Box::from([]), 0)]),
            sets: vec![Arc::from([])],
        }
    }
}

impl RuleSets {
    /// The number of a policy's name.
    pub(super) fn policy(&mut self, namespace: &str, name: &str) -> u32 {
        let key = (namespace.to_owned(), name.to_owned());
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
                let (namespace, name) = self.policies[policy as usize].clone();
                PolicyRule { kind: NETWORK_POLICY.into(), namespace, name, rule }
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
}
