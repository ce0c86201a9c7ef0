//! Sentences for people.

use weir_flow::values::{Direction, PolicyRule, Reason, Verdict};

use super::Question;
use super::answer::{Answer, AttemptView, Change, Outcome, Overall, PolicyTrace, RuleTrace, Side};
use super::ends::{Holder, holder, labels_text, name, pod_name, telling_labels};
use super::question::Attempts;
use crate::evaluate::{Attempt, NETWORK_POLICY};
use crate::model::Cluster;

/// The answer in one sentence.
pub(super) fn whole(
    question: Option<&Question>,
    attempts: &Attempts,
    answers: &[Answer],
) -> String {
    let to = match (&attempts.service, question) {
        (Some(service), _) => format!("Service {service}"),
        (None, Some(question)) => question.to.clone(),
        (None, None) => "it".to_owned(),
    };
    match answers {
        [] if attempts.is_to_itself => {
            format!("Allowed: {}", attempts.notes.last().map_or("", String::as_str))
        }
        [] => {
            let asked = question.map_or_else(String::new, |question| {
                let Question { from, port, protocol, .. } = question;
                format!(" whether {from} may open {protocol} {port} to {to}")
            });
            let why = attempts.notes.last().map_or("nothing is known", String::as_str);
            format!("Cannot say{asked}: {why}")
        }
        [one] => one.sentence.clone(),
        many => {
            let total: usize = many.iter().map(|answer| answer.attempts.len()).sum();
            let denied = many.iter().filter(|answer| answer.verdict == Verdict::Deny);
            let denied_count: usize = denied.clone().map(|answer| answer.attempts.len()).sum();
            let first_denied = denied.clone().next().unwrap_or(&many[0]);
            let what = if attempts.service.is_some() { "addresses behind" } else { "addresses of" };
            let reason = first_denied.sentence.trim_start_matches("Denied: ");
            match denied_count {
                0 => format!("Allowed, for different reasons: {}", plain(&many[0].sentence)),
                _ if denied_count == total => {
                    format!("Denied, for different reasons: {reason}")
                }
                _ => format!(
                    "Denied at {denied_count} of {total} {what} {to} ({}): {reason}",
                    listed(first_denied.attempts.iter().map(destination).collect(), 3),
                ),
            }
        }
    }
}

/// A sentence without the verdict that it begins with.
fn plain(sentence: &str) -> &str {
    sentence.split_once(": ").map_or(sentence, |(_, reason)| reason)
}

fn destination(view: &AttemptView) -> String {
    if view.destination == view.destination_address.to_string() {
        return view.destination.clone();
    }
    format!("{} at {}", view.destination, view.destination_address)
}

/// `a, b and 4 more`.
pub(super) fn listed(mut names: Vec<String>, most: usize) -> String {
    let more = names.len().saturating_sub(most);
    names.truncate(most);
    match (more, names.pop()) {
        (0, Some(last)) if names.is_empty() => last,
        (0, Some(last)) => format!("{} and {last}", names.join(", ")),
        (more, Some(last)) => {
            names.push(last);
            format!("{} and {more} more", names.join(", "))
        }
        (_, None) => "none".to_owned(),
    }
}

/// The verdict on all answers.
pub(super) fn overall(answers: &[Answer]) -> Overall {
    let has = |verdict| answers.iter().any(|answer| answer.verdict == verdict);
    match (has(Verdict::Deny), has(Verdict::Audit), has(Verdict::Allow)) {
        (false, false, false) => Overall::Unknown,
        (true, false, false) => Overall::Deny,
        (true, _, _) => Overall::Mixed,
        (false, true, _) => Overall::Audit,
        (false, false, true) => Overall::Allow,
    }
}

/// Why one attempt is judged as it is.
pub(super) fn one(
    cluster: &Cluster,
    attempt: &Attempt,
    sides: &[&Side],
    changes: &[Change],
) -> String {
    let denying = |verdict| sides.iter().filter(move |side| side.verdict == verdict);
    let refusals = |verdict| -> Vec<String> {
        denying(verdict).map(|side| refusal(cluster, attempt, side, changes)).collect()
    };
    let denied = refusals(Verdict::Deny);
    if !denied.is_empty() {
        return format!("Denied: {}", denied.join("; also, "));
    }
    let audited = refusals(Verdict::Audit);
    if !audited.is_empty() {
        return format!("Allowed, but only because of audit: {}", audited.join("; also, "));
    }
    if sides.is_empty() {
        return format!(
            "Allowed: neither {} nor {} is a pod that policies apply to",
            name(cluster, attempt.source),
            name(cluster, attempt.destination)
        );
    }
    let reasons: Vec<String> = sides
        .iter()
        .map(|side| format!("{} of {} {}", side.direction, side.pod, why(side)))
        .collect();
    format!("Allowed: {}", reasons.join("; "))
}

fn why(side: &Side) -> String {
    match side.reason {
        Reason::NoPolicy => "is not isolated by any policy".to_owned(),
        Reason::NodeTraffic => "is always open to the pod's own node".to_owned(),
        _ => {
            let rules: Vec<String> = side.rules.iter().map(rule_phrase).collect();
            format!("is allowed by {}", listed(rules, 4))
        }
    }
}

/// Why one end denies, and how near its rules come.
fn refusal(cluster: &Cluster, attempt: &Attempt, side: &Side, changes: &[Change]) -> String {
    let subject = format!("{} of {}", side.direction, side.pod);
    if side.reason == Reason::ExplicitDeny {
        let rules: Vec<String> = side.rules.iter().map(rule_phrase).collect();
        return format!("{subject} is denied by {}", listed(rules, 4));
    }
    let isolating: Vec<String> = side.isolated_by.iter().map(PolicyRule::qualified_name).collect();
    let alone = isolating.len() == 1;
    let isolated = format!("{subject} is isolated by {}", listed(isolating, 4));
    let change = changes.iter().find(|change| change.direction == side.direction);
    match nearest(side, change) {
        Some((policy, rule)) => {
            let rule_name = if alone {
                format!("whose nearest rule ({})", ordinal(rule.index))
            } else {
                format!("the nearest rule, the {} of {},", ordinal(rule.index), qualified(policy))
            };
            let join = if alone { ", " } else { "; " };
            format!("{isolated}{join}{rule_name} {}", shortfall(cluster, attempt, side, rule))
        }
        None => {
            let rules = side
                .policies
                .iter()
                .any(|policy| policy.outcome == Outcome::Isolates && !policy.rules.is_empty());
            let (which, have) = if alone { ("which", "has") } else { ("and they", "have") };
            let what = if rules { "no rule that comes near" } else { "no rules at all" };
            let other = change.filter(|change| !change.new && change.rule.is_none());
            let other = other.and_then(|change| unselecting(side, change)).unwrap_or_default();
            format!("{isolated}, {which} {have} {what}{other}")
        }
    }
}

/// A policy that would allow it and does not select the pod, with the clause that keeps it from it.
fn unselecting(side: &Side, change: &Change) -> Option<String> {
    let policy = side.policies.iter().find(|policy| {
        policy.outcome == Outcome::NotSelected
            && policy.name == change.name
            && policy.namespace == change.namespace
    })?;
    let clause = policy.subject.iter().find(|clause| !clause.matched)?;
    let wants = clause.text.strip_prefix("wants ").unwrap_or(&clause.text);
    Some(format!(
        "; {} would allow it but asks for {}",
        qualified(policy),
        wants.replacen("; ", ", and ", 1)
    ))
}

/// The rule that a change is about, else the one that covers at least one half of the attempt.
fn nearest<'a>(
    side: &'a Side,
    change: Option<&Change>,
) -> Option<(&'a PolicyTrace, &'a RuleTrace)> {
    let isolating = side.policies.iter().filter(|policy| policy.outcome == Outcome::Isolates);
    let rules = isolating.flat_map(|policy| policy.rules.iter().map(move |rule| (policy, rule)));
    if let Some(change) = change
        && let Some(index) = change.rule
    {
        let mut rules = rules.clone();
        let of_change = rules.find(|(policy, rule)| {
            policy.name == change.name && policy.kind == change.kind && rule.index == index
        });
        if of_change.is_some() {
            return of_change;
        }
    }
    rules
        .filter(|(_, rule)| rule.peer_matched || rule.port_matched)
        .min_by_key(|(_, rule)| (!rule.peer_matched, rule.index))
}

/// What a rule covers of the attempt, and what not.
fn shortfall(cluster: &Cluster, attempt: &Attempt, side: &Side, rule: &RuleTrace) -> String {
    let port = port_text(attempt);
    let remote = attempt.remote(side.direction);
    let peer = peer_text(cluster, attempt, side.direction);
    let excepted = rule.peers.iter().any(|peer| {
        peer.clauses.first().is_some_and(|clause| clause.field == "ipBlock.cidr" && clause.matched)
    });
    match (rule.peer_matched, rule.port_matched) {
        (true, _) if rule.peers.is_empty() => format!("covers everybody but not {port}"),
        (true, _) => format!("covers {peer} but not {port}"),
        (false, true) if excepted => {
            format!("covers {port}, but an except of its ipBlock leaves out {remote}")
        }
        (false, true) if rule.ports.is_empty() => format!("covers all ports but not {peer}"),
        (false, true) => format!("covers {port} but not {peer}"),
        (false, false) => format!("covers neither {peer} nor {port}"),
    }
}

/// `TCP 6379`.
pub(super) fn port_text(attempt: &Attempt) -> String {
    let protocol = super::answer::protocol_text(attempt.protocol);
    match attempt.protocol {
        6 | 17 | 132 => format!("{protocol} {}", attempt.destination_port),
        _ => protocol,
    }
}

/// `pods labelled app=rogue`, with the namespace where it is another one, or the address.
pub(super) fn peer_text(cluster: &Cluster, attempt: &Attempt, direction: Direction) -> String {
    let remote = attempt.remote(direction);
    let Holder::Pod(pod) = holder(cluster, remote) else { return name(cluster, remote) };
    let labels = telling_labels(&pod.labels);
    let what = if labels.is_empty() {
        pod_name(pod)
    } else {
        format!("pods labelled {}", labels_text(&labels))
    };
    let local = cluster.pod_at(attempt.local(direction));
    match local {
        Some(local) if local.namespace != pod.namespace && !labels.is_empty() => {
            format!("{what} of namespace {}", pod.namespace)
        }
        _ => what,
    }
}

fn qualified(policy: &PolicyTrace) -> String {
    if policy.namespace.is_empty() {
        return policy.name.clone();
    }
    format!("{}/{}", policy.namespace, policy.name)
}

/// "the 1st rule of shop/db".
fn rule_phrase(rule: &PolicyRule) -> String {
    let kind = match rule.kind.as_str() {
        NETWORK_POLICY => String::new(),
        kind => format!("{kind} "),
    };
    match rule.rule {
        Some(index) => {
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            format!("the {} rule of {kind}{}", ordinal(index), rule.qualified_name())
        }
        None => format!("{kind}{}", rule.qualified_name()),
    }
}

/// `1st` for index 0.
pub(super) fn ordinal(index: usize) -> String {
    let number = index.saturating_add(1);
    let ending = match (number % 10, number % 100) {
        (1, hundred) if hundred != 11 => "st",
        (2, hundred) if hundred != 12 => "nd",
        (3, hundred) if hundred != 13 => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}
