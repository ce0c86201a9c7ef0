//! Metrics of the query service.

use std::time::Instant;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use serde::Serialize;

use crate::engine::KeptCounters;
use crate::error::QueryError;

/// The registry and what is counted in it.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    queries: Family<QueryLabels, Counter>,
    seconds: Family<DoorLabels, Histogram>,
    rows: Family<DoorLabels, Counter>,
    running: Gauge,
    followers: Gauge,
    missed: Counter,
    log: LogCounters,
    audit_lost: Counter,
    kept: KeptCounters,
    reload_errors: Counter,
    results_dropped: Family<DroppedLabels, Counter>,
}

/// Why a result that was handed out page by page is not kept any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Dropped {
    /// Nobody read on.
    Expired,
    /// A newer one of the same principal needed its room.
    MadeRoom,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DroppedLabels {
    reason: Dropped,
}

/// What log-based metrics count.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogCounters {
    entries: Family<LogLabels, Counter>,
    verdicts: Family<LogLabels, Counter>,
    missed: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LogLabels {
    metric: String,
}

impl LogCounters {
    /// New entries of a metric, and the verdicts in them.
    pub(crate) fn add(&self, metric: &str, entries: u64, verdicts: u64) {
        let labels = LogLabels { metric: metric.to_owned() };
        self.entries.get_or_create(&labels).inc_by(entries);
        self.verdicts.get_or_create(&labels).inc_by(verdicts);
    }

    /// A metric is gone.
    pub(crate) fn forget(&self, metric: &str) {
        let labels = LogLabels { metric: metric.to_owned() };
        self.entries.remove(&labels);
        self.verdicts.remove(&labels);
    }

    /// Batches that were not counted.
    pub(crate) fn missed(&self, batches: u64) {
        self.missed.inc_by(batches);
    }
}

/// Where a query came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Door {
    /// `POST /api/v1/sql`.
    Sql,
    /// `GET /api/v1/flows`.
    Flows,
    /// `GET /api/v1/flows/tail`.
    Tail,
    /// `GET /api/v1/policies`, `/api/v1/endpoints`.
    Objects,
    /// `GET /api/v1/loss`.
    Loss,
    /// `POST /api/v1/policies/explain`.
    Explain,
    /// `GET /api/v1/intervals/preview`.
    Intervals,
    /// `GET /api/v1/histogram`.
    Histogram,
    /// `GET /api/v1/facets`.
    Facets,
    /// `GET /api/v1/groups`.
    Groups,
    /// `GET /api/v1/policies/review`.
    Review,
    /// The Cloud Logging API.
    CloudLogging,
    /// The Hubble observer API.
    Hubble,
    /// Another request by HTTP.
    Http,
    /// The Postgres wire.
    Postgres,
    /// Flight SQL.
    FlightSql,
    /// A gRPC service that has no word of its own.
    Grpc,
}

/// How a query ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Answered,
    /// The text was wrong or not allowed.
    Invalid,
    /// A limit of memory, time or queries.
    Limited,
    /// Store, relay or a defect.
    Failed,
    /// The client went away, or somebody ended it.
    Cancelled,
    /// The client may not ask that, or was not let in.
    Denied,
}

impl Outcome {
    pub(crate) fn of(error: &QueryError) -> Self {
        match error {
            QueryError::Invalid(_)
            | QueryError::Syntax { .. }
            | QueryError::NoTable(_)
            | QueryError::NoColumn(_)
            | QueryError::Gone(_)
            | QueryError::ReadOnly(_) => Self::Invalid,
            QueryError::OutOfMemory(_)
            | QueryError::TimedOut(_)
            | QueryError::TooBusy { .. }
            | QueryError::TooManyFollowers(_) => Self::Limited,
            QueryError::Killed(_) => Self::Cancelled,
            QueryError::Forbidden(_) => Self::Denied,
            QueryError::Unavailable(_) | QueryError::Internal(_) => Self::Failed,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueryLabels {
    door: Door,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DoorLabels {
    door: Door,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("weir_query");
        let queries = Family::default();
        let seconds = Family::<DoorLabels, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.001, 2.0, 17))
        });
        let rows = Family::default();
        let running = Gauge::default();
        registry.register("queries", "Queries ended, by door and outcome", queries.clone());
        registry.register_with_unit(
            "duration",
            "From a query's arrival to its end",
            Unit::Seconds,
            seconds.clone(),
        );
        registry.register("rows", "Rows sent", rows.clone());
        let (followers, missed) = (Gauge::default(), Counter::default());
        registry.register("running", "Queries that run now", running.clone());
        registry.register("followers", "Clients that follow new flows", followers.clone());
        registry.register("missed_rows", "Rows that slow followers did not get", missed.clone());
        let log = LogCounters::default();
        registry.register(
            "log_metric_entries",
            "Entries of log-based metrics",
            log.entries.clone(),
        );
        registry.register(
            "log_metric_verdicts",
            "Verdicts in the entries of log-based metrics",
            log.verdicts.clone(),
        );
        registry.register(
            "log_metric_missed_batches",
            "Batches that log-based metrics did not count",
            log.missed.clone(),
        );
        let audit_lost = Counter::default();
        registry.register(
            "audit_lost",
            "Lines of the audit log that could not be written",
            audit_lost.clone(),
        );
        let kept = KeptCounters::default();
        registry.register(
            "kept_found",
            "Files that a query had not to read for an aggregate or the latest rows, since an earlier one left them",
            kept.found.clone(),
        );
        registry.register(
            "kept_read",
            "Files that a query had to read for an aggregate or latest rows that are kept",
            kept.read.clone(),
        );
        let results_dropped = Family::default();
        registry.register(
            "results_dropped",
            "Results read page by page that are not kept any more",
            results_dropped.clone(),
        );
        let reload_errors = Counter::default();
        registry.register(
            "reload_errors",
            "Changes of files of certificates and tokens that could not be used",
            reload_errors.clone(),
        );
        Self {
            registry,
            queries,
            seconds,
            rows,
            running,
            followers,
            missed,
            log,
            audit_lost,
            kept,
            results_dropped,
            reload_errors,
        }
    }

    /// Begins to measure a query.
    pub(crate) fn tally(&self, door: Door) -> Tally {
        Tally {
            door,
            started: Instant::now(),
            outcome: Outcome::Cancelled,
            rows: 0,
            queries: self.queries.clone(),
            seconds: self.seconds.clone(),
            rows_sent: self.rows.clone(),
        }
    }

    /// Where log-based metrics are counted.
    pub(crate) fn log_counters(&self) -> LogCounters {
        self.log.clone()
    }

    /// How often kept aggregates are found.
    pub(crate) fn kept_counters(&self) -> KeptCounters {
        self.kept.clone()
    }

    /// Lines of the audit log that could not be written.
    pub(crate) fn audit_lost(&self) -> Counter {
        self.audit_lost.clone()
    }

    /// A result is not kept any more.
    pub(crate) fn result_dropped(&self, reason: Dropped) {
        self.results_dropped.get_or_create(&DroppedLabels { reason }).inc();
    }

    /// Counts what could not be made anew.
    pub(crate) fn reload_errors(&self) -> Counter {
        self.reload_errors.clone()
    }

    /// A follower did not get so many rows.
    pub(crate) fn missed(&self, rows: u64) {
        self.missed.inc_by(rows);
    }

    /// All metrics as OpenMetrics text.
    pub(crate) fn exposition(&self, running: usize, followers: usize) -> String {
        self.running.set(i64::try_from(running).unwrap_or(i64::MAX));
        self.followers.set(i64::try_from(followers).unwrap_or(i64::MAX));
        weir_service::admin::exposition(&self.registry)
    }
}

/// Measures one query. Dropped before it ended, the query counts as cancelled.
#[derive(Debug)]
pub(crate) struct Tally {
    door: Door,
    started: Instant,
    outcome: Outcome,
    rows: usize,
    queries: Family<QueryLabels, Counter>,
    seconds: Family<DoorLabels, Histogram>,
    rows_sent: Family<DoorLabels, Counter>,
}

impl Tally {
    /// Says how the query ended.
    pub(crate) fn ended(&mut self, outcome: Outcome, rows: usize) {
        self.outcome = outcome;
        self.rows = rows;
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let Self { door, outcome, .. } = *self;
        self.queries.get_or_create(&QueryLabels { door, outcome }).inc();
        let door = DoorLabels { door };
        self.seconds.get_or_create(&door).observe(self.started.elapsed().as_secs_f64());
        self.rows_sent.get_or_create(&door).inc_by(self.rows as u64);
    }
}
