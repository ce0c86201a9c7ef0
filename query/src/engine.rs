//! Plans and runs queries on threads of their own, within limits.
//!
//! A query is one task there. It sends batches through a channel of two; whoever asked reads them,
//! watches the clock, and ends the task by going away.

mod ahead;
mod answer;
mod caller;
mod cooperate;
mod kept;
mod latest;
mod morsel;
mod pages;
mod passes;
mod place;
mod postgres;
mod record;
mod request;
mod running;
mod session;
mod sums;
mod tables;
#[cfg(test)]
mod tests;
mod words;
mod work;

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::DataType;
use datafusion::execution::SessionState;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;

pub(crate) use answer::{AbortOnDrop, Answer, End, Next, Place};
pub(crate) use caller::Caller;
pub(crate) use kept::KeptCounters;
pub(crate) use morsel::MorselExec;
pub(crate) use postgres::SERVER_VERSION;
pub(crate) use record::Record;
pub(crate) use request::{
    Dialect, FlowsRequest, LossRequest, Order, Request, SqlRequest, StateRequest, time,
};
pub(crate) use running::Running;
pub(crate) use session::CATALOG;
pub(crate) use sums::{
    BUCKET, By, FIELD, GroupOrder, Measure, SEEN, SUMS, Selection, SumsRequest, VALUE,
};
use weir_flow::schema::loss::LossRow;

use crate::access::Principal;
use crate::audit::Audit;
use crate::catalog::completeness::Completeness;
use crate::catalog::history::History;
use crate::catalog::moment::Moment;
use crate::catalog::range::TimeRange;
use crate::catalog::snapshot::Snapshots;
use crate::clock;
use crate::config::Limits;
use crate::error::{QueryError, StartError};
use crate::guard::budget::Budgets;
use crate::guard::{self, Described};
use crate::metrics::{Door, Metrics, Outcome};
use crate::remote::Remote;
use answer::{Clock, Head, Message};
use kept::{KeepAggregates, KeepLatest, Kept};
use latest::LatestFirst;
use pages::{KEPT, Results, Whole};
use session::Sessions;
use tables::Tables;
use words::GroupByWords;

/// Stack of the threads that plan and run. Planning recurses over expressions: in a dev build the
/// longest SQL that the guard lets through needs less than a quarter of this.
const STACK_BYTES: usize = 32 * 1024 * 1024;
/// The engine's own bound of a LIMIT, less the row that tells that there are more.
const MAX_ROWS: usize = i64::MAX as usize - 1;
/// Threads for reading files.
const MAX_BLOCKING_THREADS: usize = 64;
/// Threads of live followers.
const LIVE_THREADS: usize = 2;

/// Runs queries.
pub(crate) struct Engine {
    /// Taken out on drop: a runtime must not be dropped where blocking is not allowed.
    threads: Option<Runtime>,
    /// Where followers are served, whatever queries do. Taken out like the others.
    live_threads: Option<Runtime>,
    sessions: Sessions,
    snapshots: Arc<Snapshots>,
    budgets: Budgets,
    running: Arc<Running>,
    results: Arc<Results>,
    metrics: Arc<Metrics>,
    audit: Audit,
    limits: Limits,
    /// Whether the planner answers from roll-ups where a query does not say.
    roll_ups: bool,
    /// Where plans that read files run; `None`: here.
    remote: Option<Arc<dyn Remote>>,
}

impl Engine {
    /// `divided` says whether each principal has a budget of its own.
    pub(crate) fn new(
        limits: Limits,
        roll_ups: bool,
        divided: bool,
        snapshots: Snapshots,
        metrics: Arc<Metrics>,
        audit: Audit,
        remote: Option<Arc<dyn Remote>>,
    ) -> Result<Self, StartError> {
        let failed = |cause: &dyn std::fmt::Display| StartError::Engine(cause.to_string());
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(limits.worker_threads())
            .max_blocking_threads(MAX_BLOCKING_THREADS)
            .thread_stack_size(STACK_BYTES)
            .thread_name("weir-query")
            .enable_all()
            .build()
            .map_err(|error| failed(&error))?;
        let live_threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(LIVE_THREADS)
            .thread_stack_size(STACK_BYTES)
            .thread_name("weir-live")
            .enable_all()
            .build()
            .map_err(|error| failed(&error))?;
        let kept = Kept::new(limits.kept_bytes, metrics.kept_counters());
        let sessions =
            Sessions::new(&limits, &snapshots.store, kept).map_err(|error| failed(&error))?;
        let environment = sessions.shared().runtime_env().clone();
        Ok(Self {
            threads: Some(threads),
            live_threads: Some(live_threads),
            sessions,
            snapshots: Arc::new(snapshots),
            budgets: Budgets::new(&limits, environment, divided),
            running: Arc::default(),
            results: Arc::new(Results::new(metrics.clone())),
            metrics,
            audit,
            limits,
            roll_ups,
            remote,
        })
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn snapshots(&self) -> &Arc<Snapshots> {
        &self.snapshots
    }

    /// Where expressions are planned.
    pub(crate) fn session(&self) -> &SessionState {
        self.sessions.shared()
    }

    /// The threads that plan and run.
    pub(crate) fn threads(&self) -> &Handle {
        self.threads.as_ref().expect("the runtime is there until drop").handle()
    }

    /// The threads that serve followers.
    pub(crate) fn live_threads(&self) -> &Handle {
        self.live_threads.as_ref().expect("the runtime is there until drop").handle()
    }

    /// Runs something beside queries; it ends with what is returned.
    pub(crate) fn spawn_live(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> AbortOnDrop {
        AbortOnDrop(self.live_threads().spawn(work).abort_handle())
    }

    /// Queries that hold a turn.
    pub(crate) fn busy(&self) -> usize {
        self.budgets.running()
    }

    /// The queries that run or wait.
    pub(crate) fn running(&self) -> &Running {
        &self.running
    }

    /// Begins to note a query, or a follower.
    pub(crate) async fn record(&self, caller: Caller) -> Result<Record, QueryError> {
        let arrived = Instant::now();
        let place = self.audit.place().await?;
        let tally = self.metrics.tally(caller.door);
        Ok(Record {
            entry: self.running.add(caller, clock::now()),
            running: self.running.clone(),
            tally,
            place,
            arrived,
            outcome: Outcome::Cancelled,
            error: None,
            bytes_scanned: Some(0),
        })
    }

    /// Begins a query and returns when its first rows are there. It ends when the answer is
    /// dropped.
    pub(crate) async fn run(
        &self,
        caller: Caller,
        request: Request,
        limit: usize,
    ) -> Result<Answer, QueryError> {
        self.run_whole(caller, request, limit.min(self.limits.max_rows)).await
    }

    /// The same for who bounds by itself what it keeps of the rows.
    pub(crate) async fn run_whole(
        &self,
        caller: Caller,
        request: Request,
        limit: usize,
    ) -> Result<Answer, QueryError> {
        let principal = caller.principal.clone();
        let mut record = self.record(caller).await?;
        let begun = self.begin(&principal, request, limit, &mut record).await;
        match begun {
            Ok((messages, task, clock, limit)) => {
                Answer::begin(messages, task, clock, limit, record).await
            }
            Err(error) => {
                record.failed(&error);
                Err(error)
            }
        }
    }

    /// Runs a query to its end and gives the first `size` rows; the others are kept for [`next_page`](Self::next_page).
    pub(crate) async fn first_page(
        &self,
        caller: Caller,
        request: Request,
        limit: usize,
        size: usize,
    ) -> Result<Answer, QueryError> {
        let environment = self.budgets.environment(&caller.principal)?;
        let answer = self.run_whole(caller.clone(), request, limit).await?;
        let text = caller.text.clone();
        let whole = Whole::read(answer, caller.principal.clone(), text, &environment).await?;
        let whole = Arc::new(whole);
        let id = (whole.rows > size).then(|| self.results.keep(whole.clone())).transpose()?;
        if let Some(id) = id {
            let results = self.results.clone();
            self.threads().spawn(async move { results.expire(id, KEPT).await });
        }
        let begun = (whole.began, whole.bytes_scanned);
        self.page(caller, whole, id, 0..size, begun).await
    }

    /// The next `size` rows of a result.
    pub(crate) async fn next_page(
        &self,
        principal: Arc<Principal>,
        door: Door,
        token: &str,
        size: usize,
    ) -> Result<Answer, QueryError> {
        let (id, whole, row) = self.results.find(token, &principal)?;
        let caller = Caller::new(principal, door, format!("from row {row} on: {}", whole.text));
        let rows = row..row.saturating_add(size);
        self.page(caller, whole, Some(id), rows, (Instant::now(), Some(0))).await
    }

    async fn page(
        &self,
        caller: Caller,
        whole: Arc<Whole>,
        id: Option<u64>,
        rows: Range<usize>,
        (began, bytes_scanned): (Instant, Option<u64>),
    ) -> Result<Answer, QueryError> {
        let record = self.record(caller).await?;
        let more = id.filter(|_| rows.end < whole.rows);
        let head = Head {
            schema: whole.schema.clone(),
            warnings: whole.warnings.clone(),
            completeness: whole.completeness.clone(),
            positions: None,
            next_page: more.map(|id| self.results.token(id, rows.end)),
            place: whole.place.clone(),
        };
        let size = rows.len();
        let (messages, receiver) = mpsc::channel(2);
        let task = self.threads().spawn(async move {
            let mut next = Message::Head(Box::new(head));
            let batches = whole.rows_from(rows.start, size);
            let later = batches.map(|batch| batch.map_or_else(Message::Failed, Message::Batch));
            for message in later.chain([Message::End(End { truncated: false, bytes_scanned })]) {
                // Fails only if nobody listens any more.
                if messages.send(std::mem::replace(&mut next, message)).await.is_err() {
                    return;
                }
            }
            let _ = messages.send(next).await;
        });
        let task = AbortOnDrop(task.abort_handle());
        Answer::begin(receiver, task, Clock::start(began, self.limits.timeout), size, record).await
    }

    /// Starts the task of a query.
    async fn begin(
        &self,
        principal: &Arc<Principal>,
        request: Request,
        limit: usize,
        record: &mut Record,
    ) -> Result<(mpsc::Receiver<Message>, AbortOnDrop, Clock, usize), QueryError> {
        let (roll_ups, without) = match &request {
            Request::Sql(request) => (request.roll_ups, self.without(request)),
            _ => (None, Vec::new()),
        };
        let roll_ups = roll_ups.unwrap_or(self.roll_ups);
        let killed = &record.entry;
        let turn = tokio::select! {
            turn = self.budgets.enter(principal) => turn?,
            () = killed.killed.cancelled() => return Err(killed.error()),
        };
        let limit = limit.min(MAX_ROWS);
        let tables = Tables::new(&self.snapshots, principal, roll_ups).ahead_on(Handle::current());
        let dialect = match &request {
            Request::Sql(request) => request.dialect,
            _ => Dialect::Own,
        };
        let environment = turn.environment.clone();
        let mut state = self.sessions.of(&tables, environment, dialect, &without).await?;
        let (messages, receiver) = mpsc::channel(2);
        let remote = self.remote.clone();
        let task = self.threads().spawn(async move {
            let _turn = turn;
            let work =
                work::work(&mut state, &tables, remote.as_deref(), request, limit, &messages);
            let message = match work.await {
                Ok(end) => Message::End(end),
                Err(error) => Message::Failed(error),
            };
            // Fails only if nobody listens any more.
            let _ = messages.send(message).await;
        });
        let task = AbortOnDrop(task.abort_handle());
        let clock = Clock::start(record.arrived, self.limits.timeout);
        Ok((receiver, task, clock, limit))
    }

    /// The optimizer's rules that a query does not want, or cannot have.
    fn without(&self, request: &SqlRequest) -> Vec<&'static str> {
        let kept = self.limits.kept_bytes > 0 && request.kept.unwrap_or(true);
        let words = request.words.unwrap_or(true);
        let latest = request.latest.unwrap_or(true);
        let rules = [
            (KeepAggregates::NAME, kept),
            (KeepLatest::NAME, kept && latest),
            (GroupByWords::NAME, words),
            (LatestFirst::NAME, latest),
        ];
        rules.into_iter().filter_map(|(rule, wanted)| (!wanted).then_some(rule)).collect()
    }

    /// What a statement gives and takes, without running it. `types` are those that the client says of
    /// the parameters.
    pub(crate) async fn describe(
        &self,
        caller: Caller,
        request: SqlRequest,
        types: Vec<Option<DataType>>,
    ) -> Result<Described, QueryError> {
        let principal = caller.principal.clone();
        self.noted(caller, self.describe_for(&principal, request, types)).await
    }

    /// Waits for something whole as for a query: it is listed, may be killed, and its end is noted.
    async fn noted<T>(
        &self,
        caller: Caller,
        work: impl Future<Output = Result<T, QueryError>>,
    ) -> Result<T, QueryError> {
        let mut record = self.record(caller).await?;
        let done = tokio::select! {
            done = work => done,
            () = record.killed() => Err(record.entry.error()),
        };
        match &done {
            Ok(_) => record.answered(Some(0)),
            Err(error) => record.failed(error),
        }
        done
    }

    async fn describe_for(
        &self,
        principal: &Arc<Principal>,
        request: SqlRequest,
        types: Vec<Option<DataType>>,
    ) -> Result<Described, QueryError> {
        let turn = self.budgets.enter(principal).await?;
        let tables = Tables::new(&self.snapshots, principal, self.roll_ups);
        let environment = turn.environment.clone();
        let state = self.sessions.of(&tables, environment, request.dialect, &[]).await?;
        let task = self.threads().spawn(async move {
            let _turn = turn;
            guard::describe(&state, &request, &types).await
        });
        let _task = AbortOnDrop(task.abort_handle());
        let timeout = self.limits.timeout;
        match tokio::time::timeout(timeout, task).await {
            Ok(Ok(described)) => described,
            Ok(Err(error)) => Err(QueryError::Internal(error.to_string())),
            Err(_) => Err(QueryError::TimedOut(timeout.as_secs())),
        }
    }

    /// Whether flows of that time are all there.
    pub(crate) async fn completeness(&self, range: TimeRange) -> Completeness {
        let moment = Moment::new(self.snapshots.clone(), Principal::everyone(), true);
        moment.completeness_of(range).await
    }

    /// What was lost over a time.
    pub(crate) async fn losses(&self, range: TimeRange) -> Result<Vec<LossRow>, QueryError> {
        let moment = Moment::new(self.snapshots.clone(), Principal::everyone(), true);
        moment.losses(range).await
    }

    /// Computes something about what the clusters were like, as a query like others.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        caller: Caller,
        work: impl FnOnce(&History, Vec<String>) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let principal = caller.principal.clone();
        self.noted(caller, self.compute_for(&principal, work)).await
    }

    async fn compute_for<T: Send + 'static>(
        &self,
        principal: &Principal,
        work: impl FnOnce(&History, Vec<String>) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let turn = self.budgets.enter(principal).await?;
        let (snapshots, timeout) = (self.snapshots.clone(), self.limits.timeout);
        let blocking = self.threads().clone();
        let task = self.threads().spawn(async move {
            let (history, warnings) = snapshots.history().await?;
            // Held until the work is done, also when nobody waits any more.
            let work = move || {
                let _turn = turn;
                work(&history, warnings)
            };
            let defect =
                |_| QueryError::Internal("an explanation broke off; please report it".into());
            blocking.spawn_blocking(work).await.map_err(defect)?
        });
        let late = |_| QueryError::TimedOut(timeout.as_secs());
        let done = tokio::time::timeout(timeout, task).await.map_err(late)?;
        done.map_err(|error| QueryError::Internal(error.to_string()))?
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for threads in [self.threads.take(), self.live_threads.take()].into_iter().flatten() {
            threads.shutdown_background();
        }
    }
}
