//! What `hubble status`, `list nodes` and `list namespaces` show.
//!
//! Rows are counted as the one who asks sees them. Who does not see every namespace is told of the nodes
//! where flows of its own were seen, and of its own namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimestampNanosecondType};
use arrow::record_batch::RecordBatch;
use futures::future::join_all;
use weir_flow::schema::TimestampNs;

use super::counted::{ByNode, Counted, OfNode};
use super::message::node_name;
use super::proto::observer::{Namespace, Node, ServerStatusResponse, Tls};
use super::proto::relay::NodeState;
use crate::access::Principal;
use crate::clock;
use crate::engine::{Caller, Next, Request, SqlRequest};
use crate::error::QueryError;
use crate::http::App;
use crate::http::status::{ALIVE_NS, latest};
use crate::metrics::Door;

/// Over which time flows of nodes are counted: a day.
const COUNTED_NS: i64 = 24 * 3_600 * 1_000_000_000;
/// Over which time the rate is taken.
const RATE_NS: i64 = 60 * 1_000_000_000;

/// The nodes, in order of name.
pub(super) async fn nodes(
    app: &App,
    counted: &Counted,
    principal: &Arc<Principal>,
) -> Result<Vec<Node>, QueryError> {
    let now_ns = clock::now().0;
    let of_day = counted.get(principal, count(app, principal, now_ns)).await?;
    let of_node = |(name, of_node): (&String, &OfNode)| {
        let node = Node {
            name: name.clone(),
            state: NodeState::NodeGone.into(),
            tls: Some(Tls { enabled: false }),
            uptime_ns: u64::try_from(now_ns.saturating_sub(of_node.first_ns)).unwrap_or(1),
            num_flows: of_node.flows,
            seen_flows: of_node.flows,
            ..Node::default()
        };
        (name.clone(), node)
    };
    let mut nodes: BTreeMap<String, Node> = of_day.iter().map(of_node).collect();
    let sources = &app.engine.snapshots().sources;
    let answers = join_all(sources.iter().map(async |source| source.relay.status().await)).await;
    if answers.iter().any(Result::is_err) {
        // A relay that does not answer may know of them.
        nodes.values_mut().for_each(|node| node.state = NodeState::UnknownNodeState.into());
    }
    let collectors = answers.into_iter().flatten().flat_map(|status| status.collectors);
    for seen in latest(collectors) {
        let Some(status) = seen.status else { continue };
        let name = node_name(&status.cluster, &status.node);
        // Whoever has seen no flow there does not see the node.
        if !principal.namespaces.is_all() && !nodes.contains_key(&name) {
            continue;
        }
        let now_ns = u64::try_from(now_ns).unwrap_or_default();
        let alive = now_ns.saturating_sub(seen.last_seen_ns) <= ALIVE_NS;
        let state = if alive { NodeState::NodeConnected } else { NodeState::NodeUnavailable };
        let node = nodes.entry(name.clone()).or_insert_with(|| Node {
            name,
            tls: Some(Tls { enabled: false }),
            ..Node::default()
        });
        node.version = status.version;
        node.state = state.into();
    }
    Ok(nodes.into_values().collect())
}

/// The flows of the last day by node.
async fn count(app: &App, principal: &Arc<Principal>, now_ns: i64) -> Result<ByNode, QueryError> {
    let sql = format!(
        "select cluster, node, count(*) as n, min(time) as first from flows \
         where time >= '{}' group by cluster, node",
        TimestampNs(now_ns.saturating_sub(COUNTED_NS))
    );
    let mut nodes = ByNode::new();
    for batch in ask(app, principal, "GetNodes", sql).await? {
        let (clusters, names) = (text(&batch, "cluster")?, text(&batch, "node")?);
        let counts = column(&batch, "n")?.as_primitive::<Int64Type>().clone();
        let firsts = column(&batch, "first")?.as_primitive::<TimestampNanosecondType>().clone();
        for row in 0..batch.num_rows() {
            let flows = u64::try_from(counts.value(row)).unwrap_or_default();
            let of_node = OfNode { flows, first_ns: firsts.value(row) };
            nodes.insert(node_name(clusters.value(row), names.value(row)), of_node);
        }
    }
    Ok(nodes)
}

/// The namespaces that flows or pods are of, in order of cluster and name.
pub(super) async fn namespaces(
    app: &App,
    principal: &Arc<Principal>,
) -> Result<Vec<Namespace>, QueryError> {
    let sql = "select distinct cluster, source_namespace as namespace from edges_1m \
               union select distinct cluster, destination_namespace from edges_1m \
               union select distinct cluster, namespace from endpoints";
    let mut found = BTreeSet::new();
    for batch in ask(app, principal, "GetNamespaces", sql.into()).await? {
        let (clusters, names) = (text(&batch, "cluster")?, text(&batch, "namespace")?);
        let rows = (0..batch.num_rows()).filter(|row| names.is_valid(*row));
        let granted = rows.filter(|row| principal.namespaces.has(names.value(*row)));
        found.extend(
            granted.map(|row| (clusters.value(row).to_owned(), names.value(row).to_owned())),
        );
    }
    found.retain(|(_, namespace)| !namespace.is_empty());
    let namespaces = found.into_iter();
    Ok(namespaces.map(|(cluster, namespace)| Namespace { cluster, namespace }).collect())
}

/// How everything is.
pub(super) async fn server_status(
    app: &App,
    counted: &Counted,
    principal: &Arc<Principal>,
) -> Result<ServerStatusResponse, QueryError> {
    let nodes = nodes(app, counted, principal).await?;
    let count = async |sql: String| -> Result<u64, QueryError> {
        let batches = ask(app, principal, "ServerStatus", sql).await?;
        let Some(batch) = batches.first() else { return Ok(0) };
        let counts = cast(column(batch, "n")?, &DataType::UInt64).map_err(defect)?;
        let counts = counts.as_primitive::<arrow::datatypes::UInt64Type>();
        Ok(counts.values().first().copied().unwrap_or(0))
    };
    let num_flows = count("select count(*) as n from flows".into()).await?;
    let recent = format!(
        "select count(*) as n from flows where time >= '{}'",
        TimestampNs(clock::now().0.saturating_sub(RATE_NS))
    );
    let recent = u32::try_from(count(recent).await?).unwrap_or(u32::MAX);
    let connected = |node: &&Node| node.state == i32::from(NodeState::NodeConnected);
    let unavailable: Vec<String> =
        nodes.iter().filter(|node| !connected(node)).map(|node| node.name.clone()).collect();
    let number = |number: usize| Some(u32::try_from(number).unwrap_or(u32::MAX));
    Ok(ServerStatusResponse {
        num_flows,
        // What is kept is bounded by age and bytes, not by a number.
        max_flows: 0,
        seen_flows: num_flows,
        uptime_ns: u64::try_from(app.started.elapsed().as_nanos()).unwrap_or(u64::MAX),
        num_connected_nodes: number(nodes.len() - unavailable.len()),
        num_unavailable_nodes: number(unavailable.len()),
        unavailable_nodes: unavailable,
        version: format!("weir {}", env!("CARGO_PKG_VERSION")),
        flows_rate: f64::from(recent) / 60.0,
    })
}

/// All rows of SQL.
async fn ask(
    app: &App,
    principal: &Arc<Principal>,
    text: &str,
    sql: String,
) -> Result<Vec<RecordBatch>, QueryError> {
    let caller = Caller::new(principal.clone(), Door::Hubble, text);
    let request = Request::Sql(SqlRequest::new(sql));
    let mut answer = app.engine.run(caller, request, app.engine.limits().max_rows).await?;
    let mut batches = Vec::new();
    while let Next::Batch(batch) = answer.next().await? {
        batches.push(batch);
    }
    Ok(batches)
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, QueryError> {
    let column = batch.column_by_name(name);
    column.ok_or_else(|| QueryError::Internal(format!("column {name} is missing")))
}

fn text(batch: &RecordBatch, name: &str) -> Result<StringArray, QueryError> {
    let text = cast(column(batch, name)?, &DataType::Utf8).map_err(defect)?;
    Ok(text.as_string::<i32>().clone())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn defect(error: arrow::error::ArrowError) -> QueryError {
    QueryError::Internal(error.to_string())
}
