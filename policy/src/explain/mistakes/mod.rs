//! Mistakes that people make, found by name.
//!
//! | id | what happened |
//! |---|---|
//! | `service_port` | the rule names the Service's port, the pod listens on another |
//! | `partial_backends` | the Service has more pods behind it than the policy selects |
//! | `protocol_mixed` | the rule has the port, of another protocol |
//! | `port_name_missing` | the rule's port name is not on the pod, or stands for something else |
//! | `end_port_below` | the rule's range ends below the port |
//! | `label_typo` | a selector's label is misspelt |
//! | `pod_selector_other_namespace` | `podSelector` alone, and the peer is in another namespace |
//! | `and_meant_or` | `namespaceSelector` and `podSelector` in one peer, and only one of them matches |
//! | `or_meant_and` | two peers where one with both was meant, so that one alone allows |
//! | `namespace_label_missing` | the peer's namespace lacks the label that is asked for |
//! | `block_of_service` | `ipBlock` of a Service's address, which policies never see |
//! | `block_of_old_addresses` | `ipBlock` of an address that pods no longer have |
//! | `block_of_other_family` | only IPv4 blocks, and the attempt is IPv6, or the other way round |
//! | `except_hides` | an `except` leaves the peer out |
//! | `host_network_peer` | selectors never match pods on their node's network |
//! | `egress_without_dns` | egress is isolated and nothing allows port 53 |
//! | `egress_without_rules` | `policyTypes` lists Egress and there are no rules |
//! | `other_end_denies` | one end allows it, and the other denies |
//! | `wrong_namespace` | the policy would fit and is in another namespace |
//! | `selects_client` | the policy selects the client and was meant for the server |
//! | `not_in_without_label` | `NotIn` matches objects without the label |
//! | `ended_pod`, `no_address` | the pod has ended, or has no address yet |

mod peers;
mod policies;
mod ports;

use weir_flow::values::Verdict;

use super::answer::{Mistake, Outcome, RuleTrace, Side};
use super::sentences::ordinal;
use super::trace::clauses::At;
use super::trace::rules;
use crate::evaluate::Attempt;
use crate::model::{Cluster, Direction, NetworkPolicy, Pod, Rule};

/// Most mistakes of one answer.
const MAX_MISTAKES: usize = 12;

/// One end that is looked at.
#[derive(Clone, Copy)]
struct Place<'a> {
    cluster: &'a Cluster,
    at: At<'a>,
    pod: &'a Pod,
    direction: Direction,
    attempt: &'a Attempt,
}

/// A rule of a policy that isolates the end.
struct RuleAt<'a> {
    policy: &'a NetworkPolicy,
    rule: &'a Rule,
    trace: RuleTrace,
}

impl RuleAt<'_> {
    /// "the 1st rule of shop/redis".
    fn name(&self) -> String {
        let RuleAt { policy, trace, .. } = self;
        format!("the {} rule of {}/{}", ordinal(trace.index), policy.namespace, policy.name)
    }
}

impl<'a> Place<'a> {
    /// The rules of the policies that isolate this end.
    fn rules(self) -> Vec<RuleAt<'a>> {
        let isolating = self.cluster.policies.iter().filter(move |policy| {
            policy.isolates(self.direction) && crate::evaluate::selects(policy, self.pod)
        });
        isolating
            .flat_map(|policy| {
                let traces = rules(self.at, policy);
                traces
                    .into_iter()
                    .zip(policy.rules(self.direction))
                    .map(move |(trace, rule)| RuleAt { policy, rule, trace })
            })
            .collect()
    }
}

/// The mistakes behind one answer, each once.
pub(super) fn find(cluster: &Cluster, attempt: &Attempt, sides: &[&Side]) -> Vec<Mistake> {
    let mut found: Vec<Mistake> = Vec::new();
    let mut add = |mistakes: Vec<Mistake>| {
        for mistake in mistakes {
            if !found.contains(&mistake) && found.len() < MAX_MISTAKES {
                found.push(mistake);
            }
        }
    };
    for side in sides {
        let direction = side.direction;
        let Some(pod) = cluster.pod_at(attempt.local(direction)) else { continue };
        let at = At { cluster, direction, attempt };
        let place = Place { cluster, at, pod, direction, attempt };
        if side.verdict == Verdict::Allow {
            add(peers::allowed(place));
            continue;
        }
        if !side.policies.iter().any(|policy| policy.outcome == Outcome::Isolates) {
            continue;
        }
        add(ports::find(place));
        add(policies::find(place));
        add(peers::find(place));
    }
    add(policies::between(sides).into_iter().collect());
    found
}

fn mistake(id: &'static str, sentence: String, fix: impl Into<String>) -> Mistake {
    Mistake { id, sentence, fix: fix.into() }
}
