//! `TailLogEntries`: new entries as they come.
//!
//! In: a follower of the hub. Out: responses of the entries of one buffer window, in order of time within
//! a response, with how many the client missed. Capacity: [`MAX_ENTRIES`] a response; more make it go
//! before its time. Overflow: the follower's. Shutdown: ends with the call.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tonic::{Status, Streaming};
use weir_flow::Flow;

use super::grpc::{message, status};
use super::proto::tail_log_entries_response::SuppressionInfo;
use super::proto::tail_log_entries_response::suppression_info::Reason;
use super::proto::{TailLogEntriesRequest, TailLogEntriesResponse};
use super::request::projects;
use crate::access::Principal;
use crate::engine::{AbortOnDrop, Caller, Record};
use crate::filter::{self, Names};
use crate::http::App;
use crate::http::error::ApiError;
use crate::http::tail::Place;
use crate::live::{Follower, Told};
use crate::metrics::Door;

/// Entries of one response.
const MAX_ENTRIES: usize = 1_000;
const DEFAULT_WINDOW: Duration = Duration::from_secs(2);
const MAX_WINDOW: Duration = Duration::from_secs(60);

/// The responses of one call.
pub(crate) type Tail = Pin<Box<dyn Stream<Item = Result<TailLogEntriesResponse, Status>> + Send>>;

/// Begins with the first request; later ones are not looked at.
pub(super) async fn tail(
    app: Arc<App>,
    principal: &Arc<Principal>,
    mut requests: Streaming<TailLogEntriesRequest>,
) -> Result<Tail, Status> {
    let request = requests.message().await?;
    let request = request.ok_or_else(|| Status::invalid_argument("the request is missing"))?;
    let names =
        Names { project: projects(&request.resource_names).map_err(status)?, location: None };
    let parsed = filter::parse_for(&request.filter, names);
    let parsed = parsed.map_err(|error| status(error.into()))?;
    let window = match request.buffer_window {
        None => DEFAULT_WINDOW,
        Some(window) => Duration::try_from(window)
            .ok()
            .filter(|window| *window <= MAX_WINDOW)
            .ok_or_else(|| Status::invalid_argument("bufferWindow is from 0 to 60 seconds"))?,
    };
    let place = Place::take(app).map_err(status)?;
    let app = place.app();
    let caller = Caller::new(principal.clone(), Door::CloudLogging, request.filter);
    let record = app.engine.record(caller).await.map_err(|error| status(error.into()))?;
    let follower = Follower::new(app.hub.clone(), principal, parsed.filter, app.engine.session());
    let follower = follower.map_err(|error| status(ApiError::from(error)))?;
    let (sender, told) = mpsc::channel(1);
    let task = app.engine.spawn_live(follower.follow(None, sender));
    let following =
        Following { told, names: parsed.names, window, record, _task: task, _place: place };
    Ok(Box::pin(stream::unfold((following, requests), async |(mut following, requests)| {
        let next = following.next().await?;
        Some((next, (following, requests)))
    })))
}

struct Following {
    told: mpsc::Receiver<Vec<Told>>,
    names: Names,
    window: Duration,
    record: Record,
    _task: AbortOnDrop,
    _place: Place,
}

impl Following {
    /// The next response, once a window is over that anything came in.
    async fn next(&mut self) -> Option<Result<TailLogEntriesResponse, Status>> {
        let (mut rows, mut missed) = (Vec::<Flow>::new(), 0_u64);
        let mut due = None;
        loop {
            let told = match due {
                None => tokio::select! {
                    told = self.told.recv() => told,
                    () = self.record.killed() => return None,
                },
                Some(due) => match timeout_at(due, self.told.recv()).await {
                    Ok(told) => told,
                    Err(_) => break,
                },
            };
            let Some(told) = told else {
                due?;
                break;
            };
            for told in told {
                match told {
                    Told::Rows(batch, _) => match Flow::read(&batch) {
                        Ok(read) => rows.extend(read.into_iter().filter(|row| row.count > 0)),
                        Err(error) => return Some(Err(Status::internal(error.to_string()))),
                    },
                    // Of batches nobody counted there is at least one row each.
                    Told::Missed { batches, rows } => missed += rows.unwrap_or(batches),
                    Told::Trouble(cause) => tracing::debug!(%cause, "a tail waits"),
                    Told::Position(_) | Told::Warning(_) => {}
                }
            }
            if due.is_none() && (!rows.is_empty() || missed > 0) {
                due = Some(Instant::now() + self.window);
            }
            if rows.len() >= MAX_ENTRIES {
                break;
            }
        }
        self.record.rows(rows.len());
        rows.sort_by_key(|row| row.time);
        let suppression = SuppressionInfo {
            reason: Reason::NotConsumed.into(),
            suppressed_count: i32::try_from(missed).unwrap_or(i32::MAX),
        };
        Some(Ok(TailLogEntriesResponse {
            entries: rows.iter().map(|row| message(row, &self.names)).collect(),
            suppression_info: (missed > 0).then_some(suppression).into_iter().collect(),
        }))
    }
}
