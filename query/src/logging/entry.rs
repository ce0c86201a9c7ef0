//! A row as a log entry.

use serde_json::{Map, Value, json};
use weir_flow::Flow;
use weir_flow::policy_action::{Identity, LOG_ID, PolicyAction};
use weir_flow::values::Direction;

use crate::filter::Names;
use crate::filter::entry::{COLUMN_LABELS, NO_PROJECT, POD_LABEL, RESOURCE_TYPE};
use crate::functions::units::time_text;

/// The only log of a project.
pub(crate) fn log_name(names: &Names) -> String {
    let project = names.project.as_deref().unwrap_or(NO_PROJECT);
    format!("projects/{project}/logs/{LOG_ID}")
}

/// The `LogEntry` message as JSON. What is not known is left out: the severity is the default, and
/// nobody notes when an entry was received.
pub(crate) fn entry(row: &Flow, names: &Names) -> Value {
    let mut resource = Map::new();
    if let Some(project) = &names.project {
        resource.insert("project_id".into(), json!(project));
    }
    if let Some(location) = &names.location {
        resource.insert("location".into(), json!(location));
    }
    resource.insert("cluster_name".into(), json!(row.cluster));
    resource.insert("node_name".into(), json!(row.node));
    json!({
        "insertId": Identity::from(row).insert_id(),
        "logName": log_name(names),
        "timestamp": time_text(row.time.0),
        "resource": {"type": RESOURCE_TYPE, "labels": resource},
        "labels": labels(row),
        "jsonPayload": PolicyAction::payload(row),
    })
}

/// Labels of the pod whose policy decided, and what the payload's shape has no place for.
fn labels(row: &Flow) -> Map<String, Value> {
    let pod = if row.direction == Direction::Ingress.as_str() {
        &row.destination_labels
    } else {
        &row.source_labels
    };
    let pod = pod.iter().map(|(key, value)| (format!("{POD_LABEL}{key}"), json!(value)));
    let columns = COLUMN_LABELS.iter().map(|(label, column)| {
        let text = match *column {
            "verdict" => &row.verdict,
            "reason" => &row.reason,
            _ => &row.policy,
        };
        ((*label).to_owned(), text)
    });
    let columns = columns.filter(|(_, text)| !text.is_empty());
    pod.chain(columns.map(|(label, text)| (label, json!(text)))).collect()
}
