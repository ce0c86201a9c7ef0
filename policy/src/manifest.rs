//! Kubernetes manifests into the model.
//!
//! Policies of all kinds are read as strictly as the API server would, because a misread policy is a
//! hole or an outage, and so is what decides about logs. Other objects are read leniently: what policies need is checked, the rest skipped.
//! A bad object never hides the others of its text.

mod annotations;
mod error;
mod flow_logging;
mod logging;
mod objects;
mod policy;
mod selector;
mod strict;
mod text;
mod tier;
mod words;
mod write;

use serde_json::{Map, Value};

pub use error::{FieldPath, ManifestError, ObjectName, Segment};
pub use write::{write_flow_logging, write_namespace, write_node, write_pod, write_service};

use self::error::Problem;
use crate::model::{
    FlowLogging, Namespace, NetworkLogging, NetworkPolicy, Node, Pod, Service, TierPolicy,
};

/// Longest text that is looked at.
pub const MAX_TEXT_BYTES: usize = 64 << 20;

/// What a manifest describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A namespace.
    Namespace(Namespace),
    /// A pod.
    Pod(Pod),
    /// A policy.
    NetworkPolicy(NetworkPolicy),
    /// A policy of a tier before or after NetworkPolicies.
    TierPolicy(TierPolicy),
    /// What is exported as log records.
    NetworkLogging(NetworkLogging),
    /// How often it is reported what connections did.
    FlowLogging(FlowLogging),
    /// A service.
    Service(Service),
    /// A node.
    Node(Node),
    /// Something that policies do not depend on.
    Ignored {
        /// Its kind, with the API group where that is what makes it foreign.
        kind: String,
    },
}

/// Reads a text of YAML documents or of JSON values. Lists (`kind: List`, `NetworkPolicyList`, …)
/// stand for their items.
pub fn parse(text: &str) -> Vec<Result<Object, ManifestError>> {
    parse_with_texts(text).into_iter().map(|result| result.map(|(object, _)| object)).collect()
}

/// Like [`parse`], and of each policy the text that describes it alone: its document as it was
/// written, or JSON where it is an item of a list.
pub fn parse_with_texts(text: &str) -> Vec<Result<(Object, Option<String>), ManifestError>> {
    let mut results = Vec::new();
    for mut document in text::documents(text) {
        match document.value() {
            Ok(Value::Null) => {}
            Ok(value) => read_all(value, |name, item, result| {
                let is_policy = name.as_ref().is_some_and(|name| is_policy(&name.kind));
                let text = item.or_else(|| is_policy.then(|| document.text().to_owned()));
                let result = result.map(|object| (object, text));
                results.push(result.map_err(|problem| document.error(name, problem)));
            }),
            Err((line, message)) => results.push(Err(ManifestError {
                document: document.index,
                object: None,
                path: FieldPath::default(),
                line,
                message,
            })),
        }
    }
    results
}

/// Reads one object that has been parsed already, a document of its own. Lists are refused.
pub fn parse_value(value: Value) -> Result<Object, ManifestError> {
    let name = ObjectName::of(&value);
    read(value).map_err(|problem| ManifestError {
        document: 1,
        object: name.map(Box::new),
        path: problem.path,
        line: None,
        message: problem.message,
    })
}

/// The first document of a text as a value, unchecked; none if it is not valid YAML or JSON.
pub(crate) fn parse_document(text: &str) -> Option<Value> {
    text::documents(text).into_iter().next()?.value().ok()
}

/// Whether objects of the kind are policies: `NetworkPolicy`, `AdminNetworkPolicy`, …
pub fn is_policy(kind: &str) -> bool {
    kind.ends_with("NetworkPolicy")
}

/// Hands on each object of a document together with what it calls itself, and the text of a policy
/// that is an item of a list.
fn read_all(
    mut value: Value,
    mut found: impl FnMut(Option<ObjectName>, Option<String>, Result<Object, Problem>),
) {
    let Some(list_kind) = list_kind(&value) else {
        let name = ObjectName::of(&value);
        return found(name, None, read(value));
    };
    let defaults = (list_kind != "List").then(|| ItemDefaults {
        kind: list_kind.trim_end_matches("List").to_owned(),
        api_version: value.get("apiVersion").cloned().unwrap_or(Value::Null),
    });
    match value.get_mut("items").map(Value::take) {
        None | Some(Value::Null) => {}
        Some(Value::Array(items)) => {
            for (index, mut item) in items.into_iter().enumerate() {
                let name = ObjectName::of(&item);
                if let (Some(defaults), Some(fields)) = (&defaults, item.as_object_mut()) {
                    defaults.fill(fields);
                }
                let kind = item.get("kind").and_then(Value::as_str);
                let text = kind.is_some_and(is_policy).then(|| format!("{item:#}\n"));
                let result = read(item).map_err(|problem| {
                    problem.inside([Segment::Key("items".into()), Segment::Index(index)])
                });
                found(name, text, result);
            }
        }
        Some(_) => found(None, None, Err(Problem::at("items", "must be a list of objects"))),
    }
}

/// What the items of a typed list leave out.
struct ItemDefaults {
    kind: String,
    api_version: Value,
}

impl ItemDefaults {
    fn fill(&self, fields: &mut Map<String, Value>) {
        fields.entry("kind").or_insert_with(|| self.kind.clone().into());
        fields.entry("apiVersion").or_insert_with(|| self.api_version.clone());
    }
}

fn list_kind(value: &Value) -> Option<String> {
    let kind = value.get("kind")?.as_str()?;
    (kind.ends_with("List") && value.get("metadata").and_then(|m| m.get("name")).is_none())
        .then(|| kind.to_owned())
}

fn read(value: Value) -> Result<Object, Problem> {
    let Some(fields) = value.as_object() else {
        return Err(Problem::here(
            "is not an object: a manifest has apiVersion, kind and metadata",
        ));
    };
    let text_of = |field: &str| match fields.get(field) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        Some(_) => Err(Problem::at(field, "must be a non-empty text")),
        None => Err(Problem::at(field, "is missing: add it, as in any Kubernetes manifest")),
    };
    let kind = text_of("kind")?;
    let api_version = text_of("apiVersion")?;
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    match (group, kind.as_str()) {
        ("", "Namespace") => objects::namespace(value).map(Object::Namespace),
        ("", "Pod") => objects::pod(value).map(Object::Pod),
        ("", "Service") => objects::service(value).map(Object::Service),
        ("", "Node") => objects::node(value).map(Object::Node),
        (_, "NetworkPolicy") if api_version == "networking.k8s.io/v1" => {
            policy::policy(value).map(Object::NetworkPolicy)
        }
        ("" | "networking.k8s.io" | "extensions", "NetworkPolicy") => {
            Err(other_version(&kind, &api_version, "networking.k8s.io/v1"))
        }
        ("policy.networking.k8s.io", "AdminNetworkPolicy") if api_version == tier::V1ALPHA1 => {
            tier::admin(value).map(Object::TierPolicy)
        }
        ("policy.networking.k8s.io", "BaselineAdminNetworkPolicy")
            if api_version == tier::V1ALPHA1 =>
        {
            tier::baseline(value).map(Object::TierPolicy)
        }
        ("policy.networking.k8s.io", "ClusterNetworkPolicy") if api_version == tier::V1ALPHA2 => {
            tier::cluster(value).map(Object::TierPolicy)
        }
        ("" | "policy.networking.k8s.io", "AdminNetworkPolicy" | "BaselineAdminNetworkPolicy") => {
            Err(other_version(&kind, &api_version, tier::V1ALPHA1))
        }
        ("" | "policy.networking.k8s.io", "ClusterNetworkPolicy") => {
            Err(other_version(&kind, &api_version, tier::V1ALPHA2))
        }
        ("networking.gke.io", "NetworkLogging") if api_version == logging::VERSION => {
            logging::logging(value).map(Object::NetworkLogging)
        }
        ("" | "networking.gke.io", "NetworkLogging") => {
            Err(other_version(&kind, &api_version, logging::VERSION))
        }
        ("weir.io", "FlowLogging") if api_version == flow_logging::VERSION => {
            flow_logging::flow_logging(value).map(Object::FlowLogging)
        }
        ("weir.io", "FlowLogging") => {
            Err(other_version(&kind, &api_version, flow_logging::VERSION))
        }
        ("weir.io", _) => Err(Problem::at(
            "kind",
            format!(
                "is {kind}, which Weir does not know (FlowLogging it does): correct its spelling"
            ),
        )),
        ("" | "apps" | "batch" | "networking.k8s.io", _) => Ok(Object::Ignored { kind }),
        _ => Ok(Object::Ignored { kind: format!("{kind}.{group}") }),
    }
}

/// A kind that is known, in a version that is not.
fn other_version(kind: &str, version: &str, expected: &str) -> Problem {
    Problem::at("apiVersion", format!("is {version}, but {kind} is read as {expected}: change it"))
}

#[cfg(test)]
mod tests;
