//! The annotations that policies and namespaces are read for.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::error::{FieldPath, Problem};
use super::flow_logging;
use crate::model::Term;

/// Prefix of Weir's own annotations.
const OWN_PREFIX: &str = "weir.io/";
/// Denies of this policy, or of this namespace's pods, are only reported.
const AUDIT: &str = "weir.io/audit";
/// How often it is reported what connections of this namespace's pods did.
pub(super) const INTERVAL: &str = "weir.io/interval";
/// On a NetworkPolicy.
const ENABLE_LOGGING: &str = "policy.network.gke.io/enable-logging";
/// On a namespace.
const ENABLE_DENY_LOGGING: &str = "policy.network.gke.io/enable-deny-logging";

/// All annotations of an object.
#[derive(Default, Deserialize)]
#[serde(transparent)]
pub(super) struct RawAnnotations(BTreeMap<String, Value>);

impl RawAnnotations {
    /// Of a policy, whether denies are only reported.
    pub(super) fn of_policy(&self) -> Result<bool, Problem> {
        self.check_known(&[AUDIT])?;
        self.audit()
    }

    /// Of a namespace, whether denies are only reported, and how often connections are.
    pub(super) fn of_namespace(&self) -> Result<(bool, Option<Term>), Problem> {
        self.check_known(&[AUDIT, INTERVAL])?;
        let at = FieldPath::default().key("metadata").key("annotations").key(INTERVAL);
        let interval = match self.0.get(INTERVAL) {
            None => None,
            Some(Value::String(text)) => Some(flow_logging::term(text, &at)?),
            Some(other) => return Err(at.problem(format!("is {other}: write it in quotes"))),
        };
        Ok((self.audit()?, interval))
    }

    /// Any other annotation of Weir's is refused: a misspelt one would enforce what is to be
    /// watched, or the reverse.
    fn check_known(&self, known: &[&str]) -> Result<(), Problem> {
        let is_wrong =
            |key: &&String| key.starts_with(OWN_PREFIX) && !known.contains(&key.as_str());
        let Some(key) = self.0.keys().find(is_wrong) else { return Ok(()) };
        let at = FieldPath::default().key("metadata").key("annotations").key(key);
        let (verb, known) = (if known.len() == 1 { "is" } else { "are" }, known.join(" and "));
        let message =
            format!("is not known here ({known} {verb}): correct its spelling or remove it");
        Err(at.problem(message))
    }

    /// Anything but `"true"` and `"false"` is refused.
    fn audit(&self) -> Result<bool, Problem> {
        let at = FieldPath::default().key("metadata").key("annotations");
        match self.0.get(AUDIT) {
            None => Ok(false),
            Some(Value::String(word)) if word == "true" => Ok(true),
            Some(Value::String(word)) if word == "false" => Ok(false),
            Some(other) => {
                let message = format!("is {other}: write \"true\" or \"false\", in quotes");
                Err(at.key(AUDIT).problem(message))
            }
        }
    }

    /// Whether what the policy allows is logged where logging is delegated to policies.
    pub(super) fn log_allows(&self) -> bool {
        self.is_true(ENABLE_LOGGING)
    }

    /// Whether denies of the namespace's pods are logged where logging is delegated to namespaces.
    pub(super) fn log_denies(&self) -> bool {
        self.is_true(ENABLE_DENY_LOGGING)
    }

    fn is_true(&self, key: &str) -> bool {
        self.0.get(key).and_then(Value::as_str) == Some("true")
    }
}
