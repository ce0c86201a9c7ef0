//! The annotations that policies and namespaces are read for.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::error::{FieldPath, Problem};

/// Prefix of Weir's own annotations.
const OWN_PREFIX: &str = "weir.io/";
/// Denies of this policy, or of this namespace's pods, are only reported.
const AUDIT: &str = "weir.io/audit";
/// On a NetworkPolicy.
const ENABLE_LOGGING: &str = "policy.network.gke.io/enable-logging";
/// On a namespace.
const ENABLE_DENY_LOGGING: &str = "policy.network.gke.io/enable-deny-logging";

/// All annotations of an object.
#[derive(Default, Deserialize)]
#[serde(transparent)]
pub(super) struct RawAnnotations(BTreeMap<String, Value>);

impl RawAnnotations {
    /// Whether denies are only reported. Anything but `"true"` and `"false"`, and any other
    /// annotation of Weir's, is refused: a misspelt one would enforce what is to be watched, or
    /// the reverse.
    pub(super) fn audit(&self) -> Result<bool, Problem> {
        let at = FieldPath::default().key("metadata").key("annotations");
        if let Some(key) = self.0.keys().find(|key| key.starts_with(OWN_PREFIX) && *key != AUDIT) {
            let message = format!("is not known ({AUDIT} is): correct its spelling or remove it");
            return Err(at.key(key).problem(message));
        }
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
