//! The fields of `jsonPayload`, in the shape of [`PolicyAction`](weir_flow::policy_action::PolicyAction).

use datafusion::logical_expr::{Expr, col, lit};
use weir_flow::policy_action::{OTHER_PROTOCOL, PROTOCOLS};
use weir_flow::schema::columns;
use weir_flow::values::Verdict;

use super::field::{Field, Kind, policies};

/// All of them that are no objects.
pub(super) const PATHS: [&str; 24] = [
    "connection.src_ip",
    "connection.dest_ip",
    "connection.src_port",
    "connection.dest_port",
    "connection.protocol",
    "connection.direction",
    "disposition",
    "policies.kind",
    "policies.name",
    "policies.namespace",
    "src.pod_name",
    "src.pod_namespace",
    "src.namespace",
    "src.workload_kind",
    "src.workload_name",
    "src.instance",
    "dest.pod_name",
    "dest.pod_namespace",
    "dest.namespace",
    "dest.workload_kind",
    "dest.workload_name",
    "dest.instance",
    "count",
    "node_name",
];

/// The field of that path; `None` if records have none.
pub(super) fn field(path: &[&str]) -> Option<Field> {
    let joined = path.join(".");
    Some(match path {
        ["connection", "src_ip"] => Field::text("source_ip"),
        ["connection", "dest_ip"] => Field::text("destination_ip"),
        ["connection", "src_port"] => port("source_port")?,
        ["connection", "dest_port"] => port("destination_port")?,
        ["connection", "protocol"] => Field::of(Kind::Cases(protocols())),
        ["connection", "direction"] => Field::text("direction"),
        ["disposition"] => {
            let deny = Verdict::Deny.as_str();
            let denied = col("verdict").eq(lit(deny));
            let allowed = col("verdict").not_eq(lit(deny));
            Field::of(Kind::Cases(vec![(deny, denied), (Verdict::Allow.as_str(), allowed)]))
        }
        // Records of denies name no policies.
        ["policies", field] => {
            policies(field)?.guarded(col("verdict").not_eq(lit(Verdict::Deny.as_str())))
        }
        ["src", field] => peer("source", field)?,
        ["dest", field] => peer("destination", field)?,
        ["count"] => number("count")?,
        ["node_name"] => Field::text("node"),
        _ => {
            let prefix = if path.is_empty() { String::new() } else { format!("{joined}.") };
            let inner = PATHS.iter().filter(|known| known.starts_with(&prefix));
            let inner: Vec<String> = inner.map(|known| format!("jsonPayload.{known}")).collect();
            (!inner.is_empty()).then(|| Field::of(Kind::Object(inner)))?
        }
    })
}

fn number(column: &str) -> Option<Field> {
    let column = columns().iter().find(|known| known.name == column)?;
    Some(Field::of(Kind::Number(column)))
}

/// A port that is 0 is left out.
fn port(column: &str) -> Option<Field> {
    Some(number(column)?.guarded(col(column).not_eq(lit(0_u16))))
}

fn protocols() -> Vec<(&'static str, Expr)> {
    let known = PROTOCOLS.map(|(protocol, _)| lit(protocol));
    let one = PROTOCOLS.map(|(protocol, name)| (name, col("protocol").eq(lit(protocol))));
    let others = col("protocol").in_list(known.into(), true);
    one.into_iter().chain([(OTHER_PROTOCOL, others)]).collect()
}

fn peer(side: &str, field: &str) -> Option<Field> {
    let column = |name: &str| format!("{side}_{name}");
    let pod = || col(column("pod"));
    // A pod that nobody owns has no workload in the records.
    let owned = || col(column("workload_kind")).not_eq(lit("Pod"));
    Some(match field {
        "pod_name" => Field::text(&column("pod")),
        "pod_namespace" | "namespace" => {
            Field::text(&column("namespace")).guarded(pod().is_not_null())
        }
        "workload_kind" => {
            Field::text(&column("workload_kind")).guarded(pod().is_not_null()).guarded(owned())
        }
        "workload_name" => {
            Field::text(&column("workload")).guarded(pod().is_not_null()).guarded(owned())
        }
        "instance" => Field::text(&column("ip")).guarded(pod().is_null()),
        _ => return None,
    })
}
