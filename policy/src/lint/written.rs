//! What only the text of a policy tells, because defaults hide it.

use serde_json::Value;

use super::{Lint, Severity, Subject};
use crate::evaluate::NETWORK_POLICY;
use crate::manifest::ObjectName;

/// Looks at the text of one policy, as [`parse_with_texts`](crate::manifest::parse_with_texts)
/// gives it. Texts that cannot be read have no findings here.
pub fn lint_text(text: &str) -> Vec<Lint> {
    let Some(value) = crate::manifest::parse_document(text) else { return Vec::new() };
    let text = |field: &str| {
        let value = value.get("metadata").and_then(|metadata| metadata.get(field));
        value.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let name = ObjectName {
        kind: value.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned(),
        namespace: text("namespace"),
        name: text("name"),
    };
    if name.kind != NETWORK_POLICY {
        return Vec::new();
    }
    let namespace = if name.namespace.is_empty() { "default".into() } else { name.namespace };
    let at = Subject { kind: NETWORK_POLICY, namespace, name: name.name };
    types_left_out(&value, &at).into_iter().collect()
}

fn types_left_out(value: &Value, at: &Subject) -> Option<Lint> {
    let spec = value.get("spec")?;
    let is_empty =
        |field: &str| spec.get(field).and_then(Value::as_array).is_none_or(Vec::is_empty);
    if !is_empty("policyTypes") {
        return None;
    }
    let egress = spec.get("egress")?;
    let sentence = match egress.as_array().is_none_or(Vec::is_empty) {
        true => {
            "policyTypes is left out and egress is empty: egress is not isolated, everything \
                 may leave"
        }
        false => {
            "policyTypes is left out: with egress rules both directions are isolated, and \
                  ingress without rules is denied altogether"
        }
    };
    let is_harmless = !is_empty("egress") && !is_empty("ingress");
    if is_harmless {
        return None;
    }
    Some(at.lint(
        "types_left_out",
        Severity::Warning,
        "spec.policyTypes".into(),
        sentence.into(),
        "write policyTypes with the directions that are meant",
    ))
}
