//! Plans and runs queries on threads of their own, within limits.
//!
//! A query is one task there. It sends batches through a channel of two; whoever asked reads them,
//! watches the clock, and ends the task by going away.

mod answer;
mod caller;
mod cooperate;
mod morsel;
mod postgres;
mod record;
mod request;
mod running;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::DataType;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, SchemaProvider,
};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use futures::StreamExt as _;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{OnceCell, mpsc};

pub(crate) use answer::{AbortOnDrop, Answer, End, Next};
pub(crate) use caller::Caller;
pub(crate) use postgres::SERVER_VERSION;
pub(crate) use record::Record;
pub(crate) use request::{
    Dialect, FlowsRequest, LossRequest, Order, Request, SqlRequest, StateRequest, time,
};
pub(crate) use running::Running;
use weir_flow::schema::loss::LossRow;

use crate::access::Principal;
use crate::audit::Audit;
use crate::catalog::completeness::Completeness;
use crate::catalog::connections::Connections;
use crate::catalog::history::History;
use crate::catalog::loss::Loss;
use crate::catalog::moment::Moment;
use crate::catalog::range::TimeRange;
use crate::catalog::rollup::UseRollUps;
use crate::catalog::snapshot::Snapshots;
use crate::catalog::state::{Kind, State};
use crate::catalog::store::Store;
use crate::catalog::table::Flows;
use crate::catalog::{CONNECTIONS, EDGES, FLOWS, LOSS, edges};
use crate::clock;
use crate::config::Limits;
use crate::error::{QueryError, StartError};
use crate::guard::budget::{self, Budgets};
use crate::guard::{self, Described, functions};
use crate::metrics::{Metrics, Outcome};
use answer::{Clock, Head, Message};
use postgres::{PG_CATALOG, PostgresSession};

/// Stack of the threads that plan and run. Planning recurses over expressions: in a dev build the
/// longest SQL that the guard lets through needs less than a quarter of this.
const STACK_BYTES: usize = 32 * 1024 * 1024;
/// The engine's own bound of a LIMIT, less the row that tells that there are more.
const MAX_ROWS: usize = i64::MAX as usize - 1;
/// Threads for reading files.
const MAX_BLOCKING_THREADS: usize = 64;
/// Parsed Parquet footers kept.
const METADATA_CACHE_BYTES: usize = 128 * 1024 * 1024;
/// The catalog of all tables; to clients of Postgres, the database.
pub(crate) const CATALOG: &str = "weir";
/// Threads of live followers.
const LIVE_THREADS: usize = 2;

/// Runs queries.
pub(crate) struct Engine {
    /// Taken out on drop: a runtime must not be dropped where blocking is not allowed.
    threads: Option<Runtime>,
    /// Where followers are served, whatever queries do. Taken out like the others.
    live_threads: Option<Runtime>,
    state: SessionState,
    /// Made when the first client of Postgres asks.
    postgres: OnceCell<PostgresSession>,
    snapshots: Arc<Snapshots>,
    budgets: Budgets,
    running: Arc<Running>,
    metrics: Arc<Metrics>,
    audit: Audit,
    limits: Limits,
    /// Whether the planner answers from roll-ups where a query does not say.
    roll_ups: bool,
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
        let environment = environment(&limits, &snapshots.store).map_err(|error| failed(&error))?;
        let mut state = SessionStateBuilder::new()
            .with_config(configuration(&limits))
            .with_runtime_env(environment.clone())
            .with_default_features()
            .with_optimizer_rule(Arc::new(UseRollUps))
            .with_physical_optimizer_rule(Arc::new(cooperate::Cooperate))
            .build();
        functions::restrict(&mut state)
            .and_then(|()| crate::functions::register(&mut state))
            .map_err(|error| failed(&error))?;
        Ok(Self {
            threads: Some(threads),
            live_threads: Some(live_threads),
            state,
            postgres: OnceCell::new(),
            snapshots: Arc::new(snapshots),
            budgets: Budgets::new(&limits, environment, divided),
            running: Arc::default(),
            metrics,
            audit,
            limits,
            roll_ups,
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
        &self.state
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
            bytes_scanned: 0,
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

    /// Starts the task of a query.
    async fn begin(
        &self,
        principal: &Arc<Principal>,
        request: Request,
        limit: usize,
        record: &mut Record,
    ) -> Result<(mpsc::Receiver<Message>, AbortOnDrop, Clock, usize), QueryError> {
        let roll_ups = match &request {
            Request::Sql(request) => request.roll_ups.unwrap_or(self.roll_ups),
            _ => self.roll_ups,
        };
        let killed = &record.entry;
        let turn = tokio::select! {
            turn = self.budgets.enter(principal) => turn?,
            () = killed.killed.cancelled() => return Err(killed.error()),
        };
        let limit = limit.min(self.limits.max_rows).min(MAX_ROWS);
        let tables = self.tables(principal, roll_ups);
        let dialect = match &request {
            Request::Sql(request) => request.dialect,
            _ => Dialect::Own,
        };
        let state = self.state_with(&tables, turn.environment.clone(), dialect).await?;
        let (messages, receiver) = mpsc::channel(2);
        let task = self.threads().spawn(async move {
            let _turn = turn;
            let message = match work(&state, &tables, request, limit, &messages).await {
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

    /// What a statement gives and takes, without running it. `types` are those that the client says of
    /// the parameters.
    pub(crate) async fn describe(
        &self,
        caller: Caller,
        request: SqlRequest,
        types: Vec<Option<DataType>>,
    ) -> Result<Described, QueryError> {
        let principal = caller.principal.clone();
        let mut record = self.record(caller).await?;
        let described = tokio::select! {
            described = self.describe_for(&principal, request, types) => described,
            () = record.entry.killed.cancelled() => Err(record.entry.error()),
        };
        match &described {
            Ok(_) => record.answered(0),
            Err(error) => record.failed(error),
        }
        described
    }

    async fn describe_for(
        &self,
        principal: &Arc<Principal>,
        request: SqlRequest,
        types: Vec<Option<DataType>>,
    ) -> Result<Described, QueryError> {
        let turn = self.budgets.enter(principal).await?;
        let tables = self.tables(principal, self.roll_ups);
        let state = self.state_with(&tables, turn.environment.clone(), request.dialect).await?;
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

    /// The tables of one query of somebody.
    fn tables(&self, principal: &Arc<Principal>, roll_ups: bool) -> Tables {
        let snapshots = self.snapshots.clone();
        let moment = Moment::new(snapshots.clone(), principal.clone(), roll_ups);
        Tables {
            flows: Flows::new(moment.clone()),
            loss: Loss::new(moment.clone()),
            state: State::new(snapshots, principal.clone()),
            moment,
        }
    }

    /// Computes something about what the clusters were like, as a query like others.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        caller: Caller,
        work: impl FnOnce(&History, Vec<String>) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let principal = caller.principal.clone();
        let mut record = self.record(caller).await?;
        let done = self.compute_for(&principal, work).await;
        match &done {
            Ok(_) => record.answered(0),
            Err(error) => record.failed(error),
        }
        done
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

    /// The session of one query: what all share, and its own tables.
    async fn state_with(
        &self,
        tables: &Tables,
        environment: Arc<RuntimeEnv>,
        dialect: Dialect,
    ) -> Result<SessionState, QueryError> {
        let schema = MemorySchemaProvider::new();
        schema.register_table(FLOWS.into(), Arc::new(tables.flows.clone().view()?))?;
        schema.register_table(CONNECTIONS.into(), Arc::new(Connections))?;
        schema.register_table(EDGES.into(), Arc::new(edges::view(&tables.moment)?))?;
        schema.register_table(LOSS.into(), tables.loss.clone())?;
        for kind in Kind::ALL {
            let table = Arc::new(tables.state.table(kind, None));
            schema.register_table(kind.name().into(), table)?;
        }
        let (shared, pg_catalog) = match dialect {
            Dialect::Own => (&self.state, None),
            Dialect::Postgres => {
                let make = || PostgresSession::new(&self.state, &schema);
                let session = self.postgres.get_or_try_init(make).await?;
                (&session.state, Some(session.catalog.clone()))
            }
        };
        let catalog = MemoryCatalogProvider::new();
        if let Some(pg_catalog) = pg_catalog {
            catalog.register_schema(PG_CATALOG, pg_catalog)?;
        }
        let options = &self.state.config_options().catalog;
        catalog.register_schema(&options.default_schema, Arc::new(schema))?;
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(options.default_catalog.clone(), Arc::new(catalog));
        let mut state = SessionStateBuilder::new_from_existing(shared.clone())
            .with_runtime_env(environment)
            .build();
        // What `now()` is.
        state.mark_start_execution();
        state.register_catalog_list(Arc::new(catalogs));
        Ok(state)
    }
}

/// The tables of one query.
struct Tables {
    moment: Arc<Moment>,
    flows: Arc<Flows>,
    loss: Arc<Loss>,
    state: Arc<State>,
}

impl Tables {
    /// EXPLAIN ANALYZE counts the rows that a principal does not see.
    fn refuse_measures(&self, plan: &LogicalPlan) -> Result<(), QueryError> {
        if matches!(plan, LogicalPlan::Analyze(_)) && !self.moment.principal().namespaces.is_all() {
            return Err(QueryError::Forbidden(
                "EXPLAIN ANALYZE is for principals who see every namespace: use EXPLAIN".into(),
            ));
        }
        Ok(())
    }

    /// What the answer must say about itself; known once the query is planned.
    fn warnings(&self) -> Vec<String> {
        [self.moment.warnings(), self.state.warnings()].concat()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for threads in [self.threads.take(), self.live_threads.take()].into_iter().flatten() {
            threads.shutdown_background();
        }
    }
}

/// Plans, runs and sends.
async fn work(
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
    };
    let plan = bounded(plan, limit)?;
    let physical = state.create_physical_plan(&plan).await?;
    let schema = physical.schema();
    let mut batches = execute_stream(physical.clone(), state.task_ctx())?;
    let completeness = tables.moment.completeness().await;
    let positions = tables.moment.positions();
    warnings.extend(tables.warnings());
    let mut head = Some(Head { schema, warnings, completeness, positions });
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
fn bytes_scanned(plan: &Arc<dyn ExecutionPlan>) -> u64 {
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
    let builder = datafusion::logical_expr::LogicalPlanBuilder::from(plan);
    Ok(builder.limit(0, Some(limit + 1))?.build()?)
}

fn configuration(limits: &Limits) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, "public")
        .with_target_partitions(limits.worker_threads())
        .with_information_schema(false)
        .with_create_default_catalog_and_schema(false);
    let options = config.options_mut();
    options.execution.enable_recursive_ctes = false;
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.reorder_filters = true;
    config
}

fn environment(limits: &Limits, store: &Store) -> datafusion::error::Result<Arc<RuntimeEnv>> {
    let top = NonZeroUsize::new(3).expect("three is not zero");
    let pool = TrackConsumersPool::new(FairSpillPool::new(limits.memory_bytes), top);
    let environment = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(budget::disk(limits.spill_bytes))
        .with_metadata_cache_limit(METADATA_CACHE_BYTES)
        .build_arc()?;
    environment.register_object_store(Store::url().as_ref(), store.objects());
    Ok(environment)
}
