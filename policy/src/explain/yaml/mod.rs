//! Policies as YAML, and small edits of YAML that leave the rest of a text as it is.

mod edit;
mod print;
mod tiers;
mod tree;
mod value;

pub(super) use edit::{Edit, Step, edit_text, edit_value};
pub(super) use print::block;
pub(super) use tiers::{tier_policy_value, tier_rule_value};
pub(super) use value::{
    NewPolicy, block_peer, new_policy, pods_peer, policy_value, port_entry, selector_of,
};

use crate::model::NetworkPolicy;

/// A policy as `kubectl get -o yaml` would print it, without what the cluster adds.
pub fn policy_yaml(policy: &NetworkPolicy) -> String {
    block(&policy_value(policy))
}

/// Way to a field: `way!["spec", direction, 0, "ports"]`.
macro_rules! way {
    ($($step:expr),* $(,)?) => { Vec::from([$($crate::explain::yaml::Step::from($step)),*]) };
}
pub(super) use way;
