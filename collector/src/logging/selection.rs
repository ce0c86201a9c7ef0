//! Which rows become records.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, BooleanArray, RecordBatch};
use arrow::datatypes::{Int32Type, UInt64Type};
use weir_flow::Flow;
use weir_flow::policy_action::PolicyAction;
use weir_flow::values::{Direction, Reason, Verdict};
use weir_policy::Cluster;
use weir_policy::model::NetworkLogging;

/// Revisions that are remembered: rows are made within a moment of their verdict, or within an
/// interval of folding.
const REMEMBERED: usize = 64;

/// What the object and the annotations of one cluster state ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Selection {
    logging: NetworkLogging,
    /// NetworkPolicies, by namespace and name, whose allows are logged where that is delegated.
    policies: HashSet<(String, String)>,
    /// Namespaces whose pods' denies are logged where that is delegated.
    namespaces: HashSet<String>,
}

/// What the last cluster states ask for, by the policy revision from which each was in force.
#[derive(Clone, Debug, Default)]
pub(super) struct Selections(Vec<(u64, Arc<Selection>)>);

impl Selections {
    /// These, and that of another state.
    pub(super) fn with(&self, revision: u64, cluster: &Cluster) -> Self {
        let selection = Selection::of(cluster);
        let mut selections = self.0.clone();
        // Annotations change without a new revision too.
        selections.retain(|(known, _)| *known < revision);
        if selections.last().is_none_or(|(_, last)| **last != selection) {
            selections.push((revision, Arc::new(selection)));
        }
        let old = selections.len().saturating_sub(REMEMBERED);
        selections.drain(..old);
        Self(selections)
    }

    /// Rows of the verdicts that are logged at all; `None` if there are none.
    pub(super) fn candidates(&self, batch: &RecordBatch) -> Option<BooleanArray> {
        let any = |logs: fn(&NetworkLogging) -> bool| self.0.iter().any(|(_, s)| logs(&s.logging));
        let (allows, denies) = (any(|logging| logging.allow.log), any(|logging| logging.deny.log));
        if !allows && !denies {
            return None;
        }
        let (verdict, reason) = (words(batch, "verdict")?, words(batch, "reason")?);
        let count = batch.column_by_name("count")?.as_primitive_opt::<UInt64Type>()?;
        let wanted = |row: usize| {
            let verdict = verdict(row);
            count.value(row) > 0
                && if verdict == Verdict::Allow.as_str() {
                    allows && reason(row) == Reason::Policy.as_str()
                } else {
                    denies && verdict == Verdict::Deny.as_str() && is_policy(reason(row))
                }
        };
        let candidates: BooleanArray = (0..batch.num_rows()).map(|row| Some(wanted(row))).collect();
        (candidates.true_count() > 0).then_some(candidates)
    }

    /// The record of a candidate, if it is to be logged.
    pub(super) fn record(&self, row: &Flow) -> Option<PolicyAction> {
        let at = self.0.partition_point(|(from, _)| *from <= row.policy_revision);
        // Of a revision before the first: the first is what is known.
        let (_, selection) = self.0.get(at.saturating_sub(1))?;
        selection.record(row)
    }
}

impl Selection {
    fn of(cluster: &Cluster) -> Self {
        let policies = cluster.policies.iter().filter(|policy| policy.log_allows);
        let namespaces = cluster.namespaces.iter().filter(|namespace| namespace.log_denies);
        Self {
            logging: cluster.logging.unwrap_or_default(),
            policies: policies
                .map(|policy| (policy.namespace.clone(), policy.name.clone()))
                .collect(),
            namespaces: namespaces.map(|namespace| namespace.name.clone()).collect(),
        }
    }

    fn record(&self, row: &Flow) -> Option<PolicyAction> {
        if row.verdict == Verdict::Allow.as_str() { self.allow(row) } else { self.deny(row) }
    }

    fn allow(&self, row: &Flow) -> Option<PolicyAction> {
        let rule = self.logging.allow;
        if !rule.log {
            return None;
        }
        let annotated = |rule: &&_| {
            let weir_flow::values::PolicyRule { kind, namespace, name, .. } = rule;
            kind == "NetworkPolicy" && self.policies.contains(&(namespace.clone(), name.clone()))
        };
        let named = row.policies.iter().filter(|policy| !rule.delegate || annotated(policy));
        (!rule.delegate || named.clone().next().is_some()).then(|| PolicyAction::allow(row, named))
    }

    fn deny(&self, row: &Flow) -> Option<PolicyAction> {
        let rule = self.logging.deny;
        let own = if row.direction == Direction::Ingress.as_str() {
            &row.destination_namespace
        } else {
            &row.source_namespace
        };
        let annotated = || own.as_ref().is_some_and(|own| self.namespaces.contains(own));
        (rule.log && (!rule.delegate || annotated())).then(|| PolicyAction::deny(row))
    }
}

/// Whether a policy denied; packets that are dropped whatever the policies say make no record.
fn is_policy(reason: &str) -> bool {
    reason == Reason::DefaultDeny.as_str() || reason == Reason::ExplicitDeny.as_str()
}

/// The words of a dictionary-encoded column, by row.
fn words<'a>(batch: &'a RecordBatch, column: &str) -> Option<impl Fn(usize) -> &'a str> {
    let array = batch.column_by_name(column)?.as_dictionary_opt::<Int32Type>()?;
    let texts = array.values().as_string_opt::<i32>()?;
    let keys = array.keys();
    Some(move |row: usize| {
        let key = usize::try_from(keys.value(row)).ok().filter(|key| *key < texts.len());
        key.map_or("", |key| texts.value(key))
    })
}
