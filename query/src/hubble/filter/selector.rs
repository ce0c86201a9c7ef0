//! Label selectors as Kubernetes writes them: `app=web,tier!=db,env in (a, b),!canary`, each key with
//! the source that Cilium puts before it or without.

use datafusion::logical_expr::{Expr, col, lit};

use super::end::End;
use super::{FilterError, all};
use crate::functions::labels::label;
use crate::hubble::identity::{CLUSTER_LABEL, NAMESPACE_LABEL};

/// Requirements of one selector.
const MAX_REQUIREMENTS: usize = 64;

/// A requirement, before it is known what the key is.
#[derive(Debug, PartialEq, Eq)]
struct Requirement<'a> {
    key: &'a str,
    condition: Condition<'a>,
}

#[derive(Debug, PartialEq, Eq)]
enum Condition<'a> {
    Exists,
    DoesNotExist,
    In(Vec<&'a str>),
    NotIn(Vec<&'a str>),
}

/// Whether an end's labels pass; an empty selector is passed by everything.
pub(super) fn lower(end: End, text: &str) -> Result<Expr, FilterError> {
    let requirements = split(text).into_iter().map(|part| parse(part, text));
    let requirements = requirements.collect::<Result<Vec<_>, _>>()?;
    if requirements.len() > MAX_REQUIREMENTS {
        return Err(FilterError::new(format!(
            "a label selector has {} requirements, {MAX_REQUIREMENTS} are allowed",
            requirements.len()
        )));
    }
    let lowered = requirements.iter().map(|requirement| requirement.lower(end));
    Ok(all(lowered.collect::<Result<_, _>>()?))
}

/// At the commas that are not in parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    let parts = text.split(|c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    let parts: Vec<&str> = parts.map(str::trim).collect();
    if parts == [""] { vec![] } else { parts }
}

fn parse<'a>(part: &'a str, whole: &str) -> Result<Requirement<'a>, FilterError> {
    let wrong = || {
        FilterError::new(format!(
            "{whole:?} is no label selector: write it like app=web,tier!=db,env in (a, b),!canary"
        ))
    };
    let value = |text: &'a str| {
        let text = text.trim();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if text.chars().all(allowed) { Ok(text) } else { Err(wrong()) }
    };
    let requirement = if let Some(key) = part.strip_prefix('!') {
        Requirement { key: key.trim(), condition: Condition::DoesNotExist }
    } else if let Some((key, text)) = part.split_once("!=") {
        Requirement { key: key.trim(), condition: Condition::NotIn(vec![value(text)?]) }
    } else if let Some((key, text)) = part.split_once("==").or_else(|| part.split_once('=')) {
        Requirement { key: key.trim(), condition: Condition::In(vec![value(text)?]) }
    } else if let Some((key, list)) = part.strip_suffix(')').and_then(|part| part.split_once('(')) {
        let values = list.split(',').map(value).collect::<Result<Vec<_>, _>>()?;
        let words: Vec<&str> = key.split_whitespace().collect();
        match words.as_slice() {
            [key, "in"] => Requirement { key, condition: Condition::In(values) },
            [key, "notin"] => Requirement { key, condition: Condition::NotIn(values) },
            _ => return Err(wrong()),
        }
    } else {
        Requirement { key: part, condition: Condition::Exists }
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    let key = requirement.key;
    if key.is_empty() || !key.chars().all(allowed) { Err(wrong()) } else { Ok(requirement) }
}

impl Requirement<'_> {
    fn lower(&self, end: End) -> Result<Expr, FilterError> {
        let (source, key) = self.key.split_once(':').unwrap_or(("any", self.key));
        let value = match (source, key) {
            ("reserved", word) => return self.reserved(end, word),
            ("any" | "k8s", NAMESPACE_LABEL) => end.column("namespace"),
            // Pods have it, and nothing else has labels.
            ("any" | "k8s", CLUSTER_LABEL) => {
                let pod = end.column("namespace").is_not_null();
                return Ok(match &self.condition {
                    Condition::Exists => pod,
                    Condition::DoesNotExist => pod.is_not_true(),
                    Condition::In(values) => pod.and(one_of(col("cluster"), values)),
                    Condition::NotIn(values) => {
                        pod.and(one_of(col("cluster"), values)).is_not_true()
                    }
                });
            }
            ("any" | "k8s", key) => label().call(vec![end.column("labels"), lit(key)]),
            (other, _) => {
                return Err(FilterError::new(format!(
                    "there are no labels of source {other:?}: use k8s or reserved, and addresses for networks"
                )));
            }
        };
        Ok(match &self.condition {
            Condition::Exists => value.is_not_null(),
            Condition::DoesNotExist => value.is_null(),
            Condition::In(values) => one_of(value, values),
            // Also where there is no such label.
            Condition::NotIn(values) => one_of(value, values).is_not_true(),
        })
    }

    /// Labels of what is no pod.
    fn reserved(&self, end: End, word: &str) -> Result<Expr, FilterError> {
        let is = match word {
            "host" => end.host(),
            "remote-node" => end.remote_node(),
            "world" => end.world(),
            "unknown" => end.unknown(),
            "health" | "init" | "ingress" | "kube-apiserver" | "unmanaged" | "world-ipv4"
            | "world-ipv6" => lit(false),
            _ => {
                return Err(FilterError::new(format!(
                    "there is no label reserved:{word}: use host, remote-node, world or unknown"
                )));
            }
        };
        // They have no value.
        Ok(match &self.condition {
            Condition::Exists => is,
            Condition::DoesNotExist => is.is_not_true(),
            Condition::In(values) if values.contains(&"") => is,
            Condition::In(_) => lit(false),
            Condition::NotIn(values) if values.contains(&"") => is.is_not_true(),
            Condition::NotIn(_) => lit(true),
        })
    }
}

fn one_of(value: Expr, values: &[&str]) -> Expr {
    value.in_list(values.iter().map(|value| lit(*value)).collect(), false)
}
