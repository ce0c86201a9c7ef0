//! `GET /api/v1/flows/tail`: new flows as server-sent events.
//!
//! In: a follower of the hub. Out: one event a row, `data:` with the row as JSON, in order of time
//! within a short window; events `missed` and `trouble`. An `id:` says behind which position
//! somebody who comes again goes on, by the header `Last-Event-ID` or the parameter `after`.
//! Capacity and overflow: the follower's. Shutdown: ends with the connection.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::record_batch::RecordBatch;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::stream::{self, Stream, StreamExt as _};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use super::App;
use super::error::ApiError;
use super::who::Who;
use crate::engine::Caller;
use crate::error::QueryError;
use crate::filter;
use crate::live::{Follower, Positions, Told};
use crate::metrics::{Door, Metrics};
use crate::output::lines;

/// Followers at a time; more are refused.
const MAX_FOLLOWERS: usize = 64;
/// Who comes again says here how far it is.
const LAST_EVENT_ID: &str = "last-event-id";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TailParameters {
    #[serde(default)]
    filter: Option<String>,
    #[serde(default)]
    after: Option<String>,
}

/// How many follow.
#[derive(Debug, Default)]
pub(crate) struct Followers(AtomicUsize);

impl Followers {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

pub(super) async fn tail(
    State(app): State<Arc<App>>,
    Who(principal): Who,
    headers: HeaderMap,
    parameters: Result<Query<TailParameters>, QueryRejection>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let Query(parameters) = parameters.map_err(|rejection| {
        ApiError::invalid(format!("{}: known are filter and after", rejection.body_text()))
    })?;
    let parsed = filter::parse(parameters.filter.as_deref().unwrap_or_default())?;
    let again = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let after = again.or(parameters.after.as_deref()).filter(|after| !after.is_empty());
    let after = after.map(str::parse::<Positions>).transpose();
    let after = after.map_err(|error| ApiError::invalid(format!("after: {error}")))?;
    let place = Place::take(app)?;
    let engine = &place.0.engine;
    let text = parameters.filter.unwrap_or_default();
    let record = engine.record(Caller::new(principal.clone(), Door::Tail, text)).await?;
    let hub = place.0.hub.clone();
    let follower = Follower::new(hub, &principal, parsed.filter, engine.session())?;
    let (sender, mut told) = mpsc::channel(1);
    let task = engine.spawn_live(follower.follow(after, sender));
    // What comes from now on is new: the answer begins when the follower has joined.
    let warnings = parsed.warnings.iter().map(|warning| Told::Warning(warning.to_string()));
    let mut first: Vec<Told> = warnings.collect();
    first.extend(told.recv().await.unwrap_or_default());
    let later = stream::unfold((told, task, record), async |(mut told, task, record)| {
        let next = tokio::select! {
            next = told.recv() => next?,
            () = record.killed() => return None,
        };
        record.rows(next.iter().map(Told::rows).sum());
        Some((next, (told, task, record)))
    });
    let events = stream::once(std::future::ready(first)).chain(later).flat_map(move |told| {
        let events = told.into_iter().flat_map(|told| events(told, &place.0.metrics));
        let events: Vec<_> = events.map(Ok).collect();
        stream::iter(events)
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

fn events(told: Told, metrics: &Metrics) -> Vec<Event> {
    let event = match told {
        Told::Rows(rows, position) => return row_events(&rows, position.as_deref(), metrics),
        Told::Position(position) => Event::default().id(position),
        Told::Missed { batches, rows } => {
            metrics.missed(rows.unwrap_or(0));
            let what = json!({"batches": batches, "rows": rows});
            Event::default().event("missed").data(what.to_string())
        }
        Told::Trouble(message) => {
            Event::default().event("trouble").data(json!({"message": message}).to_string())
        }
        Told::Warning(message) => {
            Event::default().event("warning").data(json!({"message": message}).to_string())
        }
    };
    vec![event]
}

/// An event a row; the last with the position.
fn row_events(rows: &RecordBatch, position: Option<&str>, metrics: &Metrics) -> Vec<Event> {
    let text = match lines(rows) {
        Ok(text) => text,
        Err(error) => {
            let missed = Told::Missed { batches: 0, rows: Some(rows.num_rows() as u64) };
            let trouble = events(Told::Trouble(error.to_string()), metrics);
            return trouble.into_iter().chain(events(missed, metrics)).collect();
        }
    };
    let text = String::from_utf8_lossy(&text);
    let count = text.lines().count();
    let row = |(index, line): (usize, &str)| {
        let event = Event::default().data(line);
        match position {
            Some(position) if index + 1 == count => event.id(position),
            _ => event,
        }
    };
    text.lines().enumerate().map(row).collect()
}

/// One follower's place; free again when it is dropped.
pub(crate) struct Place(Arc<App>);

impl Place {
    /// Who the place is of.
    pub(crate) fn app(&self) -> &Arc<App> {
        &self.0
    }

    /// Takes one, if any is free.
    pub(crate) fn take(app: Arc<App>) -> Result<Self, ApiError> {
        let before = app.followers.0.fetch_add(1, Ordering::Relaxed);
        let place = Self(app);
        if before >= MAX_FOLLOWERS {
            return Err(ApiError::from(QueryError::TooManyFollowers(MAX_FOLLOWERS)));
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.followers.0.fetch_sub(1, Ordering::Relaxed);
    }
}
