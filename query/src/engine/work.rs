//! The task of a query: plans, runs and sends.

use std::sync::Arc;

use datafusion::execution::SessionState;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt as _;
use tokio::sync::mpsc;

use super::answer::{End, Head, Message};
use super::request::Request;
use super::tables::Tables;
use crate::error::QueryError;
use crate::guard;

/// Sends the head, the batches, and says how it ended.
pub(super) async fn work(
    state: &SessionState,
    tables: &Tables,
    request: Request,
    limit: usize,
    messages: &mpsc::Sender<Message>,
) -> Result<End, QueryError> {
    let mut warnings = Vec::new();
    let plan = match request {
        Request::Sql(request) => {
            let plan = guard::plan(state, &request).await?;
            tables.refuse_measures(&plan)?;
            plan
        }
        Request::Flows(mut request) => {
            warnings = std::mem::take(&mut request.warnings);
            request.plan(&tables.flows)?
        }
        Request::State(request) => request.plan(&tables.state)?,
        Request::Loss(request) => request.plan(&tables.loss)?,
        Request::Sums(mut request) => {
            warnings = std::mem::take(&mut request.flows.warnings);
            request.plan(&tables.flows)?
        }
    };
    let plan = bounded(plan, limit)?;
    let physical = state.create_physical_plan(&plan).await.map_err(QueryError::planning)?;
    let schema = physical.schema();
    let mut batches = execute_stream(physical.clone(), state.task_ctx())?;
    let completeness = tables.moment.completeness().await;
    let positions = tables.moment.positions();
    warnings.extend(tables.warnings());
    let mut head = Some(Head { schema, warnings, completeness, positions, next_page: None });
    let mut rows = 0;
    while let Some(batch) = batches.next().await {
        let mut batch = batch?;
        if batch.num_rows() == 0 {
            continue;
        }
        let truncated = rows + batch.num_rows() > limit;
        if truncated {
            batch = batch.slice(0, limit - rows);
        }
        rows += batch.num_rows();
        // The head waits for the first rows, so that most errors come before it.
        if let Some(head) = head.take() {
            send(messages, Message::Head(head)).await?;
        }
        if batch.num_rows() > 0 {
            send(messages, Message::Batch(batch)).await?;
        }
        if truncated {
            return Ok(End { truncated, bytes_scanned: bytes_scanned(&physical) });
        }
    }
    if let Some(head) = head.take() {
        send(messages, Message::Head(head)).await?;
    }
    Ok(End { truncated: false, bytes_scanned: bytes_scanned(&physical) })
}

/// What was read of files.
pub(super) fn bytes_scanned(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    let own = plan.metrics().and_then(|metrics| metrics.sum_by_name("bytes_scanned"));
    let own = own.map_or(0, |value| value.as_usize() as u64);
    own + plan.children().into_iter().map(bytes_scanned).sum::<u64>()
}

async fn send(messages: &mpsc::Sender<Message>, message: Message) -> Result<(), QueryError> {
    let gone = |_| QueryError::Internal("nobody waits for the answer".into());
    messages.send(message).await.map_err(gone)
}

/// One row more than the limit is enough to know that rows are cut off.
fn bounded(plan: LogicalPlan, limit: usize) -> Result<LogicalPlan, QueryError> {
    if matches!(
        plan,
        LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_)
    ) {
        return Ok(plan);
    }
    let builder = LogicalPlanBuilder::from(plan);
    Ok(builder.limit(0, Some(limit + 1))?.build()?)
}
