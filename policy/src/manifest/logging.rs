//! `networking.gke.io/v1alpha1` NetworkLogging: what is exported as log records.
//!
//! Weir has no firewall of nodes, and what it exports of flows is not settled here, so fields of
//! the object that switch these on are refused: they would be read and never done.

use serde::Deserialize;
use serde_json::Value;

use super::error::{FieldPath, Problem};
use super::strict::RawObject;
use crate::model::{LogRule, NetworkLogging};

/// Its `apiVersion`.
pub(super) const VERSION: &str = "networking.gke.io/v1alpha1";
/// The one name that is honoured.
const NAME: &str = "default";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSpec {
    cluster: Option<RawScope>,
    node: Option<RawScope>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawScope {
    allow: Option<RawLogRule>,
    deny: Option<RawLogRule>,
    flow: Option<RawLogRule>,
    flow_aggregation_seconds: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLogRule {
    log: Option<bool>,
    delegate: Option<bool>,
}

impl RawLogRule {
    fn is_off(&self) -> bool {
        !self.log.unwrap_or_default() && !self.delegate.unwrap_or_default()
    }
}

/// Reads the object.
pub(super) fn logging(value: Value) -> Result<NetworkLogging, Problem> {
    let RawObject { mut metadata, spec, .. } = Problem::decode::<RawObject<RawSpec>>(value)?;
    let name = metadata.name()?;
    if name != NAME {
        let at = FieldPath::default().key("metadata").key("name");
        return Err(at.problem(format!(
            "is {name:?}, but only the NetworkLogging named {NAME:?} is honoured: rename it"
        )));
    }
    metadata.check_cluster_wide("remove it")?;
    let RawSpec { cluster, node } = spec.unwrap_or_default();
    let at = FieldPath::default().key("spec");
    if let Some(node) = node {
        let at = at.key("node");
        let of_nodes = "is on, but Weir has no policies for nodes to log: set log and delegate to \
                        false, or remove it";
        check_off(node.allow, &at.key("allow"), of_nodes)?;
        check_off(node.deny, &at.key("deny"), of_nodes)?;
        check_no_flow(node.flow, node.flow_aggregation_seconds, &at)?;
    }
    let cluster = cluster.unwrap_or_default();
    let at = at.key("cluster");
    check_no_flow(cluster.flow, cluster.flow_aggregation_seconds, &at)?;
    Ok(NetworkLogging {
        allow: log_rule(cluster.allow, &at.key("allow"))?,
        deny: log_rule(cluster.deny, &at.key("deny"))?,
    })
}

fn log_rule(raw: Option<RawLogRule>, at: &FieldPath) -> Result<LogRule, Problem> {
    let raw = raw.unwrap_or_default();
    let rule =
        LogRule { log: raw.log.unwrap_or_default(), delegate: raw.delegate.unwrap_or_default() };
    if rule.delegate && !rule.log {
        return Err(at.key("delegate").problem("is true while log is false: set log to true too"));
    }
    Ok(rule)
}

fn check_no_flow(
    flow: Option<RawLogRule>,
    aggregation_seconds: Option<u32>,
    at: &FieldPath,
) -> Result<(), Problem> {
    let advice = "is on, but Weir keeps every flow and exports none as log records: set log and \
                  delegate to false, or remove it";
    check_off(flow, &at.key("flow"), advice)?;
    if aggregation_seconds.unwrap_or_default() == 0 {
        return Ok(());
    }
    Err(at
        .key("flowAggregationSeconds")
        .problem("is set, but Weir exports no flows as log records: set it to 0 or remove it"))
}

fn check_off(raw: Option<RawLogRule>, at: &FieldPath, advice: &str) -> Result<(), Problem> {
    if raw.is_none_or(|raw| raw.is_off()) { Ok(()) } else { Err(at.problem(advice)) }
}
