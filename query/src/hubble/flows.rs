//! The answer of `GetFlows`: rows that are there already, earliest first, then new ones.
//!
//! In: a query's answer, and a follower of the hub that joined before and goes on behind the snapshot which
//! that query was answered from, so that no row comes twice or is missed. Out: messages, made as the client takes them.
//! Capacity: [`HANDFUL`] messages and what the two hold. Overflow: the follower's, told as lost events.
//! Shutdown: ends with the call.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;
use weir_flow::Flow;
use weir_flow::schema::loss::LossRow;

use super::message;
use super::proto::observer::{GetFlowsRequest, GetFlowsResponse};
use super::request::{Span, Wanted};
use super::service::status;
use crate::access::Principal;
use crate::catalog::range::TimeRange;
use crate::clock;
use crate::engine::{AbortOnDrop, Answer, Caller, Next, Record, Request};
use crate::error::QueryError;
use crate::http::App;
use crate::http::tail::Place;
use crate::live::{Follower, Positions, Told};
use crate::metrics::Door;

/// Rows that become messages at a time.
const HANDFUL: usize = 256;
/// Lost events of one answer; where there are more, that is told.
const MAX_LOSSES: usize = 1_000;
/// How long the headers wait for a follower of new rows only to have joined.
const JOINING: Duration = Duration::from_secs(1);

/// What is sent.
pub(crate) type Responses = BoxStream<'static, Result<GetFlowsResponse, Status>>;

/// Begins an answer; errors of the request come before it.
pub(super) async fn get(
    app: Arc<App>,
    principal: Arc<Principal>,
    request: &GetFlowsRequest,
) -> Result<Responses, Status> {
    let wanted = Wanted::new(request)?;
    let place = wanted.follow.then(|| Place::take(app.clone())).transpose().map_err(status)?;
    let mut rows =
        Rows { app, principal, wanted, stage: Stage::Begin, ready: VecDeque::new(), _place: place };
    if rows.wanted.span == Span::None {
        let (follower, record) = rows.follower().await.map_err(|error| status(error.into()))?;
        let (sender, told) = mpsc::channel(1);
        let task = rows.app.engine.spawn_live(follower.follow(None, sender));
        let mut following = Following { told, record, _task: task };
        let joined = tokio::time::timeout(JOINING, following.told.recv()).await;
        if let Ok(Some(told)) = joined {
            rows.tell(told).map_err(|error| status(error.into()))?;
        }
        rows.stage = Stage::Live(following);
    }
    Ok(stream::unfold(rows, async |mut rows| Some((rows.next().await?, rows))).boxed())
}

/// An answer under way.
struct Rows {
    app: Arc<App>,
    principal: Arc<Principal>,
    wanted: Wanted,
    stage: Stage,
    ready: VecDeque<GetFlowsResponse>,
    _place: Option<Place>,
}

enum Stage {
    Begin,
    Stored(Box<Stored>),
    Live(Following),
    End(Option<Status>),
}

/// Rows that are there already.
struct Stored {
    answer: Answer,
    /// What came last, and how much of it was sent.
    batch: Option<(RecordBatch, usize)>,
    sent: usize,
    /// In order of time, while there is more to tell.
    losses: VecDeque<LossRow>,
    first_ns: Option<i64>,
    last_ns: i64,
    /// What comes next.
    following: Option<Following>,
}

/// New rows.
struct Following {
    told: mpsc::Receiver<Vec<Told>>,
    record: Record,
    _task: AbortOnDrop,
}

impl Rows {
    /// The next message.
    async fn next(&mut self) -> Option<Result<GetFlowsResponse, Status>> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(Ok(ready));
            }
            let stage = std::mem::replace(&mut self.stage, Stage::End(None));
            let next = match stage {
                Stage::Begin => self.begin().await,
                Stage::Stored(stored) => self.stored(stored).await,
                Stage::Live(following) => self.live(following).await,
                Stage::End(None) => return None,
                Stage::End(Some(error)) => return Some(Err(error)),
            };
            self.stage = next.unwrap_or_else(|error| Stage::End(Some(status(error.into()))));
        }
    }

    fn caller(&self) -> Caller {
        Caller::new(self.principal.clone(), Door::Hubble, self.wanted.text.clone())
    }

    async fn begin(&mut self) -> Result<Stage, QueryError> {
        let most = self.app.engine.limits().max_rows;
        let Some(request) = self.wanted.stored(most) else { return Ok(Stage::End(None)) };
        // First to join, then to look: what comes in between is in both, and known.
        let following = match self.wanted.follow {
            true => Some(self.follow_behind().await?),
            false => None,
        };
        let mut losses = VecDeque::new();
        if self.wanted.span == Span::All {
            losses = self.losses(self.wanted.since_ns, self.wanted.until_ns).await?;
        }
        let answer = self.app.engine.run(self.caller(), Request::Flows(request), most).await?;
        let now_ns = clock::now().0;
        let warnings = answer.warnings().iter().cloned();
        self.ready.extend(warnings.map(|text| message::of_trouble(text, now_ns)));
        let following = following.map(|(following, found)| {
            // Fails only if the follower is gone, and then its end is told.
            let _ = found.send(answer.positions().cloned().unwrap_or_default());
            following
        });
        Ok(Stage::Stored(Box::new(Stored {
            answer,
            batch: None,
            sent: 0,
            losses,
            first_ns: None,
            last_ns: i64::MIN,
            following,
        })))
    }

    async fn stored(&mut self, mut stored: Box<Stored>) -> Result<Stage, QueryError> {
        let Some((batch, from)) = stored.batch.take() else {
            let truncated = match stored.answer.next().await? {
                Next::Batch(batch) => {
                    stored.batch = Some((batch, 0));
                    return Ok(Stage::Stored(stored));
                }
                Next::End(end) => end.truncated,
            };
            return self.after_stored(*stored, truncated).await;
        };
        let some = batch.slice(from, HANDFUL.min(batch.num_rows() - from));
        for row in read(&some)? {
            while let Some(loss) = stored.losses.pop_front_if(|loss| loss.time <= row.time) {
                self.ready.push_back(message::of_loss(&loss));
            }
            stored.first_ns.get_or_insert(row.time.0);
            stored.last_ns = row.time.0;
            self.ready.push_back(message::of_row(&row, self.wanted.selection.shown));
        }
        stored.sent += some.num_rows();
        let from = from + some.num_rows();
        stored.batch = (from < batch.num_rows()).then_some((batch, from));
        Ok(Stage::Stored(stored))
    }

    /// What was lost in the meantime, whether that was all, and what comes then.
    async fn after_stored(&mut self, stored: Stored, truncated: bool) -> Result<Stage, QueryError> {
        let most = self.app.engine.limits().max_rows;
        let losses = match (self.wanted.span, stored.first_ns) {
            (Span::First(_), Some(from)) => self.losses(Some(from), Some(stored.last_ns)).await?,
            (Span::Last(_), Some(from)) => self.losses(Some(from), self.wanted.until_ns).await?,
            _ => stored.losses,
        };
        self.ready.extend(losses.iter().map(message::of_loss));
        if truncated || (self.wanted.exceeds(most) && stored.sent >= most) {
            let part = match self.wanted.span {
                Span::Last(_) => "latest",
                _ => "first",
            };
            return Ok(Stage::End(Some(Status::resource_exhausted(format!(
                "these are the {part} {most} flows, and there may be more: narrow the filters, or use \
                 --since and --until, or raise the limit `max_rows` of the query service"
            )))));
        }
        Ok(stored.following.map_or(Stage::End(None), Stage::Live))
    }

    /// What is known to be lost in that time, in order of time.
    async fn losses(
        &mut self,
        from_ns: Option<i64>,
        until_ns: Option<i64>,
    ) -> Result<VecDeque<LossRow>, QueryError> {
        let range = TimeRange {
            from_ns: from_ns.unwrap_or(i64::MIN),
            until_ns: until_ns.unwrap_or(i64::MAX),
        };
        let mut losses = self.app.engine.losses(range).await?;
        losses.sort_by_key(|loss| loss.time);
        if losses.len() > MAX_LOSSES {
            let text = format!(
                "{} losses are known in that time, {MAX_LOSSES} are told: ask table `loss` for all",
                losses.len()
            );
            self.ready.push_back(message::of_trouble(text, clock::now().0));
            losses.truncate(MAX_LOSSES);
        }
        Ok(losses.into())
    }

    async fn follower(&self) -> Result<(Follower, Record), QueryError> {
        let engine = &self.app.engine;
        let record = engine.record(self.caller()).await?;
        let (hub, filter) = (self.app.hub.clone(), self.wanted.filter());
        let follower = Follower::new(hub, &self.principal, filter, engine.session())?;
        Ok((follower, record))
    }

    /// Has joined, and waits to be told what was found.
    async fn follow_behind(&self) -> Result<(Following, oneshot::Sender<Positions>), QueryError> {
        let (follower, record) = self.follower().await?;
        let (sender, told) = mpsc::channel(1);
        let ((joined, is_joined), (found, is_found)) = (oneshot::channel(), oneshot::channel());
        let follow = follower.follow_behind(joined, is_found, sender);
        let task = self.app.engine.spawn_live(follow);
        let gone = |_| QueryError::Internal("a follower broke off; please report it".into());
        is_joined.await.map_err(gone)?;
        Ok((Following { told, record, _task: task }, found))
    }

    async fn live(&mut self, mut following: Following) -> Result<Stage, QueryError> {
        let told = tokio::select! {
            told = following.told.recv() => told,
            () = following.record.killed() => {
                return Ok(Stage::End(Some(Status::aborted("the query was ended"))));
            }
        };
        let Some(told) = told else {
            return Ok(Stage::End(Some(Status::unavailable("the live stream ended"))));
        };
        let before = self.ready.len();
        let goes_on = self.tell(told)?;
        following.record.rows(self.ready.len() - before);
        Ok(if goes_on { Stage::Live(following) } else { Stage::End(None) })
    }

    /// Makes messages of what a follower was told; `false` at the end of the time that is wanted.
    fn tell(&mut self, told: Vec<Told>) -> Result<bool, QueryError> {
        for told in told {
            match told {
                Told::Rows(batch, _) => {
                    for row in read(&batch)? {
                        if self.wanted.until_ns.is_some_and(|until| row.time.0 > until) {
                            return Ok(false);
                        }
                        if self.wanted.since_ns.is_none_or(|since| row.time.0 >= since) {
                            let shown = self.wanted.selection.shown;
                            self.ready.push_back(message::of_row(&row, shown));
                        }
                    }
                }
                Told::Missed { batches, rows } => {
                    self.app.metrics.missed(rows.unwrap_or(0));
                    // Of batches nobody counted there is at least one row each.
                    let rows = rows.unwrap_or(batches);
                    self.ready.push_back(message::of_missed(rows, clock::now().0));
                }
                Told::Trouble(text) | Told::Warning(text) => {
                    self.ready.push_back(message::of_trouble(text, clock::now().0));
                }
                Told::Position(_) => {}
            }
        }
        Ok(true)
    }
}

fn read(batch: &RecordBatch) -> Result<Vec<Flow>, QueryError> {
    Flow::read(batch).map_err(|error| QueryError::Internal(error.to_string()))
}
