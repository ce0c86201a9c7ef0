//! `entries:list`: a page of entries in order of time, those of the same time in order of `insertId`.

use std::sync::Arc;

use weir_flow::Flow;
use weir_flow::policy_action::Identity;

use super::request::ListRequest;
use super::token::Token;
use crate::access::Principal;
use crate::engine::{Caller, Engine, FlowsRequest, Next, Order, Request};
use crate::error::QueryError;
use crate::filter::{self, Filter, Names};
use crate::http::error::ApiError;
use crate::metrics::Door;

/// Most entries of exactly the same nanosecond.
const MAX_TIES: usize = 10_000;

/// A page.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) rows: Vec<Flow>,
    /// What entries call the project and the location.
    pub(crate) names: Names,
    /// The token of the next page; `None` at the end.
    pub(crate) next: Option<String>,
}

/// Reads a page.
pub(crate) async fn list(
    engine: &Engine,
    principal: &Arc<Principal>,
    request: &ListRequest,
) -> Result<Page, ApiError> {
    let names = Names { project: request.project()?, location: None };
    let parsed = filter::parse_for(&request.filter, names)?;
    let (order, size) = (request.order()?, request.page()?);
    let after = Token::of(request)?;
    let caller = Caller::new(principal.clone(), Door::CloudLogging, &request.filter);
    let reader = Reader { engine, caller, filter: parsed.filter, order };
    let mut rows = Vec::new();
    if let Some(after) = &after {
        let ties = reader.at(after.time_ns).await?;
        rows.extend(ties.into_iter().filter(|(id, _)| *id > after.insert_id));
    }
    if rows.len() <= size {
        let wanted = size + 1 - rows.len();
        let mut more = reader.beyond(after.map(|after| after.time_ns), wanted).await?;
        if more.len() == wanted
            && let Some(last_ns) = more.last().map(|(_, row)| row.time.0)
        {
            // Of the last time there may be more, which come first in the order.
            more.retain(|(_, row)| row.time.0 != last_ns);
            more.extend(reader.at(last_ns).await?);
        }
        rows.extend(more);
    }
    rows.sort_by(|(left_id, left), (right_id, right)| {
        let times = left.time.cmp(&right.time);
        let times = if order == Order::Ascending { times } else { times.reverse() };
        times.then_with(|| left_id.cmp(right_id))
    });
    rows.dedup_by(|left, right| left.0 == right.0);
    let more = rows.len() > size;
    rows.truncate(size);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|(id, row)| Token::behind(row.time.0, id.clone(), request).text());
    let rows = rows.into_iter().map(|(_, row)| row).collect();
    Ok(Page { rows, names: parsed.names, next })
}

struct Reader<'a> {
    engine: &'a Engine,
    caller: Caller,
    filter: Option<Filter>,
    order: Order,
}

impl Reader<'_> {
    /// All of one time.
    async fn at(&self, time_ns: i64) -> Result<Vec<(String, Flow)>, ApiError> {
        let until = time_ns.saturating_add(1);
        let rows = self.read(Some(time_ns), Some(until), MAX_TIES + 1).await?;
        if rows.len() > MAX_TIES {
            return Err(ApiError::invalid(format!(
                "more than {MAX_TIES} entries are of the same nanosecond: narrow the filter"
            )));
        }
        Ok(rows)
    }

    /// Those behind a time in the order.
    async fn beyond(
        &self,
        time_ns: Option<i64>,
        limit: usize,
    ) -> Result<Vec<(String, Flow)>, ApiError> {
        match self.order {
            Order::Ascending => {
                self.read(time_ns.map(|time| time.saturating_add(1)), None, limit).await
            }
            Order::Descending => self.read(None, time_ns, limit).await,
        }
    }

    async fn read(
        &self,
        since: Option<i64>,
        until: Option<i64>,
        limit: usize,
    ) -> Result<Vec<(String, Flow)>, ApiError> {
        let request = FlowsRequest {
            filter: self.filter.clone(),
            verdicts: true,
            since,
            until,
            order: self.order,
            limit,
            ..FlowsRequest::default()
        };
        let mut answer =
            self.engine.run(self.caller.clone(), Request::Flows(request), limit).await?;
        let mut rows = Vec::new();
        while let Next::Batch(batch) = answer.next().await? {
            let read = Flow::read(&batch);
            let read = read.map_err(|error| QueryError::Internal(error.to_string()))?;
            rows.extend(read.into_iter().map(|row| (Identity::from(&row).insert_id(), row)));
        }
        Ok(rows)
    }
}
