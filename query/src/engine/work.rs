//! The task of a query: plans, runs and sends.

use datafusion::execution::SessionState;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use futures::StreamExt as _;
use tokio::sync::mpsc;

use super::answer::{End, Head, Message};
use super::place::{self, Started};
use super::request::Request;
use super::tables::Tables;
use crate::error::QueryError;
use crate::guard;
use crate::remote::Remote;

/// Sends the head, the batches, and says how it ended.
pub(super) async fn work(
    state: &mut SessionState,
    tables: &Tables,
    remote: Option<&dyn Remote>,
    request: Request,
    limit: usize,
    messages: &mpsc::Sender<Message>,
) -> Result<End, QueryError> {
    let mut warnings = Vec::new();
    if matches!(request, Request::Flows(_) | Request::Loss(_) | Request::Sums(_)) {
        tables.begin();
    }
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
    let mut started = Started::new(state, remote, &plan).await?;
    let (schema, place) = (started.batches.schema(), started.place.clone());
    let completeness = tables.moment.completeness().await;
    let positions = tables.moment.positions();
    warnings.extend(tables.warnings());
    let mut head = Some(Head { schema, warnings, completeness, positions, next_page: None, place });
    let mut rows = 0;
    while let Some(batch) = started.batches.next().await {
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
            send(messages, Message::Head(Box::new(head))).await?;
        }
        if batch.num_rows() > 0 {
            send(messages, Message::Batch(batch)).await?;
        }
        if truncated {
            return Ok(End { truncated, bytes_scanned: started.bytes_scanned() });
        }
    }
    if let Some(head) = head.take() {
        send(messages, Message::Head(Box::new(head))).await?;
    }
    Ok(End { truncated: false, bytes_scanned: started.bytes_scanned() })
}

async fn send(messages: &mpsc::Sender<Message>, message: Message) -> Result<(), QueryError> {
    let gone = |_| QueryError::Internal("nobody waits for the answer".into());
    messages.send(message).await.map_err(gone)
}

/// One row more than the limit is enough to know that rows are cut off.
pub(super) fn bounded(plan: LogicalPlan, limit: usize) -> Result<LogicalPlan, QueryError> {
    if place::explains(&plan) {
        return Ok(plan);
    }
    let builder = LogicalPlanBuilder::from(plan);
    Ok(builder.limit(0, Some(limit + 1))?.build()?)
}
