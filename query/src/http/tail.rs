//! `GET /api/v1/flows/tail`: new flows as server-sent events.
//!
//! In: the relay's hot batches, looked for every [`LOOK`]. Out: one event a row, `data:` with the
//! row as JSON, in order of time within a look. Capacity: one look's rows a follower; a follower
//! that reads slowly looks less often. Overflow: batches that left the relay's memory between two
//! looks, and rows beyond the limit of an answer, are told in an event `missed`. Shutdown: ends
//! with the connection.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::stream::{self, Stream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use super::error::ApiError;
use crate::catalog::hot::HotView;
use crate::catalog::snapshot::Snapshot;
use crate::engine::{FlowsRequest, Next, Order, Request};
use crate::error::QueryError;
use crate::filter::{self, Filter};
use crate::output::lines;

/// How often each follower looks.
const LOOK: Duration = Duration::from_millis(200);
/// Followers at a time; more are refused.
const MAX_FOLLOWERS: usize = 64;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TailParameters {
    #[serde(default)]
    filter: Option<String>,
}

/// How many follow.
#[derive(Debug, Default)]
pub(crate) struct Followers(AtomicUsize);

pub(super) async fn tail(
    State(app): State<Arc<App>>,
    parameters: Result<Query<TailParameters>, QueryRejection>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let Query(parameters) = parameters.map_err(|rejection| {
        ApiError::invalid(format!("{}: known is filter", rejection.body_text()))
    })?;
    let filter = parameters.filter.as_deref().map(filter::parse).transpose()?.flatten();
    let mut follower = Follower::admit(app, filter)?;
    // What is there already is the past; if the relay cannot say now, all it has later is new.
    if let Ok(view) = follower.app.engine.snapshots().sources[0].flows.refresh().await {
        follower.seen = Some(Seen::of(&view));
    }
    let events = stream::unfold(follower, async |mut follower| {
        let events = follower.look().await;
        Some((stream::iter(events.into_iter().map(Ok)), follower))
    });
    Ok(Sse::new(futures::StreamExt::flatten(events)).keep_alive(KeepAlive::default()))
}

struct Follower {
    app: Arc<App>,
    filter: Option<Filter>,
    seen: Option<Seen>,
    /// The last trouble that was told, so that it is told once.
    told: Option<String>,
}

/// How far a follower has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    epoch: u64,
    position: u64,
}

impl Seen {
    fn of(view: &HotView) -> Self {
        Self { epoch: view.epoch, position: view.last }
    }

    /// Batches that were hot between two looks and are so no longer.
    fn missed(self, view: &HotView) -> u64 {
        if self.epoch != view.epoch {
            return 0;
        }
        view.first.saturating_sub(self.position + 1)
    }
}

impl Follower {
    fn admit(app: Arc<App>, filter: Option<Filter>) -> Result<Self, ApiError> {
        let before = app.followers.0.fetch_add(1, Ordering::Relaxed);
        let follower = Self { app, filter, seen: None, told: None };
        if before >= MAX_FOLLOWERS {
            return Err(ApiError::from(QueryError::TooManyFollowers(MAX_FOLLOWERS)));
        }
        Ok(follower)
    }

    /// Waits for the next look; its events.
    async fn look(&mut self) -> Vec<Event> {
        tokio::time::sleep(LOOK).await;
        match self.new_rows().await {
            Ok(events) => {
                self.told = None;
                events
            }
            Err(error) => {
                let error = error.to_string();
                if self.told.as_ref() == Some(&error) {
                    return Vec::new();
                }
                let event =
                    Event::default().event("trouble").data(json!({ "message": error }).to_string());
                self.told = Some(error);
                vec![event]
            }
        }
    }

    async fn new_rows(&mut self) -> Result<Vec<Event>, QueryError> {
        let view = self.app.engine.snapshots().sources[0].flows.refresh().await;
        let view = view.map_err(|error| QueryError::Unavailable(error.to_string()))?;
        let seen = self.seen;
        let mut events = Vec::new();
        if let Some(batches) = seen.map(|seen| seen.missed(&view)).filter(|missed| *missed > 0) {
            events.push(missed(&json!({ "batches": batches })));
        }
        let after = seen.filter(|seen| seen.epoch == view.epoch).map_or(0, |seen| seen.position);
        let now_seen = Some(Seen::of(&view));
        let hot = view.after(after);
        if hot.is_empty() {
            self.seen = now_seen;
            return Ok(events);
        }
        let snapshot = Snapshot { hot, ..Snapshot::default() };
        let limit = self.app.engine.limits().max_rows;
        let flows = FlowsRequest {
            filter: self.filter.clone(),
            order: Order::Ascending,
            limit,
            ..FlowsRequest::default()
        };
        let mut answer = self.app.engine.run(Request::Over(snapshot, flows), limit).await?;
        loop {
            match answer.next().await? {
                Next::Batch(batch) => {
                    let lines =
                        lines(&batch).map_err(|error| QueryError::Internal(error.to_string()))?;
                    let lines = String::from_utf8_lossy(&lines);
                    events.extend(lines.lines().map(|line| Event::default().data(line)));
                }
                Next::End { truncated } => {
                    if truncated {
                        events.push(missed(&json!({ "rows_beyond": limit })));
                    }
                    // Only now: what failed half way is looked at again.
                    self.seen = now_seen;
                    return Ok(events);
                }
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.app.followers.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn missed(what: &Value) -> Event {
    Event::default().event("missed").data(what.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_flushed_between_two_looks_is_missed() {
        let view = |epoch, first, last| HotView {
            epoch,
            first,
            last,
            manifest_version: 0,
            batches: vec![],
        };
        let seen = Seen::of(&view(1, 1, 4));
        assert_eq!(seen, Seen { epoch: 1, position: 4 });
        assert_eq!(seen.missed(&view(1, 2, 6)), 0);
        assert_eq!(seen.missed(&view(1, 5, 6)), 0);
        assert_eq!(seen.missed(&view(1, 7, 6)), 2);
        assert_eq!(seen.missed(&view(2, 9, 9)), 0);
    }
}
