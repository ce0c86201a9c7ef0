//! Why an attempt is allowed or denied, and the least change that would allow it.
//!
//! | module | what it is for |
//! |---|---|
//! | [`question`] | what may be asked, and which attempts that comes down to |
//! | [`answer`] | the answer, as it is served |
//! | [`trace`] | each policy and rule with the clause that matched or failed |
//! | [`change`] | the nearest miss: the least change that would allow it |
//! | [`yaml`], [`diff`] | that change as a change of the policy's text |
//! | [`mistakes`] | mistakes that people make, by name |
//! | [`sentences`] | all of it in one sentence |

mod answer;
mod change;
mod diff;
mod ends;
mod mistakes;
mod question;
mod sentences;
mod service;
mod trace;
mod yaml;

use weir_flow::values::{PolicyRule, Verdict};

pub use answer::{
    Answer, AttemptView, Change, Clause, EntryTrace, Explanation, Mistake, Outcome, Overall,
    PolicyTrace, RuleTrace, Side,
};
pub use question::{MAX_ATTEMPTS, Question, QuestionError};
pub use yaml::policy_yaml;

use self::change::Bench;
use self::question::Attempts;
use crate::evaluate::{Attempt, decide};
use crate::model::{Cluster, Direction};

/// A manifest file as its author wrote it, so that changes can be shown as changes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// Its path, as diffs should name it.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Answers a question. Changes are shown against the originals that describe the policies.
pub fn explain(
    cluster: &Cluster,
    question: &Question,
    originals: &[Original],
) -> Result<Explanation, QuestionError> {
    let attempts = question::attempts(cluster, question)?;
    Ok(explain_all(cluster, Some(question), &attempts, originals))
}

/// Answers why one attempt was or would be judged as it is, such as that of a stored flow, given
/// the cluster of its time.
pub fn explain_attempt(
    cluster: &Cluster,
    attempt: &Attempt,
    originals: &[Original],
) -> Explanation {
    let attempts = Attempts { list: vec![*attempt], ..Attempts::default() };
    explain_all(cluster, None, &attempts, originals)
}

/// Why an attempt is allowed or denied, in one sentence.
pub fn sentence(cluster: &Cluster, attempt: &Attempt) -> String {
    answer(cluster, attempt, &mut Bench::new(cluster, &[])).sentence
}

/// `namespace/name[rule]`.
pub fn rule_text(rule: &PolicyRule) -> String {
    match rule.rule {
        Some(index) => format!("{}[{index}]", rule.qualified_name()),
        None => rule.qualified_name(),
    }
}

fn explain_all(
    cluster: &Cluster,
    question: Option<&Question>,
    attempts: &Attempts,
    originals: &[Original],
) -> Explanation {
    let mut bench = Bench::new(cluster, originals);
    // Takes up the changes of all attempts, one after the other.
    let mut all = Bench::new(cluster, originals);
    let mut answers: Vec<Answer> = Vec::new();
    for attempt in &attempts.list {
        let new = answer(cluster, attempt, &mut bench);
        change::changes(&mut all, attempt, &sides(&new.egress, &new.ingress));
        match answers.iter_mut().find(|answer| is_alike(answer, &new)) {
            Some(answer) => answer.attempts.extend(new.attempts),
            None => answers.push(new),
        }
    }
    let mut mistakes = attempts.mistakes.clone();
    for mistake in answers.iter().flat_map(|answer| &answer.mistakes) {
        if !mistakes.contains(mistake) {
            mistakes.push(mistake.clone());
        }
    }
    Explanation {
        sentence: sentences::whole(question, attempts, &answers),
        verdict: match attempts.is_to_itself {
            true => Overall::Allow,
            false => sentences::overall(&answers),
        },
        question: question.cloned(),
        notes: attempts.notes.clone(),
        mistakes,
        diff: all.diff(),
        answers,
    }
}

/// Leaves nothing on the bench.
fn answer(cluster: &Cluster, attempt: &Attempt, bench: &mut Bench<'_>) -> Answer {
    let outcome = decide(cluster, attempt);
    let side = |direction| {
        let pod = cluster.pod_at(attempt.local(direction))?;
        Some(trace::side(cluster, pod, direction, attempt, outcome.decision(direction)?))
    };
    let (egress, ingress) = (side(Direction::Egress), side(Direction::Ingress));
    let sides = sides(&egress, &ingress);
    let has = |verdict| sides.iter().any(|side| side.verdict == verdict);
    let verdict = [Verdict::Deny, Verdict::Audit]
        .into_iter()
        .find(|verdict| has(*verdict))
        .unwrap_or(Verdict::Allow);
    let changes = match verdict {
        Verdict::Allow => Vec::new(),
        _ => change::changes(bench, attempt, &sides),
    };
    bench.clear();
    Answer {
        sentence: sentences::one(cluster, attempt, &sides, &changes),
        verdict,
        attempts: vec![view(cluster, attempt)],
        changes,
        mistakes: mistakes::find(cluster, attempt, &sides),
        egress,
        ingress,
    }
}

fn sides<'a>(egress: &'a Option<Side>, ingress: &'a Option<Side>) -> Vec<&'a Side> {
    egress.iter().chain(ingress).collect()
}

fn view(cluster: &Cluster, attempt: &Attempt) -> AttemptView {
    AttemptView {
        source: ends::name(cluster, attempt.source),
        source_address: attempt.source,
        destination: ends::name(cluster, attempt.destination),
        destination_address: attempt.destination,
        port: attempt.destination_port,
        protocol: answer::protocol_text(attempt.protocol),
    }
}

/// Whether two answers differ in nothing but what was judged.
fn is_alike(one: &Answer, other: &Answer) -> bool {
    let side = |left: &Option<Side>, right: &Option<Side>| match (left, right) {
        (Some(left), Some(right)) => {
            (left.verdict, left.reason, &left.rules, &left.isolated_by)
                == (right.verdict, right.reason, &right.rules, &right.isolated_by)
        }
        (left, right) => left.is_none() && right.is_none(),
    };
    one.verdict == other.verdict
        && side(&one.egress, &other.egress)
        && side(&one.ingress, &other.ingress)
        && one.changes == other.changes
        && one.mistakes == other.mistakes
}
