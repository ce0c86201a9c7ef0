//! A case in the pure engine: compiled entries and the kernel's lookup, without a kernel.

use weir_flow::values::{PolicyRule, Reason};

use super::{Case, Probe, Why};
use crate::evaluate::{Attempt, Decision, Outcome};
use crate::explain::{rule_text, sentence};
use crate::lookup::SimulatedNodes;

/// What to run of a case.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimulateOptions {
    /// Also pods to themselves.
    pub loopback: bool,
}

/// How a probe turned out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeResult {
    /// Index of its step.
    pub step: usize,
    /// Index in the step's probes.
    pub probe: usize,
    /// Attempts that did not turn out as expected.
    pub wrong: Vec<WrongAttempt>,
    /// Where other policies or rules decided than the case says, one sentence each.
    pub misattributed: Vec<String>,
}

impl ProbeResult {
    /// Whether every attempt turned out as expected.
    pub fn is_right(&self) -> bool {
        self.wrong.is_empty()
    }
}

/// An attempt that did not turn out as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongAttempt {
    /// What was tried.
    pub attempt: Attempt,
    /// Whether it was allowed.
    pub allowed: bool,
    /// Why, in one sentence.
    pub explanation: String,
}

/// Runs all steps and probes of a case, but for those that the options leave out.
pub fn simulate(case: &Case, options: SimulateOptions) -> Vec<ProbeResult> {
    let mut nodes = SimulatedNodes::default();
    let mut results = Vec::new();
    for (step_index, step) in case.steps.iter().enumerate() {
        nodes.update(&step.cluster);
        for (probe_index, probe) in step.probes.iter().enumerate() {
            if probe.loopback && !options.loopback {
                continue;
            }
            let mut result = ProbeResult {
                step: step_index,
                probe: probe_index,
                wrong: Vec::new(),
                misattributed: Vec::new(),
            };
            for attempt in &probe.attempts {
                let outcome = nodes.decide(&step.cluster, attempt);
                let allowed = outcome.is_allowed();
                if allowed != probe.expect {
                    let explanation = sentence(&step.cluster, attempt);
                    result.wrong.push(WrongAttempt { attempt: *attempt, allowed, explanation });
                }
                result.misattributed.extend(misattributed(probe, &outcome));
            }
            results.push(result);
        }
    }
    results
}

/// Where other policies or rules decided than the probe says, one sentence each.
pub(super) fn misattributed(probe: &Probe, outcome: &Outcome) -> Vec<String> {
    let Some(why) = &probe.why else { return Vec::new() };
    let actual = actual(outcome);
    let lists = [
        ("egress isolated by", &why.egress_isolated_by, &actual.egress_isolated_by),
        ("egress allowed by", &why.egress_allowed_by, &actual.egress_allowed_by),
        ("egress denied by", &why.egress_denied_by, &actual.egress_denied_by),
        ("ingress isolated by", &why.ingress_isolated_by, &actual.ingress_isolated_by),
        ("ingress allowed by", &why.ingress_allowed_by, &actual.ingress_allowed_by),
        ("ingress denied by", &why.ingress_denied_by, &actual.ingress_denied_by),
    ];
    lists
        .into_iter()
        .filter_map(|(what, expected, actual)| {
            let mut expected = expected.clone();
            expected.sort();
            (expected != *actual).then(|| {
                format!("{what} [{}], expected [{}]", actual.join(", "), expected.join(", "))
            })
        })
        .collect()
}

fn actual(outcome: &Outcome) -> Why {
    let texts = |rules: &[PolicyRule]| {
        let mut texts: Vec<String> = rules.iter().map(rule_text).collect();
        texts.sort();
        texts
    };
    let isolated_by = |decision: &Option<Decision>| {
        decision.as_ref().map(|decision| texts(&decision.isolated_by)).unwrap_or_default()
    };
    let rules_of = |decision: &Option<Decision>, reason| {
        let decision = decision.as_ref().filter(|decision| decision.reason == reason);
        decision.map(|decision| texts(&decision.rules)).unwrap_or_default()
    };
    Why {
        egress_isolated_by: isolated_by(&outcome.egress),
        egress_allowed_by: rules_of(&outcome.egress, Reason::Policy),
        egress_denied_by: rules_of(&outcome.egress, Reason::ExplicitDeny),
        ingress_isolated_by: isolated_by(&outcome.ingress),
        ingress_allowed_by: rules_of(&outcome.ingress, Reason::Policy),
        ingress_denied_by: rules_of(&outcome.ingress, Reason::ExplicitDeny),
    }
}
