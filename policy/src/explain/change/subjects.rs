//! Changes of which pods a policy applies to, where its rules would allow the attempt.

use serde_json::{Value, json};

use super::peers::labels;
use super::{Candidate, Place, What, name_of};
use crate::evaluate::rule_allows;
use crate::explain::yaml::{Edit, way};
use crate::model::{NetworkPolicy, Pod, Selector};

/// Changes of a policy that does not select the pod.
pub(super) fn candidates(place: Place<'_>, policy: &NetworkPolicy) -> Vec<Candidate> {
    let pod = place.pod;
    let name = format!("{}/{}", policy.namespace, policy.name);
    let candidate = |cost, edits, sentence| Candidate {
        cost,
        object: name_of(policy),
        rule: None,
        what: What::Edits(edits),
        sentence,
    };
    if policy.namespace != pod.namespace {
        let fits = policy.pod_selector.matches(&pod.labels) && !policy.pod_selector.is_empty();
        if !fits || selects_anybody(place, policy) {
            return Vec::new();
        }
        let value = json!(pod.namespace);
        let edit = Edit::Set { at: way!["metadata", "namespace"], value };
        let sentence = format!(
            "Move {name} to namespace {}, because policies select pods of their own namespace only",
            pod.namespace
        );
        return vec![candidate(2, vec![edit], sentence)];
    }
    let rules = policy.rules(place.direction);
    let allows = |rule| rule_allows(place.cluster, policy, rule, place.direction, place.attempt);
    if !rules.iter().any(allows) {
        return Vec::new();
    }
    let mut found = Vec::new();
    if !selects_anybody(place, policy) {
        let parts = labels(&policy.pod_selector, &pod.labels, &way!["spec", "podSelector"]);
        found.extend(parts.into_iter().map(|part| {
            let sentence = format!("In the podSelector of {name}, {}", part.text);
            candidate(part.cost, part.edits, sentence)
        }));
    }
    if let Some((edit, left_out)) = widen(&policy.pod_selector, pod) {
        let sentence = format!(
            "Leave {left_out} out of the podSelector of {name}, so that it selects {}/{} too",
            pod.namespace, pod.name
        );
        found.push(candidate(3, vec![edit], sentence));
    }
    found
}

fn selects_anybody(place: Place<'_>, policy: &NetworkPolicy) -> bool {
    place.cluster.pods.iter().any(|pod| crate::evaluate::selects(policy, pod))
}

/// The selector without the labels that the pod does not have, if something remains that it has.
fn widen(selector: &Selector, pod: &Pod) -> Option<(Edit, String)> {
    let (kept, left): (Vec<_>, Vec<_>) =
        selector.labels.iter().partition(|(key, value)| pod.labels.get(*key) == Some(*value));
    let expressions_hold = selector.expressions.iter().all(|one| one.holds(&pod.labels));
    if kept.is_empty() || left.len() != 1 || !expressions_hold {
        return None;
    }
    let (key, value): (&String, &String) = left[0];
    let edit = Edit::Remove { at: way!["spec", "podSelector", "matchLabels", key.as_str()] };
    Some((edit, Value::String(format!("{key}={value}")).as_str()?.to_owned()))
}
