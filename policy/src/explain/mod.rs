//! Why an attempt is allowed or denied, and the least change that would allow it.
//!
//! | module | what it is for |
//! |---|---|
//! | [`question`] | what may be asked, and which attempts that comes down to |
//! | [`answer`] | the answer, as it is served |
//! | [`trace`] | each policy and rule with the clause that matched or failed |
//! | [`sentences`] | all of it in one sentence |

mod answer;
mod ends;
mod question;
mod sentences;
mod service;
mod trace;

use weir_flow::values::{PolicyRule, Verdict};

pub use answer::{
    Answer, AttemptView, Change, Clause, EntryTrace, Explanation, Mistake, Outcome, Overall,
    PolicyTrace, RuleTrace, Side,
};
pub use question::{MAX_ATTEMPTS, Question, QuestionError};

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
    answer(cluster, attempt).sentence
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
    _originals: &[Original],
) -> Explanation {
    let mut answers: Vec<Answer> = Vec::new();
    for attempt in &attempts.list {
        let new = answer(cluster, attempt);
        match answers.iter_mut().find(|answer| is_alike(answer, &new)) {
            Some(answer) => answer.attempts.extend(new.attempts),
            None => answers.push(new),
        }
    }
    Explanation {
        sentence: sentences::whole(question, attempts, &answers),
        verdict: sentences::overall(&answers),
        question: question.cloned(),
        notes: attempts.notes.clone(),
        mistakes: Vec::new(),
        diff: None,
        answers,
    }
}

fn answer(cluster: &Cluster, attempt: &Attempt) -> Answer {
    let outcome = decide(cluster, attempt);
    let side = |direction| {
        let pod = cluster.pod_at(attempt.local(direction))?;
        Some(trace::side(cluster, pod, direction, attempt, outcome.decision(direction)?))
    };
    let (egress, ingress) = (side(Direction::Egress), side(Direction::Ingress));
    let sides: Vec<&Side> = egress.iter().chain(&ingress).collect();
    let has = |verdict| sides.iter().any(|side| side.verdict == verdict);
    let verdict = [Verdict::Deny, Verdict::Audit]
        .into_iter()
        .find(|verdict| has(*verdict))
        .unwrap_or(Verdict::Allow);
    let changes = Vec::new();
    Answer {
        sentence: sentences::one(cluster, attempt, &sides, &changes),
        verdict,
        attempts: vec![view(cluster, attempt)],
        changes,
        mistakes: Vec::new(),
        egress,
        ingress,
    }
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
