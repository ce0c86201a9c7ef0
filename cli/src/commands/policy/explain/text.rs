//! An explanation for people.

use serde::Deserialize;
use serde_json::Value;

/// What is shown of `weir_policy::explain::Explanation`.
#[derive(Deserialize)]
struct Shown {
    sentence: String,
    notes: Vec<String>,
    mistakes: Vec<Mistake>,
    answers: Vec<Answer>,
    diff: Option<String>,
}

#[derive(Deserialize)]
struct Mistake {
    id: String,
    sentence: String,
    fix: String,
}

#[derive(Deserialize)]
struct Answer {
    verdict: String,
    attempts: Vec<Attempt>,
    egress: Option<Side>,
    ingress: Option<Side>,
    changes: Vec<Change>,
}

#[derive(Deserialize)]
struct Attempt {
    source: String,
    source_address: String,
    destination: String,
    destination_address: String,
    port: u16,
    protocol: String,
}

#[derive(Deserialize)]
struct Side {
    direction: String,
    pod: String,
    verdict: String,
    reason: String,
    policies: Vec<Policy>,
    policies_left_out: usize,
}

#[derive(Deserialize)]
struct Policy {
    kind: String,
    namespace: String,
    name: String,
    audit: bool,
    outcome: String,
    subject: Vec<Clause>,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    index: usize,
    name: Option<String>,
    action: String,
    matched: bool,
    peers: Vec<Entry>,
    ports: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    index: usize,
    clauses: Vec<Clause>,
}

#[derive(Deserialize)]
struct Clause {
    field: String,
    matched: bool,
    text: String,
}

#[derive(Deserialize)]
struct Change {
    sentence: String,
}

/// The answer's lines.
pub(super) fn text(answer: Value) -> serde_json::Result<String> {
    let shown: Shown = serde_json::from_value(answer)?;
    let mut lines = vec![shown.sentence.clone()];
    // The sentence of a question without an answer is its note.
    let notes = shown.notes.iter().filter(|note| !shown.sentence.contains(note.as_str()));
    lines.extend(notes.map(|note| format!("Note: {note}")));
    for Mistake { id, sentence, fix } in &shown.mistakes {
        lines.push(format!("\nMistake ({id}): {sentence}.\n  To repair it: {fix}."));
    }
    for answer in &shown.answers {
        lines.push(String::new());
        for attempt in &answer.attempts {
            let Attempt { source, source_address, destination, destination_address, .. } = attempt;
            lines.push(format!(
                "{} -> {} {} {}: {}",
                whom(source, source_address),
                whom(destination, destination_address),
                attempt.protocol,
                attempt.port,
                answer.verdict
            ));
        }
        for side in answer.egress.iter().chain(&answer.ingress) {
            side_lines(side, &mut lines);
        }
    }
    let mut sentences: Vec<&str> = Vec::new();
    for change in shown.answers.iter().flat_map(|answer| &answer.changes) {
        if !sentences.contains(&change.sentence.as_str()) {
            sentences.push(&change.sentence);
        }
    }
    if !sentences.is_empty() {
        lines.push("\nThe least change that would allow it:".into());
        lines.extend(sentences.iter().map(|sentence| format!("  {sentence}.")));
    }
    let mut text = lines.join("\n") + "\n";
    if let Some(diff) = &shown.diff {
        text.push('\n');
        text.push_str(diff);
    }
    Ok(text)
}

fn whom(name: &str, address: &str) -> String {
    if name.contains(address) { name.to_owned() } else { format!("{name} ({address})") }
}

fn side_lines(side: &Side, lines: &mut Vec<String>) {
    let Side { direction, pod, verdict, reason, .. } = side;
    lines.push(format!("  {direction} of {pod}: {verdict}, {reason}"));
    for policy in &side.policies {
        let slash = if policy.namespace.is_empty() { "" } else { "/" };
        let audit = if policy.audit { ", in audit" } else { "" };
        let Policy { kind, namespace, name, outcome, .. } = policy;
        let outcome = outcome.replace('_', " ");
        lines.push(format!("    {kind} {namespace}{slash}{name}: {outcome}{audit}"));
        if policy.outcome == "not_selected" {
            let failed = policy.subject.iter().filter(|clause| !clause.matched);
            lines.extend(failed.map(|clause| format!("      {}", clause_text(clause))));
        }
        for rule in &policy.rules {
            let name = rule.name.iter().map(|name| format!(" {name}")).collect::<String>();
            let what = match (rule.matched, rule.action.as_str()) {
                (true, "Allow") => "allows it".to_owned(),
                (true, action) => format!("covers it: {action}"),
                (false, _) => "does not cover it".to_owned(),
            };
            lines.push(format!("      [{}]{name} {what}", rule.index));
            for (word, entries) in [("peer", &rule.peers), ("port", &rule.ports)] {
                if entries.is_empty() {
                    lines.push(format!("        every {word}"));
                }
                for entry in entries {
                    for clause in &entry.clauses {
                        let index = entry.index;
                        lines.push(format!("        {word}[{index}] {}", clause_text(clause)));
                    }
                }
            }
        }
    }
    if side.policies_left_out > 0 {
        lines.push(format!("    and {} more policies", side.policies_left_out));
    }
}

fn clause_text(clause: &Clause) -> String {
    let mark = if clause.matched { "+" } else { "-" };
    format!("{mark} {}: {}", clause.field, clause.text)
}

#[cfg(test)]
mod tests {
    use weir_policy::Cluster;
    use weir_policy::explain::explain;
    use weir_policy::manifest::{self, Object};

    #[test]
    fn the_sentence_comes_first_and_the_diff_last() {
        let text = "apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
status: {podIP: 10.0.0.1, phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
status: {podIP: 10.0.0.2, phase: Running}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from:
    - podSelector: {}
    ports: [{port: 5433}]
";
        let mut cluster = Cluster::default();
        for object in manifest::parse(text) {
            match object.unwrap() {
                Object::Pod(pod) => cluster.pods.push(pod),
                Object::NetworkPolicy(policy) => cluster.policies.push(policy),
                other => panic!("{other:?}"),
            }
        }
        let question = serde_json::json!({"from": "shop/web", "to": "shop/db", "port": 5432});
        let question = serde_json::from_value(question).unwrap();
        let explanation = explain(&cluster, &question, &[]).unwrap();
        let shown = super::text(serde_json::to_value(explanation).unwrap()).unwrap();
        assert_eq!(
            shown,
            "Denied: ingress of shop/db is isolated by shop/db, whose nearest rule (1st) covers pods \
             labelled app=web but not TCP 5432\n\
             \n\
             shop/web (10.0.0.1) -> shop/db (10.0.0.2) TCP 5432: deny\n  \
               egress of shop/web: allow, no_policy\n    \
                 NetworkPolicy shop/db: not selected\n      \
                   - podSelector.matchLabels.app: wants app=db; shop/web has app=web\n  \
               ingress of shop/db: deny, default_deny\n    \
                 NetworkPolicy shop/db: isolates\n      \
                   [0] does not cover it\n        \
                     peer[0] + namespaceSelector: without a namespaceSelector only pods of the \
             policy's own namespace shop; shop/web is in shop\n        \
                     peer[0] + podSelector: empty: all pods\n        \
                     port[0] + protocol: wants TCP; the attempt is TCP\n        \
                     port[0] - port: wants 5433; the attempt is to 5432\n\
             \n\
             The least change that would allow it:\n  \
               In the 1st ingress rule of shop/db, add TCP 5432 to ports.\n\
             \n\
             --- a/shop/db.yaml\n\
             +++ b/shop/db.yaml\n\
             @@ -10,6 +10,8 @@\n     ports:\n     - port: 5433\n       \
             protocol: TCP\n+    - port: 5432\n+      protocol: TCP\n   podSelector:\n     \
             matchLabels:\n       app: db\n"
        );
    }
}
