//! The fields of log entries outside of `jsonPayload`. Their names are those of the `LogEntry` message of
//! the Cloud Logging API; case does not count, but in keys of labels.

use datafusion::logical_expr::{Expr, col, lit};
use weir_flow::policy_action::LOG_ID;
use weir_flow::values::Direction;

use super::Names;
use super::field::{Constant, Field, Kind};
use super::payload;
use crate::functions::entry::of_row;
use crate::functions::labels::label;

/// The monitored resource of all entries.
pub(crate) const RESOURCE_TYPE: &str = "k8s_node";
/// What stands before the key of a label of the pod whose policy decided.
pub(crate) const POD_LABEL: &str = "k8s-pod/";
/// Labels of an entry and the columns whose texts they have.
pub(crate) const COLUMN_LABELS: [(&str, &str); 3] =
    [("weir/verdict", "verdict"), ("weir/reason", "reason"), ("weir/policy", "policy")];
/// The project of entries that nobody named one for.
pub(crate) const NO_PROJECT: &str = "-";

/// Fields that entries have, but of `jsonPayload`.
pub(super) const NAMES: [&str; 9] = [
    "timestamp",
    "severity",
    "logName",
    "insertId",
    "resource.type",
    "resource.labels.project_id",
    "resource.labels.location",
    "resource.labels.cluster_name",
    "resource.labels.node_name",
];

const UNSET: [&str; 7] =
    ["httpRequest", "metadata", "operation", "protoPayload", "resource", "sourceLocation", "split"];

/// What a name of an entry is.
pub(super) enum Found {
    Field(Field),
    /// Entries could have it, and none does; those that there are.
    NoSuchKey(Vec<String>),
    /// Entries cannot have it; those that there are.
    Undefined(Vec<String>),
}

/// The field of an entry; `None` if entries have no such field at all.
pub(super) fn field(first: &str, rest: &[&str], names: &Names) -> Option<Found> {
    let lower: Vec<String> = rest.iter().map(|part| part.to_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    let project = names.project.as_deref().unwrap_or(NO_PROJECT);
    let text = |text: &str| Field::constant(Constant::Text(text.to_owned()));
    let unset_text = || Field::default(Constant::Text(String::new()));
    let found = match (first.to_lowercase().as_str(), lower.as_slice()) {
        ("timestamp", []) => Field::of(Kind::Time(col("time"))),
        ("receivetimestamp", []) => Field::default(Constant::Time(0)),
        ("severity", []) => Field::default(Constant::Severity(0)),
        ("logname", []) => text(&format!("projects/{project}/logs/{LOG_ID}")),
        ("insertid", []) => Field::of(Kind::Text { expr: of_row(), words: &[] }),
        ("trace" | "spanid", []) => unset_text(),
        ("tracesampled", []) => Field::default(Constant::Boolean(false)),
        ("textpayload", []) => Field::missing(),
        ("jsonpayload", _) => {
            return Some(match payload::field(rest) {
                Some(field) => Found::Field(field),
                None => {
                    let known = payload::PATHS.iter();
                    Found::NoSuchKey(known.map(|path| format!("jsonPayload.{path}")).collect())
                }
            });
        }
        ("labels", []) => Field::of(Kind::Labels(pod_labels())),
        ("labels", _) => return Some(entry_label(&rest.join("."))),
        ("resource", []) => Field::of(Kind::Object(vec![
            "resource.type".into(),
            "resource.labels.cluster_name".into(),
            "resource.labels.node_name".into(),
        ])),
        ("resource", ["type"]) => text(RESOURCE_TYPE),
        ("resource", ["labels"]) => Field::of(Kind::Object(vec![
            "resource.labels.cluster_name".into(),
            "resource.labels.node_name".into(),
        ])),
        ("resource", ["labels", _, ..]) => match rest[1..].join(".").as_str() {
            "project_id" => match &names.project {
                Some(project) => text(project),
                None => Field::missing(),
            },
            "location" => match &names.location {
                Some(location) => text(location),
                None => Field::missing(),
            },
            "cluster_name" => Field::text("cluster"),
            "node_name" => Field::text("node"),
            _ => return Some(Found::NoSuchKey(owned(&NAMES[5..]))),
        },
        ("protopayload", _) => Field::missing(),
        ("metadata", [] | ["system_labels" | "user_labels", ..]) => Field::missing(),
        ("httprequest" | "operation" | "sourcelocation" | "split", []) => Field::of(Kind::Unset),
        (message, [inner]) => match unset(message, inner) {
            Some(field) => field,
            None if UNSET.iter().any(|known| known.eq_ignore_ascii_case(message)) => {
                return Some(Found::Undefined(owned(&NAMES)));
            }
            None if is_plain(message) => return Some(Found::Undefined(owned(&NAMES))),
            None => return None,
        },
        (message, [_, ..])
            if is_plain(message)
                || UNSET.iter().any(|known| known.eq_ignore_ascii_case(message)) =>
        {
            return Some(Found::Undefined(owned(&NAMES)));
        }
        _ => return None,
    };
    Some(Found::Field(found))
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn is_plain(field: &str) -> bool {
    let plain = [
        "timestamp",
        "receivetimestamp",
        "severity",
        "logname",
        "insertid",
        "trace",
        "spanid",
        "tracesampled",
        "textpayload",
    ];
    plain.contains(&field)
}

/// Fields of messages that no entry has: they count as their defaults.
fn unset(message: &str, field: &str) -> Option<Field> {
    let constant = match (message, field) {
        (
            "httprequest",
            "requestmethod" | "requesturl" | "useragent" | "remoteip" | "serverip" | "referer"
            | "protocol",
        )
        | ("operation", "id" | "producer")
        | ("sourcelocation", "file" | "function")
        | ("split", "uid") => Constant::Text(String::new()),
        ("httprequest", "status" | "requestsize" | "responsesize" | "cachefillbytes")
        | ("sourcelocation", "line")
        | ("split", "index" | "totalsplits") => Constant::Number(0.0),
        ("httprequest", "cachelookup" | "cachehit" | "cachevalidatedwithoriginserver")
        | ("operation", "first" | "last") => Constant::Boolean(false),
        ("httprequest", "latency") => Constant::Duration(0),
        _ => return None,
    };
    Some(Field::default(constant))
}

/// The labels of the pod whose policy decided.
fn pod_labels() -> Expr {
    enforced(|side| col(format!("{side}_labels")))
}

/// Of the side whose policy decided.
fn enforced(of: impl Fn(&str) -> Expr) -> Expr {
    let ingress = col("direction").eq(lit(Direction::Ingress.as_str()));
    Expr::Case(datafusion::logical_expr::expr::Case {
        expr: None,
        when_then_expr: vec![(Box::new(ingress), Box::new(of("destination")))],
        else_expr: Some(Box::new(of("source"))),
    })
}

fn entry_label(key: &str) -> Found {
    if let Some((_, column)) = COLUMN_LABELS.iter().find(|(label, _)| *label == key) {
        let present = col(*column).not_eq(lit(""));
        return Found::Field(Field::text(column).guarded(present));
    }
    match key.strip_prefix(POD_LABEL) {
        Some(key) => {
            let expr = enforced(|side| label().call(vec![col(format!("{side}_labels")), lit(key)]));
            Found::Field(Field::of(Kind::Text { expr, words: &[] }))
        }
        None => {
            let mut known: Vec<String> =
                COLUMN_LABELS.iter().map(|(label, _)| format!("labels.\"{label}\"")).collect();
            known.push(format!("labels.\"{POD_LABEL}{key}\""));
            Found::NoSuchKey(known)
        }
    }
}
