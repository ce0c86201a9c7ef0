//! The least change that would allow an attempt at one end.
//!
//! Candidates are made for each rule, each with a cost; the cheapest that the evaluator then allows
//! is taken. Costs, from what is surely a slip to what opens something new:
//!
//! | cost | change |
//! |---|---|
//! | 1 | the Service's port becomes the container's; a label that is misspelt; `endPort` by up to 100 |
//! | 2 | a port name or a protocol; a label or a namespaceSelector of a peer that matches nobody; an exception for one address; a policy in the wrong namespace that selects nobody there |
//! | 3 | a further port; a peer that matches nobody made two; a stale block made a selector; what the policy selects |
//! | 4 | a further peer |
//! | 6 | a further rule (11 where the policy selects every pod) |
//! | 8 | a new policy |
//!
//! A rule that needs both a peer and a port costs both. Adding to a policy that selects every pod of
//! its namespace costs 5 more, because it opens all of them, and so does adding to a rule that is
//! for everybody or for all ports.

mod bench;
mod peers;
mod ports;
mod subjects;
mod whole;

use weir_flow::values::{Direction, Reason, Verdict};

pub(super) use bench::Bench;
pub(super) use peers::{MAX_TYPO, any_namespace, matches_anybody};
pub(super) use ports::protocol;

use super::answer::{Change, Side};
use super::sentences::ordinal;
use super::trace::clauses::At;
use super::trace::rules;
use super::yaml::{Edit, Step, way};
use crate::evaluate::{Attempt, NETWORK_POLICY, decide};
use crate::manifest::ObjectName;
use crate::model::{Cluster, NetworkPolicy, Pod};

/// Most candidates that are tried out.
const MAX_TRIED: usize = 64;
/// What adding costs more to a policy that selects every pod of its namespace, and to a rule for
/// everybody or for all ports.
const OPENING_COST: u32 = 5;

/// A change that may be enough.
#[derive(Clone, Debug)]
struct Candidate {
    cost: u32,
    object: ObjectName,
    rule: Option<usize>,
    what: What,
    sentence: String,
}

#[derive(Clone, Debug)]
enum What {
    Edits(Vec<Edit>),
    New(serde_json::Value),
}

/// A part of a candidate: what makes one half of a rule cover the attempt.
#[derive(Clone, Debug)]
struct Part {
    cost: u32,
    edits: Vec<Edit>,
    /// "change port 80 to 8080".
    text: String,
    /// It lets somebody in who was not meant so far, rather than repairing a slip.
    adds: bool,
}

/// Where a candidate is looked for.
#[derive(Clone, Copy)]
struct Place<'a> {
    cluster: &'a Cluster,
    at: At<'a>,
    pod: &'a Pod,
    direction: Direction,
    attempt: &'a Attempt,
}

/// The changes that make an attempt allowed, made on the bench one after the other.
pub(super) fn changes(bench: &mut Bench<'_>, attempt: &Attempt, sides: &[&Side]) -> Vec<Change> {
    let denying = sides.iter().filter(|side| side.verdict != Verdict::Allow);
    denying.filter_map(|side| change(bench, attempt, side)).collect()
}

fn change(bench: &mut Bench<'_>, attempt: &Attempt, side: &Side) -> Option<Change> {
    let direction = side.direction;
    let is_allowed = |cluster: &Cluster| {
        decide(cluster, attempt)
            .decision(direction)
            .is_some_and(|decision| decision.verdict == Verdict::Allow)
    };
    // An earlier change may have done it.
    if is_allowed(bench.cluster()) {
        return None;
    }
    let mut candidates = candidates(bench.cluster(), attempt, side)?;
    candidates.sort_by_key(|candidate| candidate.cost);
    for candidate in candidates.into_iter().take(MAX_TRIED) {
        if let Some(diff) = bench.make(&candidate.object, &candidate.what, is_allowed) {
            return Some(Change {
                direction,
                sentence: candidate.sentence,
                kind: bench::kind_name(&candidate.object.kind),
                namespace: candidate.object.namespace,
                name: candidate.object.name,
                rule: candidate.rule,
                new: matches!(candidate.what, What::New(_)),
                cost: candidate.cost,
                diff,
            });
        }
    }
    None
}

fn candidates(cluster: &Cluster, attempt: &Attempt, side: &Side) -> Option<Vec<Candidate>> {
    let direction = side.direction;
    let pod = cluster.pod_at(attempt.local(direction))?;
    let at = At { cluster, direction, attempt };
    let place = Place { cluster, at, pod, direction, attempt };
    if side.reason == Reason::ExplicitDeny {
        return Some(whole::tier_rules(place, side));
    }
    let mut found = Vec::new();
    for policy in &cluster.policies {
        if !policy.isolates(direction) {
            continue;
        }
        if crate::evaluate::selects(policy, pod) {
            found.extend(in_rules(place, policy));
            found.extend(whole::new_rule(place, policy));
        } else {
            found.extend(subjects::candidates(place, policy));
        }
    }
    found.extend(whole::new_policy(place));
    Some(found)
}

/// Changes of one rule of a policy that selects the pod.
fn in_rules(place: Place<'_>, policy: &NetworkPolicy) -> Vec<Candidate> {
    let mut found = Vec::new();
    let nothing = || vec![Part { cost: 0, edits: Vec::new(), text: String::new(), adds: false }];
    for (trace, rule) in rules(place.at, policy).iter().zip(policy.rules(place.direction)) {
        let field = way!["spec", place.direction.as_str(), trace.index];
        let peers = match trace.peer_matched {
            true => nothing(),
            false => peers::parts(place, policy, rule, &field),
        };
        let ports = match trace.port_matched {
            true => nothing(),
            false => ports::parts(place, rule, &field),
        };
        for peer in &peers {
            for port in &ports {
                let adds = peer.adds || port.adds;
                let opens_all = adds && policy.pod_selector.is_empty();
                let opens_wide = adds && (rule.peers.is_empty() || rule.ports.is_empty());
                let texts = [&peer.text, &port.text].map(String::as_str);
                let texts: Vec<&str> = texts.into_iter().filter(|text| !text.is_empty()).collect();
                found.push(Candidate {
                    cost: peer.cost
                        + port.cost
                        + if opens_all { OPENING_COST } else { 0 }
                        + if opens_wide { OPENING_COST } else { 0 },
                    object: name_of(policy),
                    rule: Some(trace.index),
                    what: What::Edits([peer.edits.clone(), port.edits.clone()].concat()),
                    sentence: format!(
                        "In the {} {} rule of {}/{}, {}",
                        ordinal(trace.index),
                        place.direction,
                        policy.namespace,
                        policy.name,
                        texts.join(" and ")
                    ),
                });
            }
        }
    }
    found
}

fn name_of(policy: &NetworkPolicy) -> ObjectName {
    ObjectName {
        kind: NETWORK_POLICY.into(),
        namespace: policy.namespace.clone(),
        name: policy.name.clone(),
    }
}

/// The way to something below another way.
fn below(path: &[Step], steps: impl IntoIterator<Item = Step>) -> Vec<Step> {
    path.iter().cloned().chain(steps).collect()
}
